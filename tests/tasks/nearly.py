"""Files that are nearly right: one table in every format, ways to break its bytes, and cells that people write."""

import gzip
import io
import json

import numpy as np
import pandas as pd
from hypothesis import strategies as st

FRAME = pd.DataFrame(
    {
        "length": [1.5, 2.25, np.nan, 4.0, 5.5, 6.125, 7.0, 8.75],
        "colour": ["red", "blue", "red", None, "green", "blue", "red", "red"],
        "seen": [
            "2024-01-05",
            "2024-02-11",
            "2023-12-31",
            "2024-06-01",
            None,
            "2024-01-01",
            "2022-03-04",
            "2021-09-09",
        ],
        "said": [
            "a good day, really",
            'it "rained" all day',
            "nothing to add here",
            "so: fine; and dry",
            "we saw\ntwo birds",
            "äöü ß € fine",
            "no",
            "yes it is",
        ],
        "label": ["a", "b", "a", "b", "a", "b", "a", None],
    }
)


def seeds() -> list[tuple[str, bytes]]:
    """Names and bytes of the same table in every format that is read."""
    text = FRAME.to_csv(index=False)
    lines = "\n".join(json.dumps(r) for r in FRAME.astype(object).where(FRAME.notna(), None).to_dict("records"))
    packed = io.BytesIO()
    FRAME.to_parquet(packed, index=False)
    return [
        ("t.csv", text.encode()),
        ("t.csv", text.encode("utf-16")),
        ("t.csv", text.encode("cp1252")),
        ("t.csv", FRAME.to_csv(index=False, lineterminator="\r\n").encode("utf-16-le")),
        ("t.csv", FRAME.to_csv(index=False, sep=";", decimal=",").encode("utf-8-sig")),
        ("t.tsv", FRAME.to_csv(index=False, sep="\t").encode()),
        ("t.csv.gz", gzip.compress(text.encode())),
        ("t.jsonl", lines.encode()),
        ("t.json", b"[" + lines.replace("\n", ",").encode() + b"]"),
        ("t.parquet", packed.getvalue()),
    ]


SEEDS = seeds()


@st.composite
def broken(draw: st.DrawFn) -> tuple[str, bytes]:
    """A seed with a few bytes changed, cut out, put in, doubled, or cut off."""
    name, data = draw(st.sampled_from(SEEDS))
    body = bytearray(data)
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, max(len(body) - 1, 0)))
        how = draw(st.sampled_from(["set", "flip", "put", "cut", "double", "end"]))
        if not body:
            break
        if how == "set":
            body[at] = draw(st.sampled_from(b'\0\n\r\t,;"{}[]\\\xff\xfe\xc3 -.0e9'))
        elif how == "flip":
            body[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "put":
            body[at:at] = draw(
                st.sampled_from(
                    [
                        b"\n",
                        b",",
                        b'"',
                        b";",
                        b"\0",
                        b"\r",
                        b"\xef\xbb\xbf",
                        b"inf",
                        b"1e999",
                        b"\\ud800",
                        b"=1+1",
                        b"\n\n",
                        b"NaN",
                        b"9" * 30,
                    ]
                )
            )
        elif how == "cut":
            del body[at : at + draw(st.integers(1, 40))]
        elif how == "double":
            body[at:at] = body[at : at + draw(st.integers(1, 80))]
        else:
            del body[at:]
    return name, bytes(body)


CELLS = st.one_of(
    st.none(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.booleans(),
    st.text(max_size=12),
    st.sampled_from(
        [
            "1,5",
            "1.234,5",
            "2024-01-02",
            "3/4/2024",
            "12%",
            "-",
            "?",
            "NA",
            "inf",
            "1e400",
            " a ",
            "id7",
            "x.png",
            "0001-01-01",
            "9999-99-99",
            "\ud800",
            "\0",
            "2024-01-02T99:99:99Z",
            "31.12.99",
            "May 5, 2020",
            "٣",
            "1_0",
        ]
    ),
)


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """0 to 14 rows, 1 to 3 columns of few or many kinds of cells, and a column `label`."""
    n = draw(st.integers(0, 14))
    columns = {}
    for name in draw(st.lists(st.sampled_from(["a", "id", "b c", "when"]), min_size=1, max_size=3, unique=True)):
        few = draw(st.lists(CELLS, min_size=1, max_size=3))
        cells = st.sampled_from(few) if draw(st.booleans()) else CELLS
        columns[name] = pd.Series(draw(st.lists(cells, min_size=n, max_size=n)), dtype=object)
    labels = st.sampled_from(["u", "v", None]) if draw(st.booleans()) else CELLS
    columns["label"] = pd.Series(draw(st.lists(labels, min_size=n, max_size=n)), dtype=object)
    return pd.DataFrame(columns)

"""What `predict` writes is not run by a spreadsheet, whichever delimiter it takes; numbers keep every digit."""

import csv
import io
import re

import pytest
from hostile_help import cli, some
from hypothesis import given
from hypothesis import strategies as st

from smidgen.cli.predicting import as_csv

SIGNS = "=+-@\t\r\uff1d\uff0b\uff0d\uff20"
LABELS = [
    "=1+1",
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "a;=1+1",
    "a\n=1+1",
    "\uff1d1",
    '";=1',
    "; =1",
]


def cells(text: str, delimiter: str) -> list[str]:
    """As a spreadsheet set to this delimiter finds them: quotes count at the start of a cell only."""
    return [cell for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) for cell in row]


def is_number(cell: str) -> bool:
    """Also a few of them, where another delimiter parts them."""
    return re.fullmatch(r"[-+0-9.,eE \t]*", cell) is not None or cell.lower() in ("-inf", "+inf", "-nan", "+nan")


def would_run(cell: str) -> bool:
    return cell.lstrip(" ")[:1] != "" and cell.lstrip(" ")[0] in SIGNS and not is_number(cell)


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_no_cell_is_a_formula(label, delimiter):
    columns = {"prediction": [label, "b", -1.5], f"proba_{label}": [0.1, -1e-30, 0.25], "proba_b": [0.9, 1.0, 0.75]}
    found = cells(as_csv(columns), delimiter)
    assert [c for c in found if would_run(c)] == []
    if delimiter == ",":
        assert len(found) == 12 and found[4] == "0.1" and found[7] == "-1e-30" and "-1.5" in found


@some(100)
@given(st.lists(st.text("a=+-@;,\t\r\n\"' 1", max_size=6), min_size=1, max_size=3), st.sampled_from(",;\t"))
def test_no_text_becomes_one(labels, delimiter):
    columns = {"prediction": labels, **{f"proba_{k}_{v}": [0.5] * len(labels) for k, v in enumerate(labels)}}
    assert [c for c in cells(as_csv(columns), delimiter) if would_run(c)] == []


def test_it_can_be_switched_off(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{(7 * i) % 19 / 4},{'=1+1' if i % 2 else 'b;-2+3'}\n" for i in range(20))
    (tmp_path / "t.csv").write_text("x,label\n" + rows)
    fit = ["fit", "t.csv", "--target", "label", "--trials", "1", "--methods", "logistic", "--workers", "1"]
    assert cli(*fit, "--out", "m").status == 0
    guarded, plain = cli("predict", "m", "t.csv").out, cli("predict", "m", "t.csv", "--as-is").out
    assert guarded.splitlines()[0] == "prediction,proba_=1+1,proba_b;'-2+3" and "\n'=1+1," in guarded
    assert plain == guarded.replace("'", "")

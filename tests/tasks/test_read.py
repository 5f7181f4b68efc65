"""Tables as people have them: what is understood, what is refused, and with which words."""

import gzip
import io
import time

import numpy as np
import pandas as pd
import pytest

from smidgen.kit.errors import BadInput
from smidgen.tasks.read import read, read_frame, read_new

ROWS = "1.5,red,a\n2.5,blue,b\n3.5,red,a\n4.5,blue,b\n"


@pytest.fixture
def table(tmp_path):
    def write(text, name="t.csv"):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path / name

    return write


def said(task, level="warning"):
    return " ".join(f.text for f in task.findings if f.level == level)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["empty"]),
        ("\n \n", ["empty"]),
        ("x,c,y\n", ["no rows"]),
        ("x,c,y\n1,red,a\n2,blue\n3,red,a\n", ["line 3", "2 cells", "header has 3"]),
        ('x,c,y\n1,"re\nd",a\n2,blue,b,c\n', ["line 4", "4 cells", "header has 3"]),
        ("x,c,y\n1,red,a\n2,bl\0ue,b\n", ["line 3", "NUL"]),
        ("x,c,label\n" + ROWS, ["no column 'y'", "'x', 'c', 'label'"]),
        ("x,c,Y\n" + ROWS, ["no column 'y'", "Did you mean 'Y'"]),
        ("1.5,2,7\n" + ROWS, ["first line looks like data"]),
        ("y,c,y\n" + ROWS, ["more than one column 'y'", "Rename"]),
        ("x,c,y\n1,red,\n2,blue,\n", ["blank in all 2 rows"]),
        ("x,c,y\n1,red,a\n2,blue,\n", ["only 1 row", "row 1"]),
        ("x,c,y\n1,red,a\n2,blue,a\n", ["the same, 'a'", "at least 2 classes"]),
        ("y\na\nb\n", ["no column but the target"]),
        ("x,y\n3,a\n3,b\n3,a\n", ["no column can be used", "one and the same value"]),
        ('x,c,y\n1,2,a\n3,"4,b\n5,6,a\n7,8,b\n', ["lines 3 to 5", "A quote joins them"]),
        ('x,c,y\n1,"2,a\n3,4,b\n', ["lines 2 to 3", "A quote joins them"]),
        ("x,y\n1,1.5\n2,inf\n3,2.5\n4,4.5\n", ["row 2", "infinite"]),
        (
            "x,c,y\n" + "".join(f"{i},red,{i}.5\n" for i in range(40)) + "3,red,oops\n",
            ["'oops'", "kind='classification'"],
        ),
    ],
)
def test_refused_with_what_and_where(table, text, words):
    with pytest.raises(BadInput) as error:
        read(table(text), "y")
    for word in [*words, *(["t.csv"] if "first line" not in words[0] else [])]:
        assert word in str(error.value)


def test_what_is_told_of_a_table_tells_no_path_and_no_cell_of_what_is_left_out(tmp_path):
    """It goes into model and report, which are passed on."""
    (tmp_path / "of somebody").mkdir()
    lines = "".join(f"{i / 7:.2f},name{i}@example.org,ward nine,{'ab'[i % 2]}\n" for i in range(12))
    path = tmp_path / "of somebody" / "t.csv"
    path.write_bytes(("A title\n\nsäe,mail,where,y\n" + lines + ",,,\n").encode("latin-1"))
    task = read(str(path), "y")
    assert {c.name: c.kind for c in task.columns} == {"säe": "number", "mail": "id", "where": "constant"}
    told = " ".join([*(f.text for f in task.findings), *(c.note for c in task.columns)])
    assert told.count("t.csv") == 3 and not any(word in told for word in ("somebody", "example.org", "ward nine"))


def test_other_things_that_are_no_tables(table, tmp_path):
    for source, words in [
        (tmp_path / "none.csv", "no such file"),
        (table(b"PK\x03\x04xx", "a.xlsx"), "Excel"),
        (table(gzip.compress(b"x,y\n1,2\n")[:-6], "b.csv.gz"), "damaged gzip"),
        (table(b"PAR1xxxx", "c.parquet"), "Parquet"),
        (table('{"a": 1}\n{"a": \n', "d.jsonl"), "line 2"),
        (table("[1, 2]", "e.json"), "object 1"),
        (3, "expected"),
        (np.zeros((2, 8, 8, 3)), "folder of files by class"),
    ]:
        with pytest.raises(BadInput, match=words):
            read(source, "y" if not isinstance(source, np.ndarray) else [0, 1])
    with pytest.raises(BadInput, match="Give target='label'"):
        read(table("x,label\n1,a\n2,b\n"))
    with pytest.raises(BadInput, match="expected 2 values"):
        read(np.zeros((2, 2)), [1, 2, 3])
    with pytest.raises(BadInput, match="Did you mean regression"):
        read(table("x,y\n1,a\n2,b\n"), "y", kind="regresion")


def test_encodings_say_what_they_were(table):
    text = "größe,y\nmäßig,a\nklein,b\nmäßig,a\n"
    assert "Windows-1252" in said(read(table(text.encode("cp1252")), "y"), "note")
    for code in ("utf-8-sig", "utf-16", "utf-16-le", "utf-32"):
        task = read(table(text.encode(code)), "y")
        assert task.columns[0].name == "größe" and task.frame["größe"].tolist() == ["mäßig", "klein", "mäßig"]
    damaged = ("größe,y\n" + "mäßig,a\nklein,b\n" * 9).encode() + b"m\xffg,a\n"
    assert "line 20: 1 damaged" in said(read(table(damaged), "y"))


def test_kinds_are_found_by_content():
    rng = np.random.default_rng(0)
    n = 60
    frame = pd.DataFrame(
        {
            "customer_id": rng.permutation(10_000)[:n],
            "row": np.arange(1, n + 1),
            "code": [f"k{i:04x}" for i in rng.permutation(5000)[:n]],
            "weight": rng.permutation(500)[:n],
            "price": rng.normal(size=n),
            "grade": rng.integers(1, 4, n),
            "year": np.arange(1960, 1960 + n),
            "town": rng.choice(["Rome", "New York", "Oslo"], n),
            "flag": rng.random(n) < 0.5,
            "when": pd.date_range("2024-01-01", periods=n).astype(str),
            "day": [f"{d}/{1 + d % 12}/2024" for d in rng.integers(1, 29, n)],
            "note": [f"word{i} came by and said {j}" for i, j in enumerate(rng.integers(0, 99, n))],
            "comma": [f"{v:.2f}".replace(".", ",") for v in rng.normal(size=n)],
            "cash": [f"${1000 + 7 * v:,.2f}" for v in range(n)],
            "one": 1,
            "none": None,
            "nest": [[1]] * n,
            "endless": [np.inf, *rng.normal(size=n - 1)],
            "dirty": ["x?", *map(str, range(10, n + 9))],
            "y": rng.choice(["a", "b"], n),
        }
    )
    task = read(frame, "y")
    kinds = {c.name: c.kind for c in task.columns}
    assert kinds == {
        "customer_id": "id",
        "row": "id",
        "code": "id",
        "weight": "number",
        "price": "number",
        "grade": "number",
        "year": "number",
        "town": "category",
        "flag": "category",
        "when": "date",
        "day": "date",
        "note": "text",
        "comma": "number",
        "cash": "number",
        "one": "constant",
        "none": "empty",
        "nest": "empty",
        "endless": "number",
        "dirty": "number",
    }
    assert all(c.note for c in task.columns if not c.used)
    for name in ("customer_id", "row", "code", "one", "none", "nest"):
        assert f"'{name}' is left out" in said(task, "note")
    assert "'endless': 1 infinite" in said(task) and "'dirty': 1 of 60" in said(task) and "row 1: 'x?'" in said(task)
    assert task.frame["cash"].iloc[3] == 1021
    assert task.frame["comma"].iloc[0] == float(frame["comma"].iloc[0].replace(",", "."))
    again = read_new(frame.iloc[[7]].drop(columns=["y", "row", "nest"]), task.columns, "y")
    for column in task.columns:
        if column.used:
            assert str(again[column.name].iloc[0]) == str(task.frame[column.name].iloc[7]), column


@pytest.mark.parametrize(
    ("cells", "form", "expected"),
    [
        (["1.2.2024", "3.4.2024"], "day first", ["2024-02-01", "2024-04-03"]),
        (["1/2/2024", "3/14/2024"], "month first", ["2024-01-02", "2024-03-14"]),
        (["13/2/24", "3/4/24"], "day first", ["2024-02-13", "2024-04-03"]),
        (["2024-01-31T23:00:00-02:00", "2024-02-01 10:00"], "iso", ["2024-02-01T01:00", "2024-02-01T10:00"]),
        (["May 5, 2020", "6 June 2021"], "iso", ["2020-05-05", "2021-06-06"]),
    ],
)
def test_dates(cells, form, expected):
    task = read(pd.DataFrame({"d": cells * 3, "y": ["a", "b"] * 3}), "y")
    assert task.columns[0].kind == "date" and task.columns[0].form == form
    assert task.frame.d[:2].tolist() == [pd.Timestamp(e) for e in expected]


def test_classes_stay_what_was_written(table):
    for cells, classes in [
        ("0 1 1 0", (0, 1)),
        ("yes no yes no", ("no", "yes")),
        ("10 9 10 9", (9, 10)),
        ("01 1 01 1", ("01", "1")),
        ("1.0 2.0 1.0 2.0", (1.0, 2.0)),
        ("True False True False", ("False", "True")),
        ("1 a 1 a", ("1", "a")),
        ("None some None some", ("None", "some")),
    ]:
        task = read(table("x,y\n" + "".join(f"{i * 1.5},{c}\n" for i, c in enumerate(cells.split()))), "y")
        assert task.classes == classes and [type(c) for c in task.classes] == [type(c) for c in classes]
    assert read(pd.DataFrame({"x": [1.5, 2, 4], "y": [True, False, True]}), "y").classes == (False, True)
    task = read(pd.DataFrame({"x": [1.5, 2, 4, 5], "y": ["a ", "a", " b", "c"]}), "y")
    assert (
        task.classes == ("a", "b", "c")
        and "White space" in said(task, "note")
        and "single example (b, c)" in said(task)
    )
    assert read(pd.DataFrame({"x": [1.5, 2, 4], "y": [1, np.nan, 0]}), "y").classes == (0, 1)


def test_kind_is_inferred_said_and_overridden():
    x = np.random.default_rng(0).normal(size=60)
    assert read((x[:, None], np.arange(60) % 6)).kind == "classification"
    assert read((x[:8, None], np.arange(8) // 2)).classes == (0, 1, 2, 3)
    assert read((x[:, None], np.arange(60) * 3 % 61)).kind == "regression"
    assert read((x[:, None], x * 2)).metric == "rmse"
    task = read((x[:, None], np.arange(60) % 6), kind="regression", metric="mae")
    assert task.kind == "regression" and task.metric == "mae" and task.classes == ()
    assert "kind='regression' overrides it" in said(read((x[:, None], np.arange(60) % 6)), "note")
    with pytest.raises(BadInput, match="accuracy is for classification"):
        read((x[:, None], x), metric="accuracy")


def test_blank_targets_are_the_pool_and_more_can_be_added(table):
    task = read(
        table("x,y\n1.5,a\n2.5,\n3.5,b\n4.5,NA\n"), "y", unlabelled=table("y,z,x\n,1,7.5\nb,2,8.5\n", "more.csv")
    )
    assert task.frame.x.tolist() == [1.5, 3.5] and task.unlabelled is not None
    assert task.unlabelled.x.tolist() == [2.5, 4.5, 7.5, 8.5]


@pytest.mark.parametrize(
    ("pool", "told"),
    [
        (pd.DataFrame({"other": [1.0]}), "columns 'x', 'c' of the rows with labels are missing"),
        (pd.DataFrame({"x": ["red", "blue"], "c": ["a", "b"]}), "no cell of it is a number as in the rows with labels"),
        (np.zeros((3, 5)), "X has 5 columns, but the rows with labels have 2 "),
        (".", "is a folder, but the rows with labels are a table with 'x', 'c'"),
    ],
)
def test_what_is_wrong_with_rows_without_labels_speaks_of_no_model(table, pool, told):
    with pytest.raises(BadInput) as raised:
        read(table("x,c,y\n" + ROWS * 3), "y", unlabelled=pool)
    assert told in str(raised.value).replace('"', "'") and "model" not in str(raised.value)


def test_duplicates_and_groups_are_joined():
    frame = pd.DataFrame(
        {
            "x": [1.0, 2, 1, 3, 4, 5],
            "t": ["u", "v", "u", "w", "v", "u"],
            "who": ["p", "q", "r", "q", None, None],
            "y": ["a", "b", "b", "a", "b", "a"],
        }
    )
    task = read(frame.drop(columns="who"), "y")
    assert task.groups is not None and task.groups.tolist() == [0, 1, 0, 2, 3, 4]
    assert "2 rows are exact duplicates" in said(task) and "rows 1 and 3" in said(task)
    assert "contradicts itself" in said(task)
    joined = read(frame, "y", group="who")
    assert joined.groups is not None and joined.groups.tolist() == [0, 1, 0, 1, 2, 3]
    assert [c.name for c in joined.columns] == ["x", "t"]
    assert read(frame.drop(columns="who").iloc[1:], "y").groups is None
    coarse = read(pd.DataFrame({"c": ["u", "v"] * 20, "y": list("abba") * 10}), "y")
    assert coarse.groups is None and "not taken for copies" in said(coarse, "note")
    with pytest.raises(BadInput, match="all rows with a target are in one group"):
        read(frame.assign(who="p"), "y", group="who")


def test_rows_without_labels_know_which_labelled_rows_their_group_has(table):
    own = table("x,who,y\n1.5,07,a\n2.5,7,b\n3.5,p,a\n4.5,q,b\n5.5,07,\n6.5,,\n7.5,,a\n")
    task = read(own, "y", group="who", unlabelled=table("who,x\np,8.5\nr,9.5\n07,10.5\n07,1.5\n", "more.csv"))
    assert task.unlabelled is not None and task.unlabelled.x.tolist() == [5.5, 6.5, 8.5, 9.5, 10.5]  # 1.5 is a copy
    assert task.groups is not None and task.groups.tolist() == [0, 1, 2, 3, 4]  # each is alone, and yet
    assert task.pool_groups is not None and task.pool_groups.tolist() == [0, -1, 2, -1, 0]
    bare = read(own, "y", group="who", unlabelled=table("x\n8.5\n", "bare.csv"))
    assert "no column 'who'" in said(bare) and bare.pool_groups is not None and bare.pool_groups.tolist() == [0, -1, -1]
    apart = read(own, "y", group=list("aabbcde"))
    assert apart.pool_groups is None and apart.groups is not None and apart.groups.tolist() == [0, 0, 1, 1, 2]
    prints = {read(own, "y", group="who", unlabelled=table(f"who,x\n{w},8.5\n", f"{w}.csv")).fingerprint for w in "pqr"}
    assert len(prints) == 3


def test_copies_of_the_target_are_reported():
    rng = np.random.default_rng(0)
    y = rng.choice(["a", "b"], 30)
    task = read(
        pd.DataFrame(
            {"x": rng.normal(size=30), "z": y, "w": np.where(y == "a", 7, 8), "ok": rng.choice(["a", "b"], 30), "y": y}
        ),
        "y",
    )
    assert "'z' is a copy of the target" in said(task) and "'w' tells the target exactly" in said(task)
    assert "'ok'" not in said(task)


def test_many_classes():
    x, n = np.random.default_rng(0).normal(size=(2400, 2)), 2400
    assert len(read((x, [f"c{i % 200}" for i in range(n)])).classes) == 200
    assert "tested for" in said(read((x, [f"c{i % 300}" for i in range(n)])))
    with pytest.raises(BadInput, match="1,200 classes"):
        read((x, [f"c{i % 1200}" for i in range(n)]))


def test_new_rows_are_read_as_at_the_fit(table):
    path = table("x,c,y\n" + ROWS * 3)
    task = read(path, "y")
    new = read_new(table("c,y,extra,x\ngreen,?,1,7\nred,?,2,bad\n,?,3,\n", "new.csv"), task.columns, "y")
    assert list(new.columns) == ["x", "c"] and new.c.tolist() == ["green", "red", None]
    assert new.x.iloc[0] == 7 and new.x.isna().tolist() == [False, True, True]
    with pytest.raises(BadInput, match="row 1: column 'x' holds 'red'"):
        read_new(pd.DataFrame({"x": ["red", "blue"], "c": ["a", "b"]}), task.columns, "y")
    with pytest.raises(
        BadInput,
        match=r"column 'x' of the model is missing. There is a column 'X '|column 'x' of the "
        r"model is missing",
    ):
        read_new(pd.DataFrame({"c": ["a"]}), task.columns, "y")
    assert read_new({"x": 1, "c": "red"}, task.columns, "y").x.tolist() == [1.0]
    assert read_new(np.array([[1.5, "red"]], object), task.columns, "y").c.tolist() == ["red"]


def test_texts_and_arrays():
    texts = [
        "a fine and sunny day",
        "such a bad, wet evening",
        "nothing more to say here",
        "we went home much too late",
    ]
    task = read((texts, ["p", "n", "n", None]))
    assert task.modalities == ("text",) and len(task) == 3 and task.unlabelled is not None
    assert read_new(["some new text"], task.columns, "target").iloc[0, 0] == "some new text"
    numbers = read(np.random.default_rng(0).normal(size=(9, 3)), np.arange(9) % 2, group=[0, 0, 1, 1, 2, 2, 3, 3, 3])
    assert (
        [c.name for c in numbers.columns] == ["x0", "x1", "x2"]
        and numbers.groups is not None
        and numbers.groups.max() == 3
    )
    with pytest.raises(BadInput, match="X has 2 columns, but the model was fitted on 3"):
        read_new(np.zeros((1, 2)), numbers.columns, "target")


def test_frames_of_other_libraries():
    pyarrow = pytest.importorskip("pyarrow")
    task = read(pyarrow.table({"x": [1.5, 2.5, 3.5], "c": ["u", "v", "u"], "y": ["a", None, "b"]}), "y")
    assert task.classes == ("a", "b") and len(task) == 2 and task.unlabelled is not None


def test_quotes_delimiters_and_names(table):
    task = read(table('text\ty\n"He said\ta\nno "quote" ends\tb\n"again\ta\n', "t.tsv"), "y")
    assert task.frame.text[0] == '"He said'
    assert read_frame(table("a;b\n1,5;2\n")).shape == (1, 2) and read_frame(table("a|b\n1|2\r\n")).shape == (1, 2)
    assert read_frame(table("a,b\r1,2\r3,4\r")).shape == (2, 2)
    assert read_frame(table("a,b\n\n1,2\n,\n3,4\n\n")).shape == (2, 2)
    assert list(read_frame(table("a,,a\n1,2,3\n")).columns) == ["a", "column 2", "a.1"]


def test_a_million_rows_of_which_a_hundred_have_a_label(tmp_path):
    rng, n = np.random.default_rng(0), 1_000_000
    text = io.StringIO()
    pd.DataFrame({"x": rng.integers(0, 9999, n), "c": rng.choice(["u", "v", "w"], n), "y": None}).to_csv(
        text, index=False
    )
    lines = text.getvalue().split("\n")
    for i, row in enumerate(rng.permutation(n)[:100] + 1):
        lines[row] += "ab"[i % 2]
    (tmp_path / "big.csv").write_text("\n".join(lines))
    start = time.process_time()
    task = read(tmp_path / "big.csv", "y")
    assert len(task) == 100 and task.unlabelled is not None and len(task.unlabelled) == n - 100
    assert time.process_time() - start < 4


def test_real_tables(data_folder):
    for name, target, n, kinds in [
        ("tab_adult", "income_50k", 32561, {"number": 5, "category": 8}),
        ("tab_bike_hourly", "cnt", 17379, {"date": 1, "number": 12}),
    ]:
        frame = read_frame(data_folder / name / "data.csv.gz").drop(columns="fold")
        task = read(frame, target)
        found = pd.Series([c.kind for c in task.columns]).value_counts().to_dict()
        assert len(task) == n and found == kinds
    texts = read(data_folder / "trec" / "train.jsonl.gz", "label")
    assert texts.columns[0].kind == "text" and len(texts.classes) == 6

"""Tables as spreadsheets export them: the same task, whatever stands around the table."""

import re

import numpy as np
import pandas as pd
import pytest

from smidgen.kit.errors import BadInput
from smidgen.tasks.exported import without_frame
from smidgen.tasks.read import read, read_new
from smidgen.tasks.task import Column

HEAD = ["Nr.", "Ort", "Gewicht (kg)", "Länge", "Datum", "Preis"]
ROWS = [
    [str(i + 1), ("Köln", "Ulm", "Bonn")[i % 3], w, f"{3 + i / 7:.2f}".replace(".", ","), f"{i + 1:02d}.03.2024", p]
    for i, (w, p) in enumerate(
        (f"{980 + 150 * i:,}".replace(",", "."), f"{900.5 + 311 * i:,.2f} €".translate(str.maketrans(",.", ".,")))
        for i in range(20)
    )
]


def german(rows=ROWS, head=HEAD, end=""):
    return "\r\n".join(";".join(r) + end for r in [head, *rows]) + "\r\n"


@pytest.fixture
def task_of(tmp_path):
    def task(text, code="utf-8"):
        path = tmp_path / "t.csv"
        path.write_bytes(text.encode(code))
        return read(path, "Preis")

    return task


def said(task):
    return " ".join(f.text for f in task.findings)


def test_a_german_sheet_is_read_as_it_was_meant(task_of):
    task = task_of(german())
    assert {c.name: c.kind for c in task.columns} == dict(
        zip(HEAD[:-1], ("id", "category", "number", "number", "date"), strict=True)
    )
    # 980 stands beside 1.130: as numbers with a dot the second would be a thousandth of what was meant
    assert task.frame["Gewicht (kg)"].tolist() == [980.0 + 150 * i for i in range(20)]
    assert task.frame["Länge"].tolist() == [round(3 + i / 7, 2) for i in range(20)]
    assert task.target.tolist() == [900.5 + 311 * i for i in range(20)] and task.kind == "regression"
    assert task.frame["Datum"].iloc[4] == pd.Timestamp("2024-03-05")


@pytest.mark.parametrize("code", ["utf-8-sig", "cp1252", "latin-1", "utf-16"])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sep=;\r\n" + german(), ""),
        ("Liste vom 01.03.2024\r\n\r\n" + german(), "first line of"),
        ("Liste vom 01.03.2024;;;;;\r\n;;;;;\r\n" + german(), "first 2 lines"),
        ("Liste, Stand heute\r\n" + german(), "'Liste, Stand heute'"),
        (german(end=";"), ""),
        (german() + ";;;;;\r\n" * 3, "3 rows"),
        (german().replace(" €\r\n", " €;\r\n"), ""),
        (german() + "Summe;;;;;77.100,00 €\r\n", "'Summe'"),
    ],
    ids=["sep", "title", "wide title", "title with a comma", "all ends", "blank rows", "row ends", "total"],
)
def test_what_stands_around_a_table_changes_nothing(task_of, text, told, code):
    plain, task = task_of(german()), task_of(text.replace("€", "EUR") if code == "latin-1" else text, code)
    assert task.fingerprint == plain.fingerprint and task.columns == plain.columns
    assert told in said(task)


def test_new_rows_are_read_by_the_form_of_the_fit_not_by_their_own_file(task_of, tmp_path):
    task = task_of(german())
    path = tmp_path / "new.csv"
    path.write_text("Ort;Gewicht (kg);Länge;Datum\nUlm;1.130;4;01.04.2024\n")  # alone 1.130 could be a bit over one
    assert read_new(path, task.columns, "Preis")["Gewicht (kg)"].tolist() == [1130.0]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("a,b,c\n1,x,2\n,,\n3,y,4\n\n,,\n5,z,6\n,,\n\n,,\n", [1, None, 3, None, 5]),
        ("a\n1\n\n3\n\n\n5\n\n\n", [1, None, 3, None, None, 5]),  # as a spreadsheet writes one column with gaps
        ("a\r\r\n1\r\r\n\r\r\n3\r\r\n", [1, None, 3]),
        ('a\n1\n""\n3', [1, None, 3]),
        ("a,b,c\n,,\n1,x,2\n", [None, 1]),
    ],
    ids=["rows", "lines", "doubled ends", "quotes", "first"],
)
@pytest.mark.parametrize("kind", ["number", "text"])
def test_each_row_to_be_predicted_is_kept_in_its_place(tmp_path, text, first, kind):
    (tmp_path / "new.csv").write_text(text)
    made = read_new(tmp_path / "new.csv", [Column(name="a", kind=kind)], "target")["a"]
    assert [None if pd.isna(v) else int(v) for v in made] == first


def test_a_line_that_goes_wrong_keeps_its_number_below_a_title(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("My list\n\na,b,c\n" + "1,2,3\n" * 9 + "1,2\n")
    with pytest.raises(BadInput, match="line 13: 2 cells, but the header has 3"):
        read(path, "c")


@pytest.mark.parametrize(
    "text",
    [
        "y,x\n" + "a,1.234\nb,2.345\n" * 5,  # a comma file: points are points
        "y;x\n" + "a;1.234\nb;2.345\n" * 5,  # nothing says that they are not
        "y;x;z\n" + "a;1.234;1,2\nb;0.345;7,1\n" * 5,  # 0.345 has no thousands
    ],
)
def test_points_stay_points(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    assert read(tmp_path / "t.csv", "y").frame["x"].max() < 3


def test_tables_without_a_frame_are_left_alone(tmp_path):
    for text, first in [
        ("name,\n" + "a,1\nb,2\n" * 4, "name"),  # one name of two is no title
        ("x\n" + "a, 1\nb, 2\n" * 4, None),  # one column with commas: refused as before, not taken apart
        ("label,text\n" + "a,Total\nb,mean things\n" * 4, "label"),
    ]:
        (tmp_path / "t.csv").write_text(text)
        if first is None:
            with pytest.raises(BadInput, match="the header has 1"):
                read(tmp_path / "t.csv", "x")
        else:
            task = read(tmp_path / "t.csv", first)
            assert len(task) == 8 and task.target_name == first
    total = pd.DataFrame({"k": ["a", "b", "a", "b", "Total"], "x": [1.0, 2, 3, 4, 10], "y": [0, 1, 0, 1, 1]})
    assert len(read(total, "y")) == 5  # as full as the other rows: an example called "Total"
    assert len(read(total.assign(x=[1, 2, 3, 4, np.nan], y=[0, 1, 0, 1, None], z=range(5), w=range(5)), "y")) == 4


@pytest.mark.parametrize("breaks", ["\n", "\r\n", "\r", "\r\r\n\r"], ids=repr)
def test_lines_end_as_a_reader_of_csv_counts_them(breaks):
    """Mixed ones, too: more lines than those above the names were passed over, or there were none left."""
    lines = ["Shop", "2024", "a;b;y", "1;2;u;", "3;4;v;", "5;6;u;"]
    ends = re.findall("\r\n|\r|\n", breaks) * 6
    text = "".join(line + end for line, end in zip(lines, ends, strict=False))
    data, named, (found,) = without_frame(text.encode(), "t.csv", False)
    assert data.decode().split() == ["a;b;y;", *lines[3:]] and not named and "first 2 lines" in found.text
    assert re.findall("\r\n|\r|\n", data.decode())[2:] == ends[2:6]


def test_a_line_above_that_ends_otherwise_than_the_rest(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_bytes(b't\n2x\rx\ry\n2xy\n2x\ty,0\tu(\n2:\t\tv"$T\n')  # was an IndexError
    with pytest.raises(BadInput, match="no column 'y'"):
        read(path, "y")

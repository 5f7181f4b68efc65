"""Errors that point to a section, and the page that they point to."""

import pickle
import re
from pathlib import Path

import pytest

from smidgen.cli.explain import pointer, sections
from smidgen.cli.main import main
from smidgen.kit.errors import BadInput, BudgetSpent, MissingExtra, bad

ROOT = Path(__file__).resolve().parents[2]


def test_each_section_that_an_error_names_is_there_and_each_is_named():
    named = {t for p in (ROOT / "src").rglob("*.py") for t in re.findall(r"""\bsee=["']([\w-]+)["']""", p.read_text())}
    assert named == set(sections())


def test_links_to_sections_lead_to_headings():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    seen = 0
    for page in pages:
        for path, anchor in re.findall(r"\]\(([^)#:\s]*\.md)#([^)]+)\)", page.read_text("utf-8")):
            text = (page.parent / path).read_text("utf-8")
            slugs = {
                re.sub(r"[^\w-]+", "-", h.lower()).strip("-") for h in re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
            }
            assert anchor in slugs or f'id="{anchor}"' in text, f"{page.name}: no {path}#{anchor}"
            seen += 1
    assert seen


@pytest.mark.parametrize("kind", [BadInput, MissingExtra, BudgetSpent])
def test_the_section_survives_the_way_between_processes(kind):
    error = pickle.loads(pickle.dumps(kind("one sentence", see="rows")))
    assert (str(error), error.see) == ("one sentence", "rows") and kind("x").see == ""
    assert bad("x", "y", "z", see="rows").see == "rows"


def test_people_are_told_where_to_read_on(tmp_path, capsys):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n1,2,3\n")
    assert main(["fit", str(tmp_path / "t.csv"), "--target", "b", "--out", str(tmp_path / "m")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "line 3: 3 cells" in lines[-2] and lines[-1] == "See docs/trouble.md#rows, or run: smidgen explain rows"
    assert pointer(BadInput("no section")) == ""
    assert main(["explain", "rows"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("Rows\n") and "double quotes" in told and "## " not in told
    assert main(["explain"]) == 0
    assert all(f"  {topic} " in capsys_out for capsys_out in [capsys.readouterr().out] for topic in sections())
    assert main(["explain", "row"]) == 2
    assert "Did you mean rows?" in capsys.readouterr().err

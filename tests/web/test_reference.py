"""The reference from the docstrings: what is public is in it, and Markdown takes no sign of a docstring for its own."""

import ast
from pathlib import Path

import smidgen
from smidgen.web import reference

ROOT = Path(__file__).resolve().parents[2]


def test_the_front_describes_what_the_package_gives():
    assert set(reference.FACADE) == set(smidgen.__all__)
    text = reference.front()
    for name in smidgen.__all__:
        assert f"\n## smidgen.{name}\n\n```py\n" in text, name
    assert "unlabelled: Any = None" in text or "unlabelled: Any=None" in text
    assert "### smidgen.Model.predict_proba" in text


def test_each_room_has_a_page_that_the_site_names(tmp_path):
    nav = (ROOT / "mkdocs.yml").read_text()
    pages = reference.write(tmp_path / "reference")
    assert len(pages) == len(reference.rooms()) + 1 > 10
    for page in pages:
        assert f"reference/{page.name}\n" in nav, page.name
        assert len(page.read_text()) > 1000
    kit = (tmp_path / "reference" / "kit.md").read_text()
    assert "### need\n\n```py\nneed(module: str, *, extra: str, why: str) -> ModuleType\n```" in kit
    assert "- `MissingExtra`: it is not installed" in kit and "_requirement" not in kit.lower()


def test_a_docstring_becomes_lists_and_code_and_nothing_is_taken_for_markup():
    made = reference._prose(
        "Shapes `[n, d]` and [n]<br> a_b * 2.\n\n    x = f(1)\n\n"
        "Args:\n    x: one\n        more. y: two\n    **options: *three*\nRaises:\n    BadInput: four."
    )
    assert made.split("\n\n") == [
        r"Shapes `[n, d]` and \[n\]\<br\> a\_b \* 2.",
        "```text\nx = f(1)\n```",
        "**Args**",
        "- `x`: one more. y: two\n- `**options`: \\*three\\*",
        "**Raises**",
        "- `BadInput`: four.",
    ]


def test_long_signatures_have_a_line_for_each_argument():
    text = "first: dict[str, int], second: str='a, (b', *, third: tuple[int, int]=(1, 2), fourth: bool=True"
    (node,) = ast.parse(f"def f({text}): ...").body
    assert isinstance(node, ast.FunctionDef)
    lines = [line.strip() for line in reference._arguments(node).splitlines()]
    assert lines[1:3] == ["first: dict[str, int],", "second: str='a, (b',"]
    assert lines[3:] == ["*,", "third: tuple[int, int]=(1, 2),", "fourth: bool=True,"]

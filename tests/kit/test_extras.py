"""Optional packages: absent ones name their cure, broken ones their own fault."""

import sys

import pytest

from smidgen.kit.errors import MissingExtra
from smidgen.kit.extras import installed, need


def test_what_is_there():
    assert need("json.decoder", extra="x", why="This") is sys.modules["json.decoder"]
    assert (
        installed("json", "csv") and not installed("json", "no_such_package") and not installed("no_such_package.part")
    )


def test_what_is_not_there_names_the_extra():
    with pytest.raises(MissingExtra, match=r"^Ray needs the package 'no_such_package': pip install 'smidgen\[ray\]'$"):
        need("no_such_package.part", extra="ray", why="Ray")


def test_what_is_there_but_broken_says_its_own_fault(tmp_path, monkeypatch):
    (tmp_path / "half_a_package.py").write_text("import a_lower_part_that_is_missing\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert installed("half_a_package")
    with pytest.raises(ModuleNotFoundError, match="a_lower_part_that_is_missing"):
        need("half_a_package", extra="x", why="This")

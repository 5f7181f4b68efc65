"""Optional packages: absent ones name their cure, broken ones their own fault."""

import sys

import pytest

from smidgen.kit.errors import MissingExtra
from smidgen.kit.extras import Part, installed, need, parts, within


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


def test_the_packages_of_an_extra():
    lines = [
        "core_a >=1",
        "numpy>=1,<1.5; extra == 'x'",
        'smidgen[ y , z ]; extra == "x"',
        "no-such-package (>=1); extra == 'y'",
        "numpy>=1,<1.5; python_version > '3' and extra == 'z'",
        "?; extra == 'x'",
    ]
    (numpy, absent) = parts("x", lines)
    assert absent == Part("no-such-package", ">=1", None) and not absent.fits
    assert (numpy.name, numpy.wanted) == ("numpy", ">=1,<1.5") and numpy.version and not numpy.fits
    assert [p.name for p in parts("", lines)] == ["core_a"] and parts("w", lines) == []
    assert Part("numpy", ">=1", "2.0").fits


@pytest.mark.parametrize(
    ("version", "wanted", "fits"),
    [
        ("1.9.1", ">=1.9,<1.10", True),
        ("1.10.0", ">=1.9,<1.10", False),
        ("1.10", ">=1.9", True),
        ("2.13.0+cpu", ">=2.13", True),
        ("2", ">=2.0.36", False),
        ("3.0rc1", ">=3", True),
        ("1.0", "", True),
        ("1.0", ">=1", True),
        ("1.0", "<1", False),
        ("0.9.9", "<1", True),
        ("1.0", "==2", True),
        ("2.0rc1", ">=2.0.1", False),
    ],
)
def test_versions_are_compared_as_numbers(version, wanted, fits):
    assert within(version, wanted) is fits

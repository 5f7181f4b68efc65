"""Shared by the tests of studies: few labels of real tables, and a package of ill-behaved methods from outside."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from misfits import BASE, BODIES, COIN, COINS, REST
from postgres import place, postgres  # noqa: F401

from smidgen.kit import methods


@pytest.fixture(scope="session")
def outside(tmp_path_factory) -> Path:
    """The folder of an installed package that adds methods: to be put on PYTHONPATH."""
    folder = tmp_path_factory.mktemp("outside")
    package, info = folder / "smidgen_outside", folder / "smidgen_outside-1.0.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").write_text("")
    for name, body in BODIES.items():
        (package / f"{name}.py").write_text(BASE.replace("ACT", body) + REST)
    for i, name in enumerate(COINS):
        (package / f"{name}.py").write_text(BASE.replace("ACT", "pass") + COIN.replace("SEED", str(i)) + REST)
    (package / "broken.py").write_text("import a_module_that_is_not_there\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: smidgen-outside\nVersion: 1.0\n")
    points = [f"learn/{name} = smidgen_outside.{name}" for name in [*BODIES, *COINS, "broken"]]
    (info / "entry_points.txt").write_text("[smidgen.methods]\n" + "\n".join(points) + "\n")
    return folder


@pytest.fixture
def with_outside(outside, monkeypatch) -> Iterator[None]:
    """The package is installed for this test, in this process and in its workers."""
    monkeypatch.syspath_prepend(str(outside))
    for cached in (methods._entry_points, methods.card):
        cached.cache_clear()
    yield
    monkeypatch.undo()
    for cached in (methods._entry_points, methods.card):
        cached.cache_clear()


@pytest.fixture(scope="session")
def table(data_folder):
    """`table(name, n)`: n rows of a real table, the last column renamed `target`."""

    def read(name: str, n: int, seed: int = 0) -> pd.DataFrame:
        frame = pd.read_csv(data_folder / name / "data.csv.gz").drop(columns="fold")
        frame = frame.rename(columns={frame.columns[-1]: "target"})
        return frame.sample(n, random_state=seed).reset_index(drop=True)

    return read


@pytest.fixture
def inline(monkeypatch):
    """Studies run in this process: the same numbers, without the start of workers."""
    from smidgen.studies import fit
    from smidgen.studies.pool import InlinePool

    monkeypatch.setattr(fit, "Pool", InlinePool)


@pytest.fixture
def python(outside):
    """Environment of a Python process that sees smidgen and the package from outside."""
    path = os.pathsep.join([str(outside), *(p for p in sys.path if p)])
    return {**os.environ, "PYTHONPATH": path}

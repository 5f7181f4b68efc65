"""Shared by the tests of studies: few labels of real tables, and a package of ill-behaved methods from outside."""
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from smidgen.kit import methods

LIGHT = "logistic,lda,naive_bayes,knn"

BASE = """
import os, time
from pathlib import Path
import numpy as np
from smidgen.learn.constant import ConstantClassifier

CARD = {"title": "T", "tldr": "For tests.", "tasks": ("classification",), "seconds": (0.001, 0.0)}

class Outside(ConstantClassifier):
    def _fit(self, X, codes):
        super()._fit(X, codes)
        self.act(X)

    def act(self, X):
        ACT
"""
# Chance: probabilities that a random direction of its own gives, whatever the labels are.
COIN = """
    def _proba(self, X):
        z = np.random.default_rng(SEED).normal(size=X.shape[1])
        up = 1 / (1 + np.exp(-2 * X @ z / np.sqrt(X.shape[1])))
        return np.c_[1 - up, up]
"""
COINS = [f"coin_{i:02}" for i in range(12)]
BODIES = {
    "sleeper": "time.sleep(1000)",
    "raiser": "raise ArithmeticError('this one always fails')",
    "nans": "self.frequencies_ = self.frequencies_ * np.nan",
    "unsure": "self.frequencies_ = self.frequencies_ * 2",
    "eater": "self.eaten = [np.ones(5_000_000) for _ in range(200)]",
    "gate_a": "wait()",
    "gate_b": "wait()",
}
REST = """

def wait():
    while not Path(os.environ["SMIDGEN_TEST_GATE"]).exists():
        time.sleep(0.01)


CLASSIFIER = Outside
"""


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

"""Shared by the tests of faults: processes to be killed, stores, and how much of it is done.

On a push each test does a little. `make faults` does much: SMIDGEN_FAULTS names the seconds that all of it may take.
"""

import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "studies")]

from calls import build  # noqa: E402
from deeds import FIT, write_rows  # noqa: E402
from forks import Forks  # noqa: E402
from postgres import place, postgres  # noqa: E402, F401

LONG = float(os.environ.get("SMIDGEN_FAULTS", 0))
COUNTS: list[str] = []


@pytest.fixture
def rounds(request):
    """`rounds(few, many, share)` counts rounds: `few` on a push, else up to `many` in this share of the time.
    `rounds.note(text)` is shown at the end of the tests."""

    class Rounds:
        def __call__(self, few: int, many: int, share: float) -> Iterator[int]:
            end = time.monotonic() + share * LONG
            for i in range(many if LONG else few):
                if LONG and i >= few and time.monotonic() > end:
                    return
                yield i

        def stride(self, few: int, seconds: float, share: float) -> int:
            """Of what would take these seconds, each how-many-th is done; `few` on a push."""
            return max(1, math.ceil(seconds / (share * LONG))) if LONG else few

        long = bool(LONG)

        def note(self, text: str) -> None:
            COUNTS.append(f"{request.node.name}: {text}")

    return Rounds()


def pytest_terminal_summary(terminalreporter) -> None:
    for line in COUNTS:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def library(tmp_path_factory) -> Path:
    made = build(tmp_path_factory.mktemp("library"))
    if made is None:
        pytest.skip("no C compiler, or not Linux: file calls cannot be made to fail")
    return made


@pytest.fixture(scope="session")
def forks(library) -> Iterator[Forks]:
    """For work on a store."""
    with Forks(library, "deeds", "warm", "sqlalchemy.dialects.postgresql.psycopg") as made:
        yield made


@pytest.fixture(scope="session")
def big_forks(library) -> Iterator[Forks]:
    """For whole commands: what they need is imported."""
    with Forks(library, "deeds", "smidgen.cli.main", "smidgen.cli.fitting", "smidgen.studies.run", "torch",
               "smidgen.learn.logistic", "smidgen.learn.lda", "smidgen.learn.knn",
               "smidgen.studies.compress_fitted", "smidgen.cli.compressing") as made:  # fmt: skip
        yield made


@pytest.fixture(scope="session")
def fitted(big_forks, tmp_path_factory) -> Path:
    """The folder of a model that `fit` made."""
    folder = tmp_path_factory.mktemp("fitted")
    write_rows(folder / "rows.csv")
    status = big_forks.run("deeds:command", folder / "log", words=FIT, folder=str(folder))
    assert status == 0, (folder / "log").read_text()
    return folder / "model"


@pytest.fixture
def memory_disk(tmp_path) -> Iterator[Path]:
    """A folder in memory, where there is one: for tests in which no power is lost."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="smidgen-") as made:
        yield Path(made)

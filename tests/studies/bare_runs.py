"""A run put together by hand, without a store and with nothing fitted: for tests of its steps."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from smidgen.budget.budget import Budget
from smidgen.data.views.rows import Rows
from smidgen.studies.candidates import BASELINE, Candidate
from smidgen.studies.choose import ChoiceConfig
from smidgen.studies.inline import InlinePool
from smidgen.studies.plan import Plan
from smidgen.studies.race import Race, RaceConfig
from smidgen.studies.run import Run

BASE, LDA = Candidate(BASELINE, "linear"), Candidate("learn/lda", "linear")
LEARNS = Candidate("learn/barlow_pictures", "picture", once=5.0)  # first, once, without labels
COSTLY = Candidate("learn/knn", "linear", seconds=100.0)
HALF = np.full((40, 2), 0.5)


def run_of(task, *found, budget=None, replay=None, said=None, own=None, repeats=2):
    """A run whose clock stands `run.passed` seconds after its beginning, 1,000 s after the clock's own."""
    race = Race(task, list(found), np.full(len(found), 1 / len(found)), 0, config=RaceConfig(max_repeats=repeats),
                choice=ChoiceConfig(draws=10))  # fmt: skip
    plan = Plan(task, race, [], budget or Budget(trials=200), 2, 0, None, "few", 1000.0,
                said.append if said is not None else lambda event: None)  # fmt: skip
    store: Any = None
    study: Any = SimpleNamespace(id="few-1")
    run: Any = Run(plan, store, study, InlinePool(), Rows(task.frame, pool=own), replay)
    run.passed = 0.0
    run.clock = lambda: 1000.0 + run.passed
    return run

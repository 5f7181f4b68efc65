"""Warnings of what makes a score look better than it is."""

import numpy as np
import pandas as pd
import pytest

from smidgen.tasks.read import read

RNG = np.random.default_rng(0)
WALK = RNG.normal(size=200).cumsum()
WHEN = pd.date_range("2024-01-01", periods=200, freq="h")


def warned(target, when=WHEN, **more):
    order = np.random.default_rng(1).permutation(len(target))  # a file need not be in the order of time
    frame = pd.DataFrame({"when": when, "x": RNG.normal(size=len(target)), "y": target}).iloc[order]
    return [f.text for f in read(frame, "y", **more).findings if "follow each other in time ('when')" in f.text]


@pytest.mark.parametrize(
    ("target", "slow"),
    [
        (WALK, True),
        (np.where(np.median(WALK) < WALK, "high", "low"), True),
        (RNG.permutation(WALK), False),
        (RNG.choice(["high", "low"], 200, p=[0.9, 0.1]), False),  # neighbours are mostly equal, by chance alone
    ],
    ids=["walk", "classes", "shuffled", "a frequent class"],
)
def test_a_series_is_told_from_rows_that_only_have_dates(target, slow):
    assert bool(warned(target)) == slow


def test_groups_and_other_clocks():
    assert not warned(WALK, group=(np.arange(200) // 24))
    assert warned(WALK, when=WHEN.floor("4h"))  # some rows at one time


def test_real_series(data_folder):
    hours = pd.read_csv(data_folder / "etth1" / "ETTh1.csv.gz")[:500]
    assert any("--group" in f.text for f in read(hours, "OT").findings)
    week = pd.to_datetime(hours["date"]).dt.isocalendar().week.to_numpy()
    assert not any("--group" in f.text for f in read(hours, "OT", group=week).findings)

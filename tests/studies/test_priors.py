"""What is known before: a distribution over candidates, whatever the task; those that did better elsewhere weigh
more.
"""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smidgen.kit import methods
from smidgen.studies import priors
from smidgen.studies.candidates import Candidate, candidates
from smidgen.tasks.read import read


def task_of(n=20, columns=2, texts=False):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(n, columns)), columns=[f"c{i}" for i in range(columns)])
    if texts:
        frame["text"] = [
            " ".join(rng.choice(["some", "words", "of", "a", "person", "about", "things"], 9)) + f" {i}"
            for i in range(n)
        ]
    return read(frame.assign(target=np.arange(n) % 2 == 0), "target", kind="classification")


@pytest.fixture
def known(monkeypatch):
    """priors.json by hand."""

    def give(table: dict, sharpness: float = 8.0):
        monkeypatch.setattr(priors, "_file", lambda: {"methods": table, "sharpness": sharpness})

    return give


@pytest.mark.parametrize(
    "task", [task_of(), task_of(4, 1), task_of(200, 30), task_of(texts=True)], ids=["small", "tiny", "large", "text"]
)
def test_a_distribution_over_all_candidates(task):
    found, _ = candidates(task)
    w = priors.weights(task, found)
    assert w.shape == (len(found),) and (w > 0).all() and w.sum() == pytest.approx(1) and np.isfinite(w).all()
    assert (w == priors.weights(task, found)).all()
    order = np.random.default_rng(0).permutation(len(found))
    np.testing.assert_allclose(priors.weights(task, [found[i] for i in order]), w[order])


def test_less_loss_elsewhere_is_more_weight_here(known):
    known({"table": {"learn/a linear": [-0.2, 0, 0, 0, 0], "learn/b linear": [0.3, 0, 0, 0, 0]}})
    found = [Candidate("learn/a", "linear"), Candidate("learn/b", "linear"), Candidate("learn/new", "linear")]
    a, b, new = priors.weights(task_of(), found)
    assert a > new > b
    assert priors.excess(task_of(), found)[2] == priors.UNKNOWN > 0  # what no benchmark has seen
    assert np.log(a / b) == pytest.approx(8 * 0.5)


def test_a_view_that_was_not_seen_takes_the_method_s_own(known):
    known(
        {
            "table": {"learn/a *": [0.1, 0, 0, 0, 0], "learn/a linear": [0.2, 0, 0, 0, 0]},
            "text": {"learn/a *": [9, 0, 0, 0, 0]},
        }
    )
    got = priors.excess(task_of(), [Candidate("learn/a", "tree"), Candidate("learn/a", "linear")])
    assert got == pytest.approx([0.1, 0.2])


def test_it_may_depend_on_what_the_task_looks_like(known):
    known({"table": {"learn/a linear": [0, 1, 0, 0, 0]}})
    few, many = (priors.excess(task_of(n), [Candidate("learn/a", "linear")])[0] for n in (20, 200))
    assert many - few == pytest.approx(np.log(10))


@given(st.integers(1, 10**6), st.integers(1, 10**4), st.integers(0, 300), st.floats(0, 1))
def test_any_task_can_be_described(n, features, classes, categories):
    x = priors.describe(n, features, classes, categories)
    assert x.shape == (5,) and np.isfinite(x).all() and x[0] == 1


def test_the_shipped_file_is_whole():
    if not priors.FILE.exists():
        pytest.skip("priors.json has not been made yet")
    file = json.loads(priors.FILE.read_text())
    assert file["sharpness"] > 0 and set(file["methods"]) <= {"table", "text", "image"}
    names = set(methods.names("learn"))
    for table in file["methods"].values():
        for key, coefficients in table.items():
            method, view = key.split(" ")
            assert method in names and view
            assert len(coefficients) == len(priors.describe(50, 10, 2, 0)) and np.isfinite(coefficients).all()

"""Which methods are tried on a task, and the sentence on each that is not: every bound from both sides."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from smidgen.kit import methods
from smidgen.kit.errors import BadInput
from smidgen.kit.methods import MethodCard
from smidgen.studies import candidates as module
from smidgen.studies.candidates import BASELINE, Candidate, Skipped, _unfit, candidates, forecast, once_seconds
from smidgen.tasks.read import read

X = np.random.default_rng(0).normal(size=(36, 2))
FRAME = pd.DataFrame({"a": X[:, 0], "b": X[:, 1]})


@pytest.fixture(scope="module")
def task():
    return read(FRAME[:30].assign(y=list("uvw") * 10), "y")


@pytest.fixture(scope="module")
def values():
    return read(FRAME[:30].assign(y=X[:30, 0] * 2), "y", kind="regression")


def card(**options) -> MethodCard:
    return MethodCard(title="T", tldr="t", **options)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, ""),
        ({"tasks": ("regression",)}, "it does no classification"),
        ({"modalities": ("image", "series")}, "it takes image or series, not table"),
        ({"modalities": ("image", "table")}, ""),
        ({"package": "no_such_package", "extra": "more"},
         "the package 'no_such_package' is not installed (pip install 'smidgen[more]')"),
        ({"package": "numpy", "extra": "more"}, ""),
        ({"needs_unlabelled": True}, "it learns from rows without labels, and there are none"),
        ({"max_rows": 30, "max_classes": 3}, ""),
        ({"max_rows": 29}, "it takes at most 29 rows, there are 30"),
        ({"max_classes": 2}, "it takes at most 2 classes, there are 3"),
    ],
)  # fmt: skip
def test_why_a_method_does_not_suit(task, options, why):
    assert _unfit(card(**options), task) == why


def test_what_a_task_of_another_kind_changes(task, values):
    assert _unfit(card(tasks=("classification",)), values) == "it does no regression"
    assert _unfit(card(max_classes=1), values) == ""
    more = replace(task, unlabelled=FRAME[30:])
    assert _unfit(card(needs_unlabelled=True), more) == ""
    assert (once_seconds(card(pretraining=(5.0, 2.0)), task), once_seconds(card(pretraining=(5.0, 2.0)), more)) == (
        0.0,
        5.012,
    )
    texts = replace(task, columns=(replace(task.columns[0], kind="text"), replace(task.columns[1], kind="image")))
    assert _unfit(card(modalities=("table", "series")), texts) == "it takes table or series, not text and image"
    for parts in ((0.5,), (0.5, 1e6), (0.5, 1e6, 1e3), (0.5, 1e6, 1e3, 9.0)):  # what is left off costs nothing
        assert forecast(card(seconds=parts, batch=20), task, "linear") == forecast(card(seconds=parts), task, "linear")
    plain = card(seconds=(0.0, 1e6))
    assert forecast(plain, values, "linear")[0] == pytest.approx(30 * 2)  # numbers count as one class


def test_every_method_of_the_room_is_tried_or_said(task):
    found, skipped = candidates(task)
    assert BASELINE in {c.method for c in found}
    suits = [n for n in methods.names("learn") if "classification" in methods.card(n).tasks
             and "table" in methods.card(n).modalities]  # fmt: skip
    assert {c.method for c in found} | {s.method for s in skipped} == set(suits) and len(suits) > 10
    for c in found:
        own = methods.card(c.method)
        assert (c.seconds, c.memory, c.least) == forecast(own, task, c.view) and c.version == own.version
        assert c.params == {} and c.once == 0.0 and c.key == (c.method, c.view)
    assert next(c for c in found if c.method == BASELINE).view == "linear"
    assert all(s.why.startswith(("it learns from rows without labels", "the package '")) for s in skipped)


def test_wanted_ones_with_settings_and_within_memory(task):
    name, own = "learn/logistic", {"strength": 2.0}
    (one,), none = candidates(task, [name], {name: own, "learn/lda": {"x": 1}})
    assert one.params == own and none == [] and isinstance(one, Candidate)
    (again,), none = candidates(task, [name], memory=one.memory)
    assert again.params == {} and none == []
    shown = f"needs {one.memory / 1e9:.2f} GB of memory, there are {(one.memory - 1) / 1e9:.2f} GB"
    assert candidates(task, [name], memory=one.memory - 1) == ([], [Skipped(name, "linear", shown)])
    assert shown == "needs 0.35 GB of memory, there are 0.35 GB"
    both, _ = candidates(task, ["learn/forest", "learn/logistic"])
    assert [c.method for c in both] == ["learn/forest", "learn/logistic"] and {c.view for c in both} == {
        "tree",
        "linear",
    }
    assert [s.why for s in candidates(task, ["learn/forest", name], memory=0)[1]] == [
        f"needs {c.memory / 1e9:.2f} GB of memory, there are 0.00 GB" for c in both
    ]


def test_wanted_ones_that_cannot_be_are_an_error(task, values):
    with pytest.raises(BadInput) as caught:
        candidates(values, ["learn/naive_bayes"])
    assert str(caught.value) == "The method 'learn/naive_bayes' cannot be used here: it does no regression."
    with pytest.raises(BadInput, match="There is no method 'learn/logistik'"):
        candidates(task, ["learn/logistik"])


def test_a_broken_card_and_one_without_a_view_are_left_out(task, monkeypatch):
    cards = {
        "learn/a_text": card(features="tokens", version=3),
        "learn/an_image": card(features="picture"),
        "learn/good": card(version=4),
        "learn/other_kind": card(tasks=("regression",)),
        "learn/other_rows": card(modalities=("series",)),
    }

    def read_card(name):
        if name == "learn/broken":
            raise BadInput("The method 'learn/broken' is odd.")
        return cards[name]

    monkeypatch.setattr(module.methods, "card", read_card)
    monkeypatch.setattr(module.methods, "names", lambda room: ["learn/broken", *cards] if room == "learn" else [])
    found, skipped = candidates(task)
    why = "it takes one column of {} alone, and a package that reads it"
    assert [(c.method, c.view, c.version) for c in found] == [("learn/good", "linear", 4)]
    assert skipped == [
        Skipped("learn/broken", "", "The method 'learn/broken' is odd."),
        Skipped("learn/a_text", "tokens", why.format("text")),
        Skipped("learn/an_image", "picture", why.format("image")),
    ]
    for name, said in (
        ("learn/broken", "The method 'learn/broken' is odd."),
        ("learn/an_image", f"The method 'learn/an_image' cannot be used here: {why.format('image')}."),
        ("learn/other_rows", "The method 'learn/other_rows' cannot be used here: it takes series, not table."),
    ):
        with pytest.raises(BadInput) as caught:
            candidates(task, [name])
        assert str(caught.value) == said

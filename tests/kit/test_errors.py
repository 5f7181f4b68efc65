"""Errors are for people, and survive the way between processes."""

import pickle

import pytest

from smidgen.kit.errors import BadInput, BudgetSpent, MissingExtra, SmidgenError, bad


def test_the_form_is_what_expected_got_hint():
    assert (
        str(bad("labels", "at least 2 classes", 1, "Add rows."))
        == "labels: expected at least 2 classes, got 1. Add rows."
    )
    assert str(bad("name", "text", "a b")) == "name: expected text, got a b."


def test_long_values_are_cut():
    text = str(bad("x", "short", "a" * 10_000))
    assert text == f"x: expected short, got {'a' * 200}...."
    assert str(bad("x", "short", "a" * 200)) == f"x: expected short, got {'a' * 200}."


@pytest.mark.parametrize(
    ("kind", "status", "also"),
    [(BadInput, 2, ValueError), (MissingExtra, 2, ImportError), (BudgetSpent, 3, SmidgenError)],
)
def test_kinds_keep_their_exit_status_and_their_message_through_a_pickle(kind, status, also):
    error = pickle.loads(pickle.dumps(kind("one sentence")))
    assert type(error) is kind and isinstance(error, also) and isinstance(error, SmidgenError)
    assert (str(error), error.exit_code) == ("one sentence", status)

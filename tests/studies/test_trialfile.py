"""Trials in a file, one by one: what is written, read back, refused, cut off and failed."""

import json
import math

import numpy as np
import pytest

from smidgen.kit.errors import BadInput
from smidgen.studies.trialfile import Spent, TrialFile, content


@pytest.fixture
def made(tmp_path):
    """`made(...)`: the file, with a clock of the test's; `made.now`."""

    def go(space="s", names=("a", "b"), **more):
        return TrialFile(tmp_path / "t", space, names, clock=lambda: go.now, **more)

    go.now, go.path = 50.0, tmp_path / "t"
    return go


def lines(made):
    return [json.loads(line) for line in made.path.read_text().splitlines()]


def test_a_trial_is_written_as_it_ends_and_read_back(made):
    asked = []

    def evaluate(config, seed):
        asked.append((dict(config), seed))
        config["x"] = 99  # its own copy
        made.now += 1.23456
        return {"b": np.float32(0.5), "a": math.inf, "c": 3}

    with made() as file:
        assert len(file) == 0 and not hasattr(file, "none")
        first = file.trial({"x": 1, "y": 2}, 7, evaluate)
        assert first == {"a": pytest.approx(math.nan, nan_ok=True), "b": 0.5} and len(file) == 1
        first["b"] = 9.0  # what is given is the caller's
        again = file.trial({"y": 2, "x": 1}, 7, evaluate)
        assert again["b"] == 0.5 and math.isnan(again["a"]) and asked == [({"x": 1, "y": 2}, 7)]
        file.trial({"x": 1, "y": 2}, 8, evaluate)
        assert len(asked) == 2 and len(file) == 2
    row = {"config": {"x": 1, "y": 2}, "seed": 7, "a": None, "b": 0.5, "seconds": 1.2346}
    assert lines(made) == [{"space": "s", "schema": 1}, row, {**row, "seed": 8}]
    with made() as file:
        assert len(file) == 2 and file.trial({"x": 1, "y": 2}, 8, evaluate)["b"] == 0.5 and len(asked) == 2


def test_what_fails_is_a_result(made):
    def fails(config, seed):
        raise KeyError("x" * 400)

    with made() as file:
        assert all(math.isnan(v) for v in file.trial({}, 0, fails).values())
        assert all(math.isnan(v) for v in file.trial({}, 1, lambda c, s: {"a": 1.0}).values())
        with pytest.raises(KeyboardInterrupt):
            file.trial({}, 2, lambda c, s: (_ for _ in ()).throw(KeyboardInterrupt()))
        assert len(file) == 2
    _, first, second = lines(made)
    assert first["error"] == ("KeyError: '" + "x" * 400)[:300] and second["error"] == "KeyError: 'b'"
    assert first["a"] is None and "seconds" in first
    with made() as file:
        assert math.isnan(file.trial({}, 1, fails)["a"]) and len(file) == 2


def one(config, seed):
    return {"a": 1.0, "b": 2.0}


def test_budgets(made):
    with made(max_seconds=5.0, max_trials=2) as file:
        made.now = 54.9
        file.trial({}, 0, one)
        made.now = 55.0
        with pytest.raises(Spent):
            file.trial({}, 1, one)
        assert file.trial({}, 0, one) == {"a": 1.0, "b": 2.0}
        made.now = 54.0
        file.trial({}, 1, one)
        with pytest.raises(Spent):
            file.trial({}, 2, one)
    with made(max_trials=2) as file, pytest.raises(Spent):
        file.trial({}, 2, one)
    with made(max_trials=3) as file:
        file.trial({}, 2, one)
    with made() as file:
        made.now = 1e12
        for seed in range(5):
            file.trial({}, seed, one)
        assert len(file) == 5
    with made(max_seconds=0) as file, pytest.raises(Spent):
        file.trial({}, 9, one)


def test_other_files_are_refused(made):
    with made() as file:
        file.trial({}, 0, one)
        with pytest.raises(BadInput, match="is in use by another search: give another file, or wait"), made():
            pass
    with pytest.raises(BadInput) as caught, made("other"):
        pass
    assert str(caught.value) == (
        f"{made.path} holds the trials of another search space: give another file, or the same space."
    )
    whole = made.path.read_text()
    for row in ({"config": {}, "a": 1, "b": 2}, {"seed": 0, "a": 1, "b": 2}, {"config": {}, "seed": 0, "a": 1},
                {"config": {}, "seed": 0, "a": "x", "b": 2}, {"config": {}, "seed": 0, "a": [], "b": 2}):  # fmt: skip
        made.path.write_text(whole + json.dumps(row) + "\n")
        with pytest.raises(BadInput) as caught, made():
            pass
        assert str(caught.value) == f"{made.path}, line 3 is not a trial: the file is damaged or was edited."
    made.path.write_text(whole + '{"config"')  # and it is not held any more
    with made() as file:
        assert len(file) == 1


def test_content_is_what_is_held():
    numbers = np.arange(6)
    assert (
        content(numbers) == b"<i8 (6,) " + numbers.tobytes()
        and content([1.5]) == b"<f8 (1,) " + np.float64(1.5).tobytes()
    )
    assert content(np.array(["a", None, np.array([1, 2]), {3}], object)) == b'|O (4,) ["a", null, [1, 2], "{3}"]'
    different = [numbers, numbers.reshape(2, 3), numbers.astype(float), numbers + 1, [str(i) for i in numbers]]
    assert len({content(v) for v in different}) == 5 and content("".join(["a", "b"])) == content("ab")

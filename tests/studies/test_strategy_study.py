"""The strategy study: one generation a strategy and draw, fair training, resuming, and where strategies cross."""

import json
import math

import numpy as np
import pytest

from smidgen.data.strategies import AnswerAugmentation, NewQuestion
from smidgen.data.teacher import CallableTeacher, Example
from smidgen.kit.errors import BadInput
from smidgen.studies.strategies import EqualUpdatesHead, StrategyDraw, StrategyStudy, fit_crossover, softmax_sgd

ARMS = {"answers": AnswerAugmentation(), "new": NewQuestion(n_context=1)}
RATIOS = [1, 2, 4, 8]


class Counter:
    """A student whose score is known: distinct questions help, and so do answers, for a while."""

    def fit(self, inputs, outputs):
        self.questions, self.rows = len(set(inputs)), len(inputs)
        return self


def score(student: Counter) -> float:
    return 0.1 * math.log2(1 + student.questions) + 0.05 * min(math.log2(1 + student.rows), 5)


class World:
    """Draws whose teachers count the calls, and break when told to."""

    def __init__(self, breaks_at: float = math.inf) -> None:
        self.calls, self.breaks_at = 0, breaks_at

    def draw(self, seed: int) -> StrategyDraw:
        def say(prompt):
            if self.calls >= self.breaks_at:
                raise ConnectionError("gone")
            self.calls += 1
            if prompt.kind == "answer":
                return "#### 1"
            return "<question>" + " ".join(f"{prompt.seed}{k}" for k in "abcd") + "</question>"

        teacher = CallableTeacher(say, "counted")
        return StrategyDraw([Example(f"{seed} asks {i}") for i in range(8)], teacher, teacher)


def study(**changes) -> StrategyStudy:
    settings = {
        "seed_sizes": [2, 8], "ratios": RATIOS, "strategies": ARMS, "student_factory": lambda seed: Counter(),
        "evaluate": score, "seeds": [0, 1],
    }  # fmt: skip
    return StrategyStudy(**{**settings, **changes})


def test_a_generation_serves_all_ratios(tmp_path):
    world = World()
    result = study().run(world.draw, tmp_path)
    assert result.finished and len(result.rows) == 2 * 2 * 2 * 4
    assert world.calls == 2 * 2 * 8 * (2 + 8)  # draws, strategies, the largest ratio, seeds
    for row in result.rows:
        calls = row["ratio"] * row["n_seed"]
        assert row["calls"] == calls and row["rows"] == (calls if row["strategy"] == "answers" else calls // 2)
    table = result.table().splitlines()
    assert len(table) == 2 + 4 and len({line.count("|") for line in table}) == 1
    assert list(result.frame().columns)[:5] == ["strategy", "n_seed", "ratio", "seed", "score"]


def test_stopped_and_resumed_it_pays_nothing_twice(tmp_path):
    whole = study().run(World().draw, tmp_path / "whole")
    broken = World(breaks_at=100)
    with pytest.raises(ConnectionError):  # a teacher's failure is no result of a cell
        study(batch=1).run(broken.draw, tmp_path / "s")
    assert not [line for line in (tmp_path / "s/trials.jsonl").read_text().splitlines() if "error" in line]
    half = World()
    assert not study(batch=1).run(half.draw, tmp_path / "s", max_trials=20).finished
    rest = World()
    result = study(batch=1).run(rest.draw, tmp_path / "s")
    assert broken.calls + half.calls + rest.calls == 320 - 2 and result.finished  # the row that was begun is lost
    different = [a for a, b in zip(result.rows, whole.rows, strict=True) if a["rows"] != b["rows"]]
    assert [(r["strategy"], r["ratio"], r["rows"]) for r in different] == [("new", 8, 31)]
    nothing = World(breaks_at=0)
    assert study(batch=1).run(nothing.draw, tmp_path / "s").rows == result.rows
    with pytest.raises(BadInput, match="another search space"):
        study(name="other").run(World().draw, tmp_path / "s")


def test_a_student_that_fails_is_a_result(tmp_path):
    class Weak(Counter):
        def fit(self, inputs, outputs):
            if len(inputs) > 20:
                raise MemoryError("too many")
            return super().fit(inputs, outputs)

    result = study(student_factory=lambda seed: Weak()).run(World().draw, tmp_path)
    assert {math.isnan(r["score"]) for r in result.rows if r["rows"] != r["rows"] or r["rows"] > 20} == {True}
    assert "-" in result.table().splitlines()[-1]
    errors = [json.loads(line).get("error") for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    assert "MemoryError: too many" in errors
    with pytest.raises(BadInput, match="one with all ratios"):
        fit_crossover(result.rows)


def rows_of(gaps: dict[int, list[float]], noise: float = 0.0) -> list[dict]:
    """Where "new" gains this on "answers", by seeds and ratio, over 6 draws."""
    rng = np.random.default_rng(0)
    return [
        {"strategy": name, "n_seed": n, "ratio": r, "seed": s, "score": 0.5 + (gap if name == "new" else 0) + luck}
        for n, own in gaps.items()
        for s in range(6)
        for r, gap in zip(RATIOS, own, strict=True)
        for name in ARMS
        for luck in [noise * rng.normal()]
    ]


def test_the_crossover_is_where_the_gap_turns():
    found = fit_crossover(rows_of({20: [-0.1, -0.1, 0.1, 0.2], 500: [-0.3, -0.2, -0.1, 0]}))
    assert found["answers", "new"][20] == pytest.approx((math.sqrt(8),) * 3)  # halfway in the logarithm
    assert found["answers", "new"][500] is None
    likely, low, high = fit_crossover(rows_of({20: [-0.1, -0.1, 0.1, 0.2]}, noise=0.05))["answers", "new"][20]
    assert low < likely < high and 2 < likely < 4
    with pytest.raises(BadInput, match="at least two"):
        fit_crossover([row for row in rows_of({20: [0, 0, 0, 0]}) if row["strategy"] == "new"])


def test_a_draw_that_lacks_a_ratio_is_left_out():
    rows = rows_of({20: [-0.1, -0.1, 0.1, 0.1]})
    cut = [r for r in rows if not (r["seed"] == 3 and r["ratio"] == 4)]
    cut = [{**r, "score": math.nan} if (r["seed"], r["ratio"]) == (4, 8) else r for r in cut]
    wild = [{**r, "score": 9.0} if r["seed"] in (3, 4) and r["strategy"] == "answers" else r for r in cut]
    assert fit_crossover(cut) == fit_crossover([r for r in wild if not math.isnan(r["score"])])
    pd = pytest.importorskip("pandas")
    assert fit_crossover(pd.DataFrame(rows)) == fit_crossover(rows)


def test_wrong_studies(tmp_path):
    for wrong, said in (
        ({"ratios": []}, "at least one each"),
        ({"ratios": [0.4]}, "smallest budget"),
        ({"seed_sizes": [0]}, "smallest budget"),
    ):
        with pytest.raises(BadInput, match=said):
            study(**wrong)
    with pytest.raises(BadInput, match="at least 9"):
        study(seed_sizes=[9]).run(World().draw, tmp_path)
    with pytest.raises(BadInput, match="one row of 'new'"):
        study(seed_sizes=[1], ratios=[1], strategies={"new": ARMS["new"]}).run(World().draw, tmp_path / "b")


def slow_sgd(x, y, updates, batch, rate, seed):
    """By loops, one row and class at a time."""
    rng = np.random.default_rng(seed)
    order: list[int] = []
    while len(order) < updates * batch:
        order += rng.permutation(len(x)).tolist()
    w, b = np.zeros((x.shape[1], y.shape[1])), np.zeros(y.shape[1])
    for step in range(updates):
        gw, gb = np.zeros_like(w), np.zeros_like(b)
        for row in order[step * batch : (step + 1) * batch]:
            p = np.exp(x[row] @ w + b)
            p /= p.sum()
            for c in range(len(b)):
                gw[:, c] += x[row] * (p[c] - y[row, c]) / batch
                gb[c] += (p[c] - y[row, c]) / batch
        w, b = w - rate * (1 - step / updates) * gw, b - rate * (1 - step / updates) * gb
    return w, b


@pytest.mark.parametrize("rows", [3, 50])
def test_training_is_as_long_for_few_rows_as_for_many(rows):
    rng = np.random.default_rng(rows)
    x = rng.normal(size=(rows, 4)).astype(np.float32) / 2
    y = np.eye(3, dtype=np.float32)[rng.integers(0, 3, rows)]
    for got, wanted in zip(
        softmax_sgd(x, y, updates=40, batch=8, rate=0.5, seed=1), slow_sgd(x, y, 40, 8, 0.5, 1), strict=True
    ):
        assert np.allclose(got, wanted, atol=1e-5)


def test_the_head_learns_and_repeats():
    places = {"a": (1.0, 0.0), "b": (0.0, 1.0), "c": (-1.0, 0.0)}

    def encode(texts):
        return np.array([places[t] for t in texts])

    heads = [EqualUpdatesHead(encode, updates=100).fit(list("abc") * 5, ["x", "y", "z"] * 5) for _ in range(2)]
    assert heads[0].predict(["c", "a", "b"]).tolist() == ["z", "x", "y"]
    assert np.array_equal(heads[0].coef_, heads[1].coef_)
    with pytest.raises(BadInput, match="one a question"):
        EqualUpdatesHead(encode).fit(["a"], [])

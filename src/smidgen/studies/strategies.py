"""Where one way to spend teacher calls overtakes another: strategies, numbers of seeds and calls a seed, on the same
draws (arXiv 2409.19759).

Each strategy generates once for a number of seeds and a draw, at the largest ratio; smaller ratios take the first rows
of that, and so cost nothing more. Calls are counted alike for all. Students must be trained equally long whatever the
number of rows, else many calls train longer (`EqualUpdatesHead` is one that is).

Dims: N rows, D features, C classes, R repeats, B ratios.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from smidgen.data.generation_file import identity
from smidgen.data.strategies import AbstractStrategy, Generated, training_rows
from smidgen.data.teacher import Example, Teacher, TeacherBudget, named_examples
from smidgen.kit.errors import BadInput, bad
from smidgen.kit.files import digest
from smidgen.kit.seeds import derive_seed
from smidgen.laws.budget_grid import crossover
from smidgen.studies.trialfile import Spent, TrialFile

VALUES = ("score", "rows", "calls", "tokens")
Crossover = tuple[float, float, float]


class Student(Protocol):
    """What learns from questions and answers."""

    def fit(self, inputs: list[str], outputs: list[str]) -> Any: ...


@dataclass(frozen=True)
class StrategyDraw:
    """A task as one seed sees it: `examples` in the order in which they become seeds, the first S of them where S are
    asked for; and its teachers."""

    examples: Sequence[Example]
    augmenter: Teacher
    responder: Teacher


@dataclass(frozen=True)
class StrategyResult:
    """What a study found.

    Attributes:
        rows: of each cell and draw `strategy`, `n_seed`, `ratio`, `seed`, `score` (NaN where training failed), `rows`
            trained on, `calls` at this ratio, `tokens` of the whole generation.
        finished: whether the study came to its end, or its budget did.
    """

    rows: list[dict[str, Any]]
    finished: bool

    def frame(self) -> Any:
        """The rows as a pandas DataFrame."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    def table(self) -> str:
        """Mean scores in percent as a table in Markdown: a line a strategy and number of seeds, a column a ratio."""
        ratios = sorted({row["ratio"] for row in self.rows})
        lines = [["seeds", "strategy", *(f"{r:g} calls a seed" for r in ratios)]]
        lines.append(["---:", "---", *["---:"] * len(ratios)])
        for n_seed in sorted({row["n_seed"] for row in self.rows}):
            for name in dict.fromkeys(row["strategy"] for row in self.rows):
                own = [r for r in self.rows if (r["n_seed"], r["strategy"]) == (n_seed, name)]
                means = [np.mean([r["score"] for r in own if r["ratio"] == ratio] or [np.nan]) for ratio in ratios]
                lines.append([str(n_seed), name, *("-" if np.isnan(m) else f"{100 * m:.1f}" for m in means)])
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


class StrategyStudy:
    """The study of one task.

    Args:
        seed_sizes: numbers of seeds S. ratios: calls a seed; a budget is `int(ratio x S)` calls.
        strategies: by name.
        student_factory: `student_factory(seed)` makes an untrained one.
        evaluate: the score of a trained student, higher is better, on rows that no teacher and no seed came from.
        seeds: of the draws.
        name: what students and test rows are; a store of another name is refused.
        settings: for `data.generation.generate`: prompts, novelty, batch, meter.

    Raises:
        BadInput: nothing to compare; a size, ratio or budget below one.
    """

    def __init__(
        self,
        seed_sizes: Sequence[int],
        ratios: Sequence[float],
        strategies: Mapping[str, AbstractStrategy],
        student_factory: Callable[[int], Any],
        evaluate: Callable[[Any], float],
        seeds: Sequence[int],
        *,
        name: str = "",
        **settings: Any,
    ) -> None:
        if not seed_sizes or not ratios or not strategies or not seeds:
            counts = (len(seed_sizes), len(ratios), len(strategies), len(seeds))
            raise bad("seed_sizes, ratios, strategies, seeds", "at least one each", counts)
        if min(seed_sizes) < 1 or not min(ratios) > 0 or int(min(ratios) * min(seed_sizes)) < 1:
            raise bad("the smallest budget", "at least one call", min(ratios) * min(seed_sizes))
        self.seed_sizes, self.ratios = sorted(set(seed_sizes)), sorted(set(ratios))
        self.strategies, self.seeds = dict(strategies), list(dict.fromkeys(seeds))
        self.student_factory, self.evaluate, self.settings = student_factory, evaluate, settings
        asked = {k: v for k, v in settings.items() if k in ("prompts", "novelty")}
        self._space = digest(json.dumps([identity(self.strategies), identity(asked), name]))

    def run(
        self,
        draw: Callable[[int], StrategyDraw],
        folder: Path | str,
        *,
        max_seconds: float | None = None,
        max_trials: int | None = None,
    ) -> StrategyResult:
        """Measures what the folder does not hold yet, until the end or the budget, whichever is first.

        Args:
            draw: the task as a seed sees it.
            folder: of what teachers made and of trials; a trial is a cell on one draw.
            max_seconds: for this run; a trial that has begun is finished. max_trials: in all.

        Raises:
            BadInput: a draw with too few examples; a folder of another study, in use, or damaged. What a teacher
                raises: what it made before is kept.
        """
        folder, draw = Path(folder), cache(draw)
        rows: list[dict[str, Any]] = []
        finished = True
        with TrialFile(
            folder / "trials.jsonl", self._space, VALUES, max_seconds=max_seconds, max_trials=max_trials
        ) as trials:
            try:
                for seed in self.seeds:
                    for n_seed in self.seed_sizes:
                        for name in self.strategies:
                            rows += self._measure(name, n_seed, seed, draw(seed), folder, trials)
            except Spent:
                finished = False
            except _Failed as failure:
                raise failure.error from None
        return StrategyResult(rows, finished)

    def _measure(
        self, name: str, n_seed: int, seed: int, task: StrategyDraw, folder: Path, trials: TrialFile
    ) -> list[dict[str, Any]]:
        """All ratios of one strategy, on one generation, which is made when the first of them needs it."""
        if len(task.examples) < n_seed:
            raise bad(f"examples of draw {seed}", f"at least {n_seed}", len(task.examples))
        examples = named_examples(task.examples[:n_seed])
        own = digest(json.dumps([asdict(e) for e in examples]), task.augmenter.name, task.responder.name)

        @cache
        def made() -> Generated:
            try:
                return self.strategies[name].generate(
                    examples,
                    TeacherBudget(int(self.ratios[-1] * n_seed)),
                    task.augmenter,
                    task.responder,
                    seed=derive_seed(seed, "generation"),
                    store=folder / f"{digest(name, own, str(seed))}.jsonl",
                    **self.settings,
                )
            except Exception as error:  # a teacher that fails is no result of a cell
                raise _Failed(error) from error

        def evaluate(config: dict[str, Any], seed: int) -> dict[str, float]:
            whole = made()
            calls = int(config["ratio"] * n_seed)
            kept = whole.within(calls)
            inputs, outputs = training_rows(examples, kept)
            if not inputs:
                raise BadInput(f"No row came of {calls} calls.")
            student = self.student_factory(derive_seed(seed, "student"))
            student.fit(inputs, outputs)
            score = float(self.evaluate(student))
            return {"score": score, "rows": len(inputs), "calls": calls, "tokens": whole.spent["tokens"]}

        out = []
        for ratio in self.ratios:
            config = {"strategy": name, "n_seed": n_seed, "ratio": ratio, "draw": own}
            values = trials.trial(config, seed, evaluate)
            out.append({"strategy": name, "n_seed": n_seed, "ratio": ratio, "seed": seed, **values})
        return out


class _Failed(BaseException):
    """Carries an error past what takes every Exception for a result."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def fit_crossover(rows: Any, *, seed: int = 0) -> dict[tuple[str, str], dict[int, Crossover | None]]:
    """By pair of strategies and number of seeds: from how many calls a seed on the second scores higher for good, as
    (likely, low, high), see `laws.budget_grid.crossover`; None: up to the largest ratio it does not.

    Args:
        rows: of a `StrategyResult`, or a DataFrame with these columns. Draws that lack a ratio, or failed at one, are
            left out for the pair.

    Raises:
        BadInput: fewer than two strategies, or a pair without a whole draw.
    """
    records = rows.to_dict("records") if hasattr(rows, "to_dict") else list(rows)
    names = list(dict.fromkeys(r["strategy"] for r in records))
    if len(names) < 2:
        raise bad("strategies", "at least two", names)
    score = {(r["strategy"], r["n_seed"], r["seed"], r["ratio"]): float(r["score"]) for r in records}
    ratios = sorted({r["ratio"] for r in records})
    draws = list(dict.fromkeys(r["seed"] for r in records))
    found: dict[tuple[str, str], dict[int, Crossover | None]] = {}
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            own = found[first, second] = {}
            for n_seed in sorted({r["n_seed"] for r in records}):
                both_2RB = np.array(
                    [[[score.get((s, n_seed, d, r), np.nan) for r in ratios] for d in draws] for s in (first, second)]
                )
                whole_R = np.isfinite(both_2RB).all((0, 2))
                if not whole_R.any():
                    raise bad(f"draws of '{first}' and '{second}' at {n_seed} seeds", "one with all ratios", "none")
                own[n_seed] = crossover(ratios, *both_2RB[:, whole_R], seed=seed)
    return found


class EqualUpdatesHead:
    """Softmax regression on given features, trained by as many updates whatever the number of rows.

    Plain SGD on the mean loss of a batch, the rate falling to 0 in a straight line; rows in a new order each time
    round. Starting from 0, the number of updates is what holds the weights back.

    Args:
        encode: features `[N, D]` of texts; the rate is meant for rows of norm 1.
    """

    def __init__(
        self, encode: Callable[[list[str]], np.ndarray], *, updates: int = 1000, batch: int = 32, rate: float = 2.0,
        seed: int = 0,
    ) -> None:  # fmt: skip
        self.encode, self.updates, self.batch, self.rate, self.seed = encode, updates, batch, rate, seed

    def fit(self, inputs: list[str], outputs: list[str]) -> "EqualUpdatesHead":
        """Raises BadInput where there is no row, or not one answer a question."""
        if not inputs or len(inputs) != len(outputs):
            raise bad("outputs", f"{max(len(inputs), 1)}, one a question", len(outputs))
        self.classes_, codes_N = np.unique(np.asarray(outputs), return_inverse=True)
        x_ND = np.asarray(self.encode(inputs), np.float32)
        y_NC = np.eye(len(self.classes_), dtype=np.float32)[codes_N]
        self.coef_, self.intercept_ = softmax_sgd(
            x_ND, y_NC, updates=self.updates, batch=self.batch, rate=self.rate, seed=self.seed
        )
        return self

    def predict(self, inputs: list[str]) -> np.ndarray:
        """The most likely answer to each question."""
        scores_NC = np.asarray(self.encode(inputs)) @ self.coef_ + self.intercept_
        return self.classes_[scores_NC.argmax(1)]


def softmax_sgd(
    x_ND: np.ndarray, y_NC: np.ndarray, *, updates: int, batch: int, rate: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Weights `[D, C]` and intercepts `[C]` after exactly `updates` steps; `y_NC`: shares of each class in a row."""
    rng = np.random.default_rng(seed)
    rounds = -(-updates * batch // len(x_ND))
    order = np.concatenate([rng.permutation(len(x_ND)) for _ in range(rounds)])[: updates * batch]
    w_DC, b_C = np.zeros((x_ND.shape[1], y_NC.shape[1]), np.float32), np.zeros(y_NC.shape[1], np.float32)
    for step, rows in enumerate(order.reshape(updates, batch)):
        x_BD = x_ND[rows]
        s_BC = x_BD @ w_DC + b_C
        p_BC = np.exp(s_BC - s_BC.max(1, keepdims=True))
        p_BC /= p_BC.sum(1, keepdims=True)
        miss_BC = (p_BC - y_NC[rows]) * (rate * (1 - step / updates) / batch)
        w_DC -= x_BD.T @ miss_BC
        b_C -= miss_BC.sum(0)
    return w_DC, b_C

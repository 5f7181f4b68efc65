"""Which strategy suits so many seeds and calls: the published rule, a measured crossover, or a pilot of one's own.

The paper (arXiv 2409.19759) found directions: few calls a seed favour more answers, many favour new questions, which
go on gaining where the others level off; with thousands of seeds all are about equal; a weak augmenter rephrases well
and writes poor new questions. Where one overtakes the other depends on the task, and no number for that was confirmed:
outside of a wide band the rule is called published, within it a guess. A pilot settles it on the task itself.

Dims: P points of a pilot (a step and a repeat each), K draws of a law.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from smidgen.data.strategies import AbstractStrategy, Generated, Synthetic
from smidgen.data.teacher import Example, Teacher, TeacherBudget
from smidgen.kit.errors import bad
from smidgen.laws.draws import laplace
from smidgen.laws.form import Parameter, PowerSum, Term
from smidgen.laws.law import Law, fit
from smidgen.laws.points import Points

FEW, MANY = 1.0, 100.0  # calls a seed; ours: up to and from these the published directions are taken to hold
BETWEEN = 10.0  # where a guess turns over
LARGE = 5000  # seeds; the paper's largest set, all of GSM8K's training rows, has somewhat more
SURE = 0.8  # share of the draws in which the best must be the best
EXPONENT = (0.3, 0.3)  # mean and sd of a normal prior on how fast errors fall with calls

Evidence = Literal["measured", "published direction", "guess"]


@dataclass(frozen=True)
class Recommendation:
    """`name`: "answers", "rephrased" or "new" (of a pilot: the name given). `reason`: why, for a person. `evidence`:
    what that rests on."""

    name: str
    reason: str
    evidence: Evidence


def recommend_strategy(
    n_seed: int,
    n_calls: int,
    *,
    verified: bool = False,
    augmenter_strength: Literal["strong", "weak"] = "strong",
    task: str = "generic",
    crossover: tuple[float, float, float] | None = None,
) -> Recommendation:
    """What to spend calls on.

    Args:
        verified: the seeds have answers known to be right: rephrased questions take them over, for one call a row.
        augmenter_strength: of the model that would write questions.
        task: what it is, for the reason; the rule knows no task.
        crossover: calls a seed at which new questions were measured to overtake more answers (likely, low, high), from
            `studies.strategies.fit_crossover` on this task.

    Raises:
        BadInput: fewer than 1 seed or call; a strength that there is not; a crossover out of order.
    """
    for name, value in (("n_seed", n_seed), ("n_calls", n_calls)):
        if value < 1:
            raise bad(name, "at least 1", value)
    if augmenter_strength not in ("strong", "weak"):
        raise bad("augmenter_strength", "'strong' or 'weak'", augmenter_strength)
    ratio = n_calls / n_seed
    said = f"{n_calls:,} calls for {n_seed:,} seeds are {ratio:.3g} calls a seed"
    if crossover is not None:
        return _measured(ratio, said, crossover, task)
    weak = augmenter_strength == "weak"
    writes = "rephrased" if weak else "new"
    if n_seed >= LARGE and ratio < MANY:
        why = f"with {n_seed:,} seeds all strategies were about equal, and more answers are the simplest"
        return Recommendation("answers", f"{said}; {why}.", "published direction")
    if ratio <= FEW:
        why = "so few are best spent on answers to the seeds, not on writing other questions"
        return Recommendation("answers", f"{said}; {why}.", "published direction")
    free = " Their answers are taken over from the seeds, one call a row." if weak and verified else ""
    how = (
        "a weak augmenter rephrases nearly as well as a strong one, and writes poor new questions"
        if weak
        else "new questions go on gaining where more answers level off"
    )
    if ratio >= MANY:
        return Recommendation(writes, f"{said}; with so many {how}.{free}", "published direction")
    name = "answers" if ratio < BETWEEN else writes
    why = f"where answers stop paying for {task} tasks is not known: a pilot on your own task would tell"
    return Recommendation(name, f"{said}; {why}.{free if name != 'answers' else ''}", "guess")


def _measured(ratio: float, said: str, crossover: tuple[float, float, float], task: str) -> Recommendation:
    likely, low, high = crossover
    if not 0 < low <= likely <= high:
        raise bad("crossover", "(likely, low, high) with 0 < low <= likely <= high", crossover)
    where = f"new questions overtook more answers at {likely:.3g} ({low:.3g} to {high:.3g}) for {task} tasks"
    name = "new" if ratio >= likely else "answers"
    if low < ratio < high:
        return Recommendation(name, f"{said}; {where}: here they are not told apart.", "guess")
    return Recommendation(name, f"{said}; {where}.", "measured")


@dataclass(frozen=True)
class Forecast:
    """Of one arm: the score with all that is left for it, its 90 % interval, and in what share of the draws it is the
    best of all arms. `scores`: (calls, score) that were measured."""

    score: float
    low: float
    high: float
    best: float
    scores: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class PilotResult:
    """`chosen`: which arm, why, and how sure that is. `forecasts`: by arm. `rows`: of all arms, the chosen one's last:
    those of the pilots of others are paid for, and stay. `spent`: on all of it."""

    chosen: Recommendation
    forecasts: dict[str, Forecast]
    rows: list[Synthetic]
    spent: dict[str, float]


def pilot_then_commit(
    strategies: Mapping[str, AbstractStrategy],
    seeds: Sequence[Example],
    budget: TeacherBudget,
    augmenter: Teacher,
    responder: Teacher,
    score: Callable[[Sequence[Synthetic], int], float],
    *,
    share: float = 0.05,
    steps: Sequence[float] = (0.25, 0.5, 1.0),
    repeats: int = 3,
    folder: Path | str | None = None,
    **settings: Any,
) -> PilotResult:
    """Spends a share of the budget on each arm, fits how the error falls with calls, and the rest on the best arm.

    The law is error = scale x calls^-exponent, with a prior on the exponent; it is asked far beyond its points, which
    is why the interval counts and not the likely value alone. An arm that is the best in less than 80 % of the draws
    is chosen all the same, and the result says that the arms are not told apart.

    Args:
        strategies: arms by name, at least two.
        score: of a student trained on these rows, 0 to 1, on validation rows that are neither seeds nor test rows; the
            second argument is the number of the repeat.
        share: of the budget, for each arm. steps: shares of that at which a student is trained; the rows nest.
        repeats: students trained at each step.
        folder: where rows are kept, a file an arm; with it work goes on where it stopped.
        settings: for `generation.generate`: prompts, novelty, seed, batch, meter.

    Raises:
        BadInput: fewer than two arms; shares that leave nothing; an arm without rows at the first step; a score that
            is not 0 to 1.
    """
    if len(strategies) < 2:
        raise bad("strategies", "at least two arms", len(strategies))
    if not 0 < share * len(strategies) < 1:
        raise bad("share", f"above 0, less than 1 / {len(strategies)}", share)
    if len(steps) < 2 or list(steps) != sorted(set(steps)) or not steps[0] > 0 or steps[-1] != 1:
        raise bad("steps", "at least two rising shares, the last one 1", list(steps))
    try:
        part = budget.part(share)
        rest = budget.part(1 - share * (len(strategies) - 1))
    except ValueError:
        raise bad("budget", f"enough for a pilot of {share:.0%}", budget) from None
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(folder) if folder is not None else Path(scratch)

        def make(name: str, most: TeacherBudget) -> Generated:
            at = place / f"{list(strategies).index(name)}.jsonl"
            return strategies[name].generate(seeds, most, augmenter, responder, store=at, **settings)

        pilots = {name: make(name, part) for name in strategies}
        laws, scores, reach = {}, {}, {}
        for name, made in pilots.items():
            calls = min(part.calls, int(made.spent["calls"]))  # fewer where tokens ended first
            scores[name] = _scores(name, made, calls, steps, repeats, score)
            laws[name] = _law(scores[name], len(laws))  # draws of its own: arms are independent
            reach[name] = rest.calls
            if rest.tokens is not None:
                reach[name] = min(rest.calls, int(calls * rest.tokens / max(made.spent["tokens"], 1)))
        forecasts = _forecasts(laws, scores, reach)
        best = max(forecasts, key=lambda name: (forecasts[name].best, forecasts[name].score))
        whole = make(best, rest)
    others = [name for name in strategies if name != best]
    spent: dict[str, float] = {}
    for costs in (*(pilots[name].spent for name in others), whole.spent):
        for key, value in costs.items():
            spent[key] = spent.get(key, 0.0) + value
    spent["seconds"] += pilots[best].spent["seconds"]  # the rows were found in the file, and cost no second again
    rows = [row for name in others for row in pilots[name].rows] + whole.rows
    return PilotResult(_chosen(best, forecasts[best], scores[best][-1][0], reach[best]), forecasts, rows, spent)


def _scores(
    name: str,
    made: Generated,
    calls: int,
    steps: Sequence[float],
    repeats: int,
    score: Callable[[Sequence[Synthetic], int], float],
) -> tuple[tuple[int, float], ...]:
    found = []
    for step in steps:
        most = int(step * calls + 1e-9)
        rows = made.within(most)
        if not rows:
            raise bad(f"rows of '{name}' from {most} calls", "at least one", "none", "Give a larger budget or share.")
        for repeat in range(repeats):
            got = float(score(rows, repeat))
            if not 0 <= got <= 1:
                raise bad("score", "0 to 1", got)
            found.append((most, got))
    return tuple(found)


def _law(scores: tuple[tuple[int, float], ...], seed: int) -> Law:
    """Error by calls; no error is taken as less than half a thousandth, for laws are about logarithms."""
    calls_P = np.array([calls for calls, _ in scores], float)
    error_P = np.maximum(1 - np.array([value for _, value in scores]), 5e-4)
    middle = float(np.exp(np.log(calls_P).mean()))
    form = PowerSum(
        "error by calls",
        ("calls",),
        (Parameter(name="scale", log=True), Parameter(name="exponent", low=0.0, high=2.0, prior=EXPONENT)),
        (Term("scale", {"calls": ("exponent", 1.0)}),),
        {"calls": middle},
    )
    return laplace(fit(form, Points.of({"calls": calls_P}, error_P)), seed=seed)


def _forecasts(
    laws: Mapping[str, Law], scores: Mapping[str, tuple[tuple[int, float], ...]], calls: Mapping[str, int]
) -> dict[str, Forecast]:
    draws = {
        name: np.exp(law.log_draws(np.array([[float(calls[name])]]), anyway=True)[:, 0]) for name, law in laws.items()
    }
    first_K = np.array(list(draws.values())).argmin(0)
    out = {}
    for i, (name, law) in enumerate(laws.items()):
        low, high = np.quantile(draws[name], [0.05, 0.95])
        likely = law.predict({"calls": calls[name]}, anyway=True)[0]
        ends = [max(0.0, float(1 - error)) for error in (likely, high, low)]
        out[name] = Forecast(ends[0], ends[1], ends[2], float(np.mean(first_K == i)), scores[name])
    return out


def _chosen(name: str, forecast: Forecast, pilot: int, calls: int) -> Recommendation:
    about = f"{forecast.score:.3f} ({forecast.low:.3f} to {forecast.high:.3f})"
    said = f"a pilot of {pilot:,} calls an arm forecasts {about}"
    sure = f"with {calls:,} calls, the best arm in {forecast.best:.0%} of the draws"
    if forecast.best < SURE:
        return Recommendation(name, f"{said} {sure}: the arms are not told apart.", "guess")
    return Recommendation(name, f"{said} {sure}.", "measured")

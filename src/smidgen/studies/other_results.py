"""What hours and megabytes would bring, as the plain data of a plan: forecasts, a way to the target, a plan of its own.

Dims: K draws, S steps.
"""

from typing import Any

import numpy as np
from scipy.stats import norm

from smidgen.laws.allocate import Split
from smidgen.laws.curve import LEVEL
from smidgen.studies.advice import cannot, sentences
from smidgen.studies.losses import Scale
from smidgen.studies.other_offers import Other, Step, with_others
from smidgen.studies.prices import Offer
from smidgen.studies.ready import Ready
from smidgen.studies.stored import Study

DRAWS = 1000
NOTHING = {"amount": 0, "interval": [0, 0], "purchase": None, "cost": 0.0}  # is needed where the target is reached
NORMAL = 1.6449  # sds to either side that hold `LEVEL`
TINY = 1e-4  # a loss below it says nothing in proportion


def with_steps(
    scale: Scale, log_K: np.ndarray, steps: list[Step], plain_K: np.ndarray | None = None
) -> tuple[float, list[float]]:
    """(likely score, its interval) after steps, from plausible log losses without them: medians add up. `plain_K`: the
    losses without the luck of one training, which the likely score is of; None: `log_K` has none."""
    middle = np.median(log_K if plain_K is None else plain_K) + sum(float(np.median(s.change_K)) for s in steps)
    after_K = sum((step.change_K for step in steps), log_K)
    low, high = (scale.score(float(np.exp(e))) for e in np.quantile(after_K, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    return scale.score(float(np.exp(middle))), sorted((low, high))


def forecasts_of(
    others: list[Other], scale: Scale, now_K: np.ndarray, plain_K: np.ndarray | None = None
) -> list[dict[str, Any]]:
    """One entry a step; `now_K`: log losses of one model as it is now, its luck included."""
    out = []
    for other in others:
        for step in other.steps:
            estimate, interval = with_steps(scale, now_K, [step], plain_K)
            out.append({
                "purchase": other.offer.name, "amount": short(step.amount), "total": short(step.total),
                "cost": short(other.cost(step)), "metric": scale.metric.name, "estimate": estimate,
                "interval": interval, "level": LEVEL,
            })  # fmt: skip
    return out


def short(value: float) -> float:
    """Three digits: hours and megabytes are no whole numbers, and no better known."""
    return float(f"{value:.3g}")


def reaching(others: list[Other], scale: Scale, now_K: np.ndarray, target: float) -> dict[str, Any] | None:
    """The cheapest step that likely reaches the score, as `Outlook.reaching` tells it; None where none does."""
    wanted, found = np.log(max(scale.loss(target), 1e-12)), []
    for other in others:
        steps = [step for step in other.steps if step.amount >= 0]
        if not steps:
            continue
        amounts_S = np.array([step.amount for step in steps])
        below_SK = np.stack([now_K + step.change_K <= wanted for step in steps])
        first_K = np.sort(np.where(below_SK.any(0), amounts_S[below_SK.argmax(0)], np.inf))
        low, middle, high = (float(first_K[min(int(q * len(first_K)), len(first_K) - 1)]) for q in (0.05, 0.5, 0.95))
        if np.isfinite(middle):
            found.append({
                "purchase": other.offer.name, "amount": short(middle), "cost": short(middle * other.offer.price),
                "interval": [short(low), short(high) if np.isfinite(high) else None], "level": LEVEL,
            })  # fmt: skip
    return min(found, key=lambda f: f["cost"], default=None)


def told(others: list[Other], beside: list[tuple[Other, Step]]) -> dict[str, Any]:
    """What is bought, by name, and of each offer the best step and how it is had."""
    bought = {other.offer.name: step for other, step in beside}
    return {
        "split": {o.offer.name: short(o.cost(bought[o.offer.name])) if o.offer.name in bought else 0.0 for o in others},
        "split_amounts": {
            o.offer.name: short(bought[o.offer.name].amount) if o.offer.name in bought else 0.0 for o in others
        },
        "how": {o.offer.name: {"amount": short(o.best.amount), "how": o.best.how} for o in others},
        "free": [name for name, step in bought.items() if step.amount == 0],
    }


def alone(
    found: Study, own: Ready, offers: list[Offer], others: list[Other], unknown: list[dict[str, str]], spend: float,
    target: float | None,
) -> dict[str, Any]:  # fmt: skip
    """A plan where no rows are sold: nothing is measured, all is told from the study's trials."""
    summary, scale = found.summary or {}, own.scale
    now_K = _now(summary, own, DRAWS)
    nothing = Split(np.zeros(0), np.exp(now_K), np.zeros(0))
    _, beside, _ = with_others(lambda money: nothing, others, spend, now_K)
    after, after_ends = with_steps(scale, now_K, [step for _, step in beside])
    reached = target is not None and scale.loss(own.estimate) <= scale.loss(target)
    reach = None if target is None or reached else reaching(others, scale, now_K, target)
    out: dict[str, Any] = {
        "study": found.id, "n": len(own.task), "metric": scale.metric.name, "level": LEVEL,
        "greater_is_better": scale.metric.greater_is_better, "measured_method": own.measured,
        "now": {"estimate": own.estimate, "interval": summary["interval"]},
        "forecasts": forecasts_of(others, scale, now_K), **told(others, beside),
        "after": {"estimate": after if beside else own.estimate, "interval": after_ends}, "best": {}, "worth": {},
        "failing": [], "reached": reached, "gain_is_small": False,
        "target": {**NOTHING, "level": LEVEL} if reached else reach,
        "unknown": unknown, "warnings": [], "seconds": 0.0, "measured": {"trainings": 0, "of": 0, "failed": 0},
        "asked": {"spend": spend, "prices": {o.name: o.price for o in offers}, "target": target},
    }  # fmt: skip
    out["sentences"] = sentences(out) if others else cannot(out)
    out["sentence"] = " ".join(out["sentences"][:2])
    return out


def _now(summary: dict[str, Any], own: Ready, draws: int) -> np.ndarray:
    """Log losses that the study's estimate and interval leave plausible `[K]`."""
    low, high = sorted(np.log(max(own.scale.loss(v), TINY)) for v in summary["interval"])
    middle = np.log(max(own.scale.loss(own.estimate), TINY))
    z_K = np.random.default_rng(own.seed).permutation(norm.ppf((np.arange(draws) + 0.5) / draws))  # an exact middle
    return middle + z_K * np.where(z_K > 0, high - middle, middle - low) / NORMAL

"""The verdict on a claim, from the numbers of its seeds alone.

A part holds when the mean of its paired gains reaches the margin and the lower bound of the mean lies above the null
value. Bounds are Student's, one-sided at 5 % shared among the parts (Bonferroni): all intervals of a claim hold
together nine times in ten. Where seeds resample one data set, the variance is corrected for their overlap (Nadeau and
Bengio, "Inference for the generalization error", 2003, eq. 5).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from smidgen.papers.claim import Claim, Part

Verdict = Literal["holds", "direction only", "fails here", "not finished"]
ALPHA = 0.05  # chance that any lower bound of a claim lies above the truth


@dataclass(frozen=True)
class JudgedPart:
    """What the seeds say of one part; `interval` is of the mean gain. Without at least 2 finite gains it is None."""

    name: str
    verdict: Verdict
    mean: float | None
    interval: tuple[float, float] | None
    gains: list[float | None]


@dataclass(frozen=True)
class Judgement:
    verdict: Verdict
    parts: list[JudgedPart]


def judge(claim: Claim, runs: Sequence[Mapping[str, float]]) -> Judgement:
    """The verdict over the runs of the claim's seeds; fewer runs than it asks for are "not finished"."""
    complete = len(runs) >= claim.seeds
    parts = [_part(part, runs, claim.resampled, len(claim.parts), complete) for part in claim.parts]
    if not complete:
        return Judgement("not finished", parts)
    if _enough(claim, parts, ("holds",)):
        return Judgement("holds", parts)
    return Judgement("direction only" if _enough(claim, parts, ("holds", "direction only")) else "fails here", parts)


def _enough(claim: Claim, parts: list[JudgedPart], good: tuple[str, ...]) -> bool:
    passed: dict[str, list[bool]] = {}
    for part, judged in zip(claim.parts, parts, strict=True):
        passed.setdefault(part.group, []).append(judged.verdict in good)
    return all(sum(p) >= claim.needs.get(group, len(p)) for group, p in passed.items())


def _part(part: Part, runs: Sequence[Mapping[str, float]], resampled: float, parts: int, complete: bool) -> JudgedPart:
    a, b = part.gain
    gains = [_value(a, run) - _value(b, run) for run in runs]
    shown = [g if math.isfinite(g) else None for g in gains]
    if len(gains) < 2 or None in shown:
        verdict = "fails here" if complete else "not finished"
        return JudgedPart(part.name, verdict, None, None, shown)
    mean, half = _interval(gains, resampled, ALPHA / parts)
    if mean >= part.margin and mean - half > part.null:
        verdict = "holds"
    else:
        verdict = "direction only" if mean > part.null else "fails here"
    return JudgedPart(part.name, verdict if complete else "not finished", mean, (mean - half, mean + half), shown)


def _value(term: str | float, run: Mapping[str, float]) -> float:
    return float(run.get(term, math.nan)) if isinstance(term, str) else float(term)


def _interval(gains: list[float], resampled: float, alpha: float) -> tuple[float, float]:
    """Mean, and half the width of its interval that leaves `alpha` on either side."""
    from scipy.stats import t

    n, mean = len(gains), math.fsum(gains) / len(gains)
    variance = math.fsum((g - mean) ** 2 for g in gains) / (n - 1)
    return mean, float(t.ppf(1 - alpha, n - 1)) * math.sqrt(variance * (1 / n + resampled))

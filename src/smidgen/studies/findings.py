"""What a plan found, as one plain dictionary: the output of `--json`, and what the page and the report show."""

from dataclasses import replace
from typing import Any

import numpy as np

from smidgen.kit.errors import BudgetSpent
from smidgen.laws.curve import HOME, LEVEL, Curve, fit_curve
from smidgen.laws.worth import noisy_prior, worth
from smidgen.learn.blend import tempered
from smidgen.studies.advice import sentences
from smidgen.studies.blur import Blur
from smidgen.studies.choose import ChoiceConfig, OutOfFold, choose
from smidgen.studies.losses import Scale
from smidgen.studies.measured import Measured, rough
from smidgen.studies.outlook import UNLABELLED_MOST, Outlook, anchored
from smidgen.studies.prices import Offer
from smidgen.studies.purchases import CURVE_REPEATS, MIX_REPEATS, all_draws, curve_draws, mixed_draws
from smidgen.studies.ready import Ready
from smidgen.studies.store import Study
from smidgen.tasks.splits import units_of

UNLABELLED_PRIOR = (0.05, 0.1)  # what a row without a label is worth, before it is measured
NOTHING = {"amount": 0, "interval": [0, 0], "purchase": None, "cost": 0.0}  # is needed where the target is reached
FARTHEST = 1.5  # the study's estimate may lie so far from its heaviest member's loss, as a factor
NEARLY_PERFECT = 0.01


def result(
    ready: Ready, found: Study, offers: list[Offer], unknown: list[dict[str, str]], results: dict[str, np.ndarray],
    spend: float, target: float | None,
) -> dict[str, Any]:  # fmt: skip
    """From predictions by draw. Raises BudgetSpent: the time ended before two sizes were measured."""
    task, scale = ready.task, ready.scale
    measured = _measured(ready, offers, results)
    if len(measured.sizes) < 2 and len(results) < len(all_draws(ready.task, offers, ready.folds)):
        raise BudgetSpent("The time ended before two sizes of the learning curve were measured. Give more time.")
    curve = fit_curve(scale.family, measured.points(), baseline=measured.baseline, labels=len(task), seed=ready.seed)
    blur = None if measured.predictions is None else Blur.of(measured.predictions, scale.metric.name)
    worths = {o.name: _worth(o, curve, measured, blur, ready.seed) for o in offers}
    own = float(np.exp(np.median(curve.log_losses(float(len(task)), False))))
    factor = float(np.clip(scale.loss(ready.estimate) / max(own, 1e-9), 1 / FARTHEST, FARTHEST))
    outlook = Outlook(anchored(curve, factor), scale, tuple(offers), worths, len(task), blur)
    split = outlook.split(spend)
    now, now_ends = outlook.now()
    after, after_ends = outlook.score(np.log(np.maximum(split.losses_K, 1e-12)))
    luck = curve.prior.luck * (HOME / len(task)) ** 0.5
    gain = np.log(max(scale.loss(now), 1e-9)) - np.log(max(scale.loss(after), 1e-9))
    reached = target is not None and scale.loss(now) <= scale.loss(target)
    reach, failing = (None, []) if target is None or reached else outlook.reaching(target)
    warnings = []
    if abs(np.log(max(scale.loss(ready.estimate), 1e-9) / max(own, 1e-9))) > np.log(FARTHEST):
        warnings.append(
            f"The study's estimate ({ready.estimate:.3g}) lies far from what its heaviest member alone measures "
            f"({scale.score(own):.3g}): forecasts begin between the two."
        )
    bought = {o.name: m / o.price for o, m in zip(offers, split.money, strict=True)}
    if sum(bought[o.name] * float(np.median(worths[o.name])) for o in offers) > 0.99 * outlook.reach:
        warnings.append(f"Forecasts reach to {outlook.curve.carries:,.0f} labels in all: money beyond that is kept.")
    elif any(o.kind == "unlabelled" and bought[o.name] >= outlook.most(o) for o in offers):
        warnings.append(f"No more than {UNLABELLED_MOST} rows without a label for each label are forecast or bought.")
    if rough(measured.points()):
        warnings.append(
            "The learning curve rises where it should fall: forecasts lean on what is known of other tasks, and their "
            "intervals are wide. Label a few more rows and plan again."
        )
    if scale.loss(ready.estimate) < NEARLY_PERFECT and scale.family == "error":
        warnings.append(f"The {scale.metric.name} is nearly perfect: it can hardly show what more would bring.")
    out: dict[str, Any] = {
        "study": found.id, "n": len(task), "metric": scale.metric.name,
        "greater_is_better": scale.metric.greater_is_better, "level": LEVEL,
        "measured_method": ready.measured, "now": {"estimate": now, "interval": now_ends},
        "forecasts": outlook.forecasts(spend),
        "split": {o.name: round(float(m), 6) for o, m in zip(offers, split.money, strict=True)},
        "split_amounts": {o.name: float(round(m / o.price)) for o, m in zip(offers, split.money, strict=True)},
        "after": {"estimate": after, "interval": after_ends},
        "best": {o.name: float(w) for o, w in zip(offers, split.best_O, strict=True)},
        "worth": {o.name: {**_told(worths[o.name]), "measured": len(measured.mixes_of(o.name))} for o in offers},
        "failing": failing,
        "target": {**NOTHING, "level": LEVEL} if reached else reach,
        "reached": reached, "gain_is_small": bool(gain < luck / 2), "unknown": unknown, "warnings": warnings,
        "asked": {"spend": spend, "prices": {o.name: o.price for o in offers}, "target": target},
        "curve": _curve(measured, scale), "band": _band(outlook),
    }  # fmt: skip
    out["sentences"] = sentences(out)
    out["sentence"] = " ".join(out["sentences"][:2])
    return out


def _measured(ready: Ready, offers: list[Offer], results: dict[str, np.ndarray]) -> Measured:
    task, folds = ready.task, ready.folds
    measured = Measured(task, ready.scale)
    curve = curve_draws(len(task), len(task.classes), folds, CURVE_REPEATS)
    wholes = [results[d] for d, _ in curve if d.startswith("cv") and d in results]
    if task.classes and wholes:
        board = OutOfFold(np.stack(wholes)[None], task.target, np.ones(1), units_of(task))
        measured.log_t = float(choose(board, ChoiceConfig()).log_t[0])
        rows = np.isfinite(wholes[0]).all(1)
        measured.predictions = tempered(wholes[0][rows], measured.log_t)
    for draw, n in curve:
        if draw in results:
            measured.sizes.setdefault(float(n), []).append(measured.loss(results[draw]))
    for offer in offers:
        if offer.is_mixed:
            for draw, right, other in mixed_draws(task, offer, folds, MIX_REPEATS):
                if draw in results:
                    measured.mixes.setdefault((offer.name, right, other), []).append(measured.loss(results[draw]))
    return measured


def _worth(offer: Offer, curve: Curve, measured: Measured, blur: Blur | None, seed: int) -> np.ndarray:
    draws = len(curve.law.draws_KP) if curve.law.draws_KP is not None else 0
    if not offer.is_mixed:
        return np.ones(draws)
    error = offer.error or 0.0
    prior = UNLABELLED_PRIOR if offer.kind == "unlabelled" else noisy_prior(error, len(measured.task.classes))
    mixes = measured.mixes_of(offer.name)
    if blur and error:  # that is counted by itself
        costs = [blur.cost(error * mix.other / (mix.right + mix.other)) for mix in mixes]
        mixes = [replace(mix, loss=max(mix.loss - c, mix.loss / 4)) for mix, c in zip(mixes, costs, strict=True)]
    return worth(curve, mixes, prior, seed)


def _told(worth_K: np.ndarray) -> dict[str, Any]:
    low, middle, high = np.quantile(worth_K, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2]).tolist()
    return {"estimate": middle, "interval": [low, high]}


def _curve(measured: Measured, scale: Scale) -> list[dict[str, Any]]:
    return [
        {"n": n, "estimate": scale.score(float(np.mean(own))),
         "interval": sorted((scale.score(min(own)), scale.score(max(own))))}
        for n, own in sorted(measured.sizes.items())
    ]  # fmt: skip


def _band(outlook: Outlook) -> list[dict[str, Any]]:
    """The forecast by clean labels, for a picture."""
    out = []
    for n in np.geomspace(max(outlook.labels / 4, 2), outlook.labels * 10, 24):
        estimate, interval = outlook.score(outlook.curve.log_losses(float(n)))
        out.append({"n": round(float(n), 1), "estimate": estimate, "interval": interval})
    return out


def nothing(
    found: Study, ready: Ready, offers: list[Offer], unknown: list[dict[str, str]], spend: float, target: float | None
) -> dict[str, Any]:  # fmt: skip
    """The result where the study can tell about none of the offers."""
    summary = found.summary or {}
    now = {"estimate": ready.estimate, "interval": summary["interval"]}
    said = [f"What this money would buy cannot be told from the study: {u['purchase']}: {u['why']}." for u in unknown]
    return {
        "study": found.id, "n": len(ready.task), "metric": ready.scale.metric.name, "level": LEVEL, "now": now,
        "greater_is_better": ready.scale.metric.greater_is_better, "measured_method": ready.measured,
        "forecasts": [], "split": {}, "split_amounts": {}, "target": None, "reached": False, "unknown": unknown,
        "asked": {"spend": spend, "prices": {o.name: o.price for o in offers}, "target": target}, "warnings": [],
        "sentences": said, "sentence": " ".join(said), "seconds": 0.0, "measured": {"trainings": 0, "of": 0},
    }  # fmt: skip


def dry(
    found: Study, ready: Ready, draws: list[str], able: list[Offer], unknown: list[dict[str, str]]
) -> dict[str, Any]:
    fits = ready.folds * len(draws)
    row = max((found.summary or {})["leaderboard"], key=lambda r: r.get("weight") or 0.0)
    each = (row.get("seconds") or 0.0) / max(row.get("repeats") or 1, 1) / ready.folds
    return {
        "study": found.id, "n": len(ready.task), "metric": ready.scale.metric.name, "dry_run": True,
        "would_measure": draws, "fits": fits, "seconds": round(fits * each, 1),
        "measured_method": ready.measured,
        "purchases": [o.name for o in able], "unknown": unknown,
    }  # fmt: skip

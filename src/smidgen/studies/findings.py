"""What a plan found, as one plain dictionary: the output of `--json`, and what the page and the report show."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from smidgen.kit.errors import BadInput, BudgetSpent
from smidgen.laws.curve import HOME, LEVEL, Curve, fit_curve
from smidgen.laws.worth import noisy_prior, worth
from smidgen.studies.advice import sentences
from smidgen.studies.blur import Blur
from smidgen.studies.losses import Scale
from smidgen.studies.measured import Measured, measure, rough
from smidgen.studies.other_offers import Other, with_others
from smidgen.studies.other_results import NOTHING, forecasts_of, reaching, told, with_steps
from smidgen.studies.outlook import UNLABELLED_MOST, Outlook, anchored
from smidgen.studies.prices import Offer
from smidgen.studies.query_rate import doubtful, rates_of
from smidgen.studies.ready import Ready
from smidgen.studies.row_noise import row_noise
from smidgen.studies.stored import Study

UNLABELLED_PRIOR = (0.0, 0.05)  # of a label, before it is measured: on many development tasks it was worth nothing
FARTHEST = 1.5  # the study's estimate may lie so far from its heaviest member's loss, as a factor
NEARLY_PERFECT = 0.01


def result(
    ready: Ready, found: Study, offers: list[Offer], unknown: list[dict[str, str]], results: dict[str, np.ndarray],
    spend: float, target: float | None, others: list[Other] | None = None, *, failed: Mapping[str, str] | None = None,
    ended: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """From predictions by draw. `others`: what is for sale beside rows. `failed`: why, by draw; `ended`: whether the
    time ended before all were measured.

    Raises:
        BudgetSpent: the time ended before two sizes were measured. BadInput: too many trainings failed for that.
    """
    task, scale, failed = ready.task, ready.scale, failed or {}
    measured = measure(ready, offers, results)
    if len(measured.sizes) < 2 and ended:
        raise BudgetSpent("The time ended before two sizes of the learning curve were measured. Give more time.")
    if len(measured.sizes) < 2 and failed:
        raise BadInput(f"No learning curve: {ready.measured} failed on parts of the labels ({_why(failed)}).")
    noise = row_noise(task, scale, results, ready.seed)
    curve = fit_curve(
        scale.family, measured.points(), baseline=measured.baseline, labels=len(task), noise=noise, seed=ready.seed
    )
    blur = None if measured.predictions is None else Blur.of(measured.predictions, scale.metric.name)
    draws = len(curve.log_losses(float(len(task))))
    rates = {o.name: rates_of(o, draws, ready.seed) for o in offers}
    worths = {o.name: _worth(o, curve, measured, blur, ready.seed, rates[o.name]) for o in offers}
    own = float(np.exp(np.median(curve.log_losses(float(len(task)), False))))
    factor = float(np.clip(scale.loss(ready.estimate) / max(own, 1e-9), 1 / FARTHEST, FARTHEST))
    outlook = Outlook(anchored(curve, factor), scale, tuple(offers), worths, len(task), blur, rates)
    now_K = outlook.curve.log_losses(float(len(task)), False)
    split, beside, _ = with_others(outlook.split, others or [], spend, now_K)
    extra = told(others or [], beside)
    bought = {o.name: float(m / o.price) for o, m in zip(offers, split.money, strict=True)}
    now, now_ends = outlook.now()
    # the split is chosen without the luck of one training; what comes of it has that, as every forecast
    after, after_ends = with_steps(
        scale, outlook.log_losses(bought, True), [step for _, step in beside], outlook.log_losses(bought, False)
    )
    luck = curve.prior.luck * (HOME / len(task)) ** 0.5
    gain = np.log(max(scale.loss(now), 1e-9)) - np.log(max(scale.loss(after), 1e-9))
    reached = target is not None and scale.loss(now) <= scale.loss(target)
    reach, failing = (None, []) if target is None or reached else outlook.reaching(target)
    if target is not None and not reached and (other := reaching(others or [], scale, now_K, target)):
        reach = min([r for r in (reach, other) if r], key=lambda r: r["cost"])
    warnings = []
    if abs(np.log(max(scale.loss(ready.estimate), 1e-9) / max(own, 1e-9))) > np.log(FARTHEST):
        warnings.append(
            f"The study's estimate ({ready.estimate:.3g}) lies far from what {ready.measured} alone measures "
            f"({scale.score(own):.3g}): forecasts begin between the two."
        )
    if failed:
        warnings.append(f"{len(failed)} of the trainings failed and tell nothing ({_why(failed)}).")
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
        "forecasts": [
            *outlook.forecasts(spend),
            *forecasts_of(others or [], scale, outlook.curve.log_losses(float(len(task))), now_K),
        ],
        "split": {o.name: round(float(m), 6) for o, m in zip(offers, split.money, strict=True)} | extra["split"],
        "split_amounts": {o.name: float(round(m / o.price)) for o, m in zip(offers, split.money, strict=True)}
        | extra["split_amounts"],
        "how": extra["how"], "free": extra["free"],
        "after": {"estimate": after, "interval": after_ends},
        "best": {o.name: float(w) for o, w in zip(offers, split.best_O, strict=True)},
        "worth": {o.name: {**_told(worths[o.name]), "measured": measured.mixed(o.name)} for o in offers},
        "failing": failing,
        "target": {**NOTHING, "level": LEVEL} if reached else reach,
        "reached": reached, "gain_is_small": bool(gain < luck / 2), "unknown": unknown, "warnings": warnings,
        "asked": {"spend": spend, "prices": {o.name: o.price for o in offers}, "target": target},
        "curve": _curve(measured, scale), "band": _band(outlook),
    }  # fmt: skip
    out["sentences"] = sentences(out)
    out["sentence"] = " ".join(out["sentences"][:2])
    return out


def _why(failed: Mapping[str, str]) -> str:
    return "; ".join(dict.fromkeys(failed.values()))[:300]


def _worth(
    offer: Offer, curve: Curve, measured: Measured, blur: Blur | None, seed: int, rate_K: np.ndarray
) -> np.ndarray:
    if not offer.is_mixed:
        return np.ones(len(rate_K))
    error = offer.error or 0.0
    prior = UNLABELLED_PRIOR if offer.kind == "unlabelled" else noisy_prior(error, len(measured.task.classes))
    mixes = measured.mixes_of(offer.name, curve.prior.luck)
    if blur and error:  # that is counted by itself
        mixes = [blur.taken_off(mix, error, measured.points()[-1].loss) for mix in mixes]
    return doubtful(worth(curve, mixes, prior, seed), offer, len(measured.task.classes), rate_K)


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
        estimate, interval = outlook.at(n)
        out.append({"n": round(float(n), 1), "estimate": estimate, "interval": interval})
    return out


def dry(
    found: Study, ready: Ready, draws: list[str], able: list[Offer], unknown: list[dict[str, str]]
) -> dict[str, Any]:
    fits = ready.folds * len(draws)
    rows = (found.summary or {})["leaderboard"]
    row = next(r for r in rows if (r["method"], r["view"]) == (ready.method, ready.view))
    each = (row.get("seconds") or 0.0) / max(row.get("repeats") or 1, 1) / ready.folds
    return {
        "study": found.id, "n": len(ready.task), "metric": ready.scale.metric.name, "dry_run": True,
        "would_measure": draws, "fits": fits, "seconds": round(fits * each, 1),
        "measured_method": ready.measured,
        "purchases": [o.name for o in able], "unknown": unknown,
    }  # fmt: skip

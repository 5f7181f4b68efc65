"""`smidgen plan`: what more of each thing would bring to a study, and how to split the money.

The model's heaviest member is trained on parts of the labels that exist (trials that the study has are used again), and
on mixtures with wrong labels or with rows whose label is hidden; a learning curve is fitted to that (`laws.curve`) and
moved to where the study's own estimate lies; each purchase is a number of labels that it is worth (`laws.worth`).
"""

import contextlib
import json
import math
import time as clock
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.budget.budget import parse_bytes, parse_duration
from smidgen.budget.meter import Meter
from smidgen.data.views.cache import fill
from smidgen.data.views.rows import Rows
from smidgen.data.views.view import encoders_of
from smidgen.kit import methods
from smidgen.kit.errors import BadInput, BudgetSpent, bad
from smidgen.kit.files import write_bytes
from smidgen.kit.machine import cores
from smidgen.studies import DEFAULT_STORE, findings, other_results
from smidgen.studies.bits_ladder import bits_ladder
from smidgen.studies.candidates import Candidate
from smidgen.studies.encoding import CACHE
from smidgen.studies.fitted import Fitted
from smidgen.studies.language_bits import is_language_model, plan_bits
from smidgen.studies.other_offers import Other, other_offers
from smidgen.studies.plan import Progress
from smidgen.studies.pool import Pool
from smidgen.studies.pretraining import Unfinished, pretrain_within
from smidgen.studies.prices import Offer, offers_of
from smidgen.studies.purchases import CURVE_REPEATS, all_draws, check_rows
from smidgen.studies.ready import Ready, able, check_target, ready
from smidgen.studies.runner import Runner
from smidgen.studies.store import RunStore
from smidgen.studies.stored import Study
from smidgen.studies.trial import Result, Trial, draw_in_words
from smidgen.studies.unlabelled import pool_of

DEFAULT_SECONDS = 60.0


def plan(
    study: str | Path | Fitted,
    prices: Mapping[str, float] | Sequence[str],
    spend: float,
    *,
    target: float | None = None,
    time: str | float | None = None,
    data: Any = None,
    store: str | None = None,
    workers: int | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
    render: Callable[[dict[str, Any]], str] | None = None,
) -> dict[str, Any]:
    """What to buy next for a study.

    Args:
        study: its id, the folder of its model, or what `fit` returned; or the folder of a language model, of which it
            is told what fewer bits a weight lose (`language_bits`).
        prices: `{"label": 0.40, "label@0.2": 0.05, "unlabelled": 0.001}` or `["label=0.40", ...]`; `label@0.2`: a label
            of which a fifth are wrong. spend: money in all, in the unit of the prices.
        target: a score that is wanted. time: wall time for measuring, 60 s by default.
        data: the rows again, where the study was of a dataframe and not of a file; of a language model the texts that
            it is judged on.
        render: makes the model's report anew, with the plan in it.
    Returns:
        `forecasts` (a list of purchase, amount, total, cost, metric, estimate, interval, level), `split` (purchase to
        money), `target` (amount, interval; or None), `sentence` and more, plain data.
    Raises:
        BadInput: no such study, its data changed or is gone, a price or spend not above 0, a spend below every
            purchase, or labels too few for a curve. BudgetSpent: the time ended before two sizes were measured.
    """
    begun = clock.monotonic()
    offers = offers_of(prices)
    if isinstance(spend, bool) or not isinstance(spend, Real) or not 0 < float(spend) < math.inf:
        raise bad("spend", "a number above 0", spend)
    spend = float(spend)
    seconds = parse_duration(time, "time") if time is not None else DEFAULT_SECONDS
    if isinstance(study, str | Path) and is_language_model(Path(study)):
        return plan_bits(Path(study), offers, spend, data=data, seconds=seconds, target=target, dry_run=dry_run)
    tell = progress or (lambda event: None)
    with contextlib.ExitStack() as stack:
        runs = stack.enter_context(contextlib.closing(RunStore(store or DEFAULT_STORE)))
        found = runs.study(_id(study))
        own = ready(found, data)
        known, unknown = able(offers, own.task, own.method)
        check_target(target, own.scale)
        others, more = other_offers(offers, own, found, runs, other_results.DRAWS)
        unknown += more
        bits = bits_ladder(offers, own, found, runs)
        rounded = bits.trials() if bits else []
        if not bits:
            _check_spend(spend, known, others)
        if known:
            check_rows(own.task, own.folds, own.seed)
        elif not rounded and not dry_run:
            unknown += bits.others(other_results.DRAWS)[1] if bits else []
            out = other_results.alone(found, own, offers, others, unknown, spend, target)
            _remember(runs, found, out, render)
            return out
        draws = all_draws(own.task, known, own.folds, itself=own.learns_itself) if known else []
        if dry_run:
            offered = [*known, *(o.offer for o in others), *(bits.offers if bits and rounded else [])]
            return findings.dry(found, own, [*draws, *(t.draw for t in rounded)], offered, unknown)
        count = workers or min(cores(), 8)
        pool = stack.enter_context(Pool(count, None))
        rows = Rows(own.task.frame)
        total = len(draws) + len(rounded)
        encoders = tuple(dict.fromkeys(e for view in (own.view, *(t.view for t in rounded)) for e in encoders_of(view)))

        def in_time(done: int, total: int) -> None:
            if done < total and clock.monotonic() > begun + seconds:
                raise BudgetSpent("The time ended while rows were encoded. Give more time; what is done is kept.")

        if encoders:
            tell(_event(f"Encoding ({', '.join(encoders)})", 0, total, seconds))
            fill(rows, encoders, CACHE, in_time, columns=own.task.columns)
        used = {own.method, *(t.method for t in rounded)}
        if any(methods.card(m).unlabelled for m in used) and own.task.unlabelled is not None:
            rows.pool = pool_of(own.task, own.seed)[0]
            fill(rows.pool, encoders, CACHE, in_time, columns=own.task.columns)
        pool.load(own.task, rows)
        if draws and methods.card(own.method).pretraining and rows.pool is not None:
            tell(_event(f"Pretraining of {own.method}", 0, total, seconds))
            _pretrain(own, pool, rows, begun + seconds - clock.monotonic())
        runner = Runner(runs, pool, Meter(clock.monotonic), found.id, clock.monotonic, stop_at=begun + seconds)
        ended: list[str] = []

        def live(trial: Trial, result: Result) -> None:
            ended.append(trial.key)
            left = round(max(0.0, begun + seconds - clock.monotonic()), 1)
            tell(_event(f"{trial.method} on {draw_in_words(trial.draw)}", len(ended), total, left))

        runner.live = live
        results: dict[str, np.ndarray] = {}
        failed: dict[str, str] = {}

        def keep(trial: Trial, result: Result) -> None:
            if bits and trial in rounded:
                bits.keep(trial, result)
            elif result.predictions is not None:
                results[trial.draw] = result.predictions
            else:
                failed[trial.draw] = result.error or "no reason was given"

        whole = False
        curve = [own.trial(draw) for draw in draws]
        once = -(-len(curve) // CURVE_REPEATS)  # a first curve, then the few trainings that tell of bits
        with contextlib.suppress(KeyboardInterrupt):  # what was measured until then is enough, or is refused below
            whole = runner.run([*curve[:once], *rounded, *curve[once:]], keep)
        if bits:
            told, untold = bits.others(other_results.DRAWS)
            others, unknown = [*others, *told], [*unknown, *untold]
        if known:
            out = findings.result(
                own, found, known, unknown, results, spend, target, others, failed=failed, ended=not whole
            )
        else:
            out = other_results.alone(found, own, offers, others, unknown, spend, target)
        told_bits = len(bits.results) if bits else 0
        out["seconds"] = round(clock.monotonic() - begun, 2)
        out["measured"] = {"trainings": len(results) + told_bits, "of": total, "failed": len(failed),
                           "ended": not whole, "rounded": told_bits}  # fmt: skip
        _remember(runs, found, out, render)
        return out


def _pretrain(own: Ready, pool: Pool, rows: Rows, left: float) -> None:
    """What the measured method learns before any fit: as in its study, from whose cache it is taken."""
    measured = Candidate(own.method, own.view, own.params)
    try:
        pretrain_within(pool, own.task, rows, measured, own.seed, folder=CACHE, seconds=max(left, 1.0))
    except Unfinished as error:
        raise BudgetSpent(
            f"The pretraining of {own.method} could not be made again: it {error}. Give more time."
        ) from None
    pool.load(own.task, rows)


def _id(study: str | Path | Fitted) -> str:
    if isinstance(study, Fitted):
        return study.study
    path = Path(study)
    if not (path / "model.json").is_file():
        return str(study)
    if (known := study_of(path)) is None:
        raise BadInput(f"{path}: this model does not say of which study it is: name the study (smidgen studies ls).")
    return known


def study_of(folder: Path) -> str | None:
    """The study that a model folder is of."""
    try:
        return str(json.loads((folder / "model.json").read_text())["about"]["study"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _check_spend(spend: float, known: list[Offer], others: list[Other]) -> None:
    """Raises BadInput: the money pays for none of the purchases that can be told."""
    costs = [offer.price for offer in known] + [other.cost(step) for other in others for step in other.steps]
    if costs and spend < (least := min(costs)):
        unit = 10.0 ** (math.floor(math.log10(least)) - 2)  # three digits, and never less than it costs
        raise bad("spend", f"at least {math.ceil(least / unit - 1e-9) * unit:.3g}, the cheapest purchase", spend)


def _remember(
    runs: RunStore, found: Study, out: dict[str, Any], render: Callable[[dict[str, Any]], str] | None
) -> None:
    """Puts the plan beside the study's result, for the page, and into the report of its model; where that would break
    the study's `--size`, the report lies beside the folder, as `fit` does it."""
    kept = runs.note_plan(found.id, out)
    if render is None or kept is None or kept.state == "running":  # then its report is about to be made anew
        return
    summary = kept.summary or {}
    if not summary.get("model") or study_of(folder := Path(summary["model"])) != found.id:
        return
    inside, beside = folder / "report.html", folder.with_name(folder.name + "-report.html")
    if not (inside.is_file() or beside.is_file()):
        return
    page, size = render(summary).encode(), kept.asked.get("size")
    rest = sum(f.stat().st_size for f in folder.iterdir() if f != inside)
    fits = size is None or rest + len(page) <= parse_bytes(size, "size")
    place = inside if fits and inside.is_file() else beside
    write_bytes(place, page)
    out["report"] = str(place)


def _event(text: str, done: int, total: int, left: float) -> dict[str, Any]:
    return {"kind": "plan", "text": text, "done": done, "total": total, "seconds_left": left}

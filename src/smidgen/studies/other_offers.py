"""Purchases that bring no rows: hours of computing and megabytes. What the study's own trials say of them.

Each is a few steps (so much more, and plausible changes of the log loss), or a sentence why there are none. A step and
a split of the other money are taken to help apart, so that their changes of the log loss add up.

Dims: K draws, C candidates.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from smidgen.budget.budget import parse_bytes, show_bytes
from smidgen.kit.machine import cores
from smidgen.kit.seeds import derive_seed
from smidgen.laws.allocate import Split
from smidgen.learn.blend import tempered
from smidgen.studies import priors
from smidgen.studies.candidates import BASELINE, Candidate
from smidgen.studies.choose import choose
from smidgen.studies.losses import Scale
from smidgen.studies.prices import Offer
from smidgen.studies.ready import Ready
from smidgen.studies.search_luck import LEAST, Search
from smidgen.studies.size_ladder import TINY, ladder
from smidgen.studies.slow import repeat_seconds
from smidgen.studies.store import RunStore
from smidgen.studies.stored import Study
from smidgen.studies.study_board import StudyBoard, study_board

KINDS = ("hour", "mb")
SHARES = (1 / 4, 1 / 2, 1)  # of the candidates that were not tried
RESAMPLES = 60
MEGABYTE = 1e6
LEAST_MONEY = 1e-9
REPEATED = 0.6  # of the candidates go on into each further repeat


@dataclass(frozen=True)
class Step:
    """`amount` more (below 0: less), `total` then (hours, megabytes); `change_K`: of the log loss; `how`: to have it,
    in words."""

    amount: float
    total: float
    change_K: np.ndarray
    how: str


@dataclass(frozen=True)
class Other:
    """An offer that the study can tell about: its steps, smallest first."""

    offer: Offer
    steps: tuple[Step, ...]

    @property
    def best(self) -> Step:
        """The step that is expected to bring most."""
        return min(self.steps, key=lambda step: float(np.median(step.change_K)))

    def cost(self, step: Step) -> float:
        return step.amount * self.offer.price


def other_offers(
    offers: list[Offer], own: Ready, found: Study, runs: RunStore, draws: int
) -> tuple[list[Other], list[dict[str, str]]]:
    """Those that can be told, and why not of the others."""
    told: list[Other] = []
    unknown: list[dict[str, str]] = []
    wanted = [offer for offer in offers if offer.kind in KINDS and not offer.bits]  # those: `bits_ladder`
    known = study_board(own, found, runs) if wanted else None
    for offer in wanted:
        assert known is not None
        made = (_hours if offer.kind == "hour" else _megabytes)(offer, known, own, found, draws)
        if isinstance(made, Other):
            told.append(made)
        else:
            unknown.append({"purchase": offer.name, **made})
    return told, unknown


def _hours(offer: Offer, known: StudyBoard, own: Ready, found: Study, draws: int) -> Other | dict[str, str]:
    if not known.left:
        why = "all methods that suit were tried to the end, and more hours would only repeat that"
        return {"why": why, "nothing": "yes"}
    of = _measured(known)
    again = f"smidgen studies resume {found.id} with more --time or --trials"
    if len(of) < LEAST:
        return {
            "why": f"{_not_tried(known)}, and the {len(of)} that were are too few to say what "
            f"others bring: go on with the study ({again}) and plan again"
        }
    search = _search(known, own, found)
    how = (
        f"{_not_tried(known)} ({again}); what they bring is the search's luck, told from how far "
        f"the {len(of)} that were tried differ"
    )
    steps = []
    workers = found.asked.get("workers") or min(cores(), 8)
    for count in sorted({max(1, round(share * len(known.left))) for share in SHARES}):
        amount = wall_hours(search.hours_L[:count], workers)
        spent = float((found.summary or {}).get("seconds") or 0.0) / 3600
        steps.append(Step(amount, spent + amount, search.change(count, draws, own.seed), how))
    return Other(offer, tuple(steps))


def wall_hours(hours_L: np.ndarray, workers: int) -> float:
    """Of a machine with so many workers, for candidates that take so long on one each: one of them is no quicker on
    several, its repeats come one after another."""
    return float(max(hours_L.sum() / workers, hours_L.max()))


def _not_tried(known: StudyBoard) -> str:
    left = len(known.left)
    return f"{left} {'method was' if left == 1 else 'methods were'} not tried"


def _search(known: StudyBoard, own: Ready, found: Study) -> Search:
    of = _measured(known)
    task, scale = own.task, own.scale
    board = known.board(of, repeats=1)
    log_t = choose(board, known.race.choice).log_t
    seen = [_tempered(board.predictions[k, 0], float(log_t[k]), bool(task.classes)) for k in range(len(of))]
    losses_C = np.array([_log_loss(scale, task.target, p) for p in seen])
    rng = np.random.default_rng(derive_seed(own.seed, "rows of a search"))
    names, unit_N = np.unique(board.units, return_inverse=True)
    drawn = []
    for _ in range(RESAMPLES):
        m = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))[unit_N].astype(float)
        row = np.array([_log_loss(scale, task.target, p, m) for p in seen])
        drawn.append(row - np.median(row))
    noise_C = np.maximum(np.nanstd(drawn, axis=0), 1e-3)
    of_time = _paces(known, of)
    rounds = 1 + REPEATED * (known.race.repeats - 1)
    hours_L = np.array([(c.once + repeat_seconds(known.race, c) * rounds) * of_time / 3600 for c in known.left])
    both = priors.excess(task, [*of, *known.left])
    return Search(losses_C, noise_C, both[: len(of)], both[len(of) :], hours_L)


def _measured(known: StudyBoard) -> list[Candidate]:
    """Those that say how good methods are here; the baseline is none of them."""
    return [c for c in [*known.tried, *known.early] if c.method != BASELINE]


def _paces(known: StudyBoard, of: list[Candidate]) -> float:
    """Seconds measured for each second that was forecast."""
    return float(np.median([known.seconds[c.key] / max(repeat_seconds(known.race, c), 1e-3) for c in of]))


def _tempered(p: np.ndarray, log_t: float, classes: bool) -> np.ndarray:
    return tempered(p, log_t) if classes else p


def _log_loss(scale: Scale, truth: np.ndarray, p: np.ndarray, m: np.ndarray | None = None) -> float:
    return math.log(max(scale.loss(scale.metric.score(truth, p, m)), TINY))


def _megabytes(offer: Offer, known: StudyBoard, own: Ready, found: Study, draws: int) -> Other | dict[str, str]:
    asked = found.asked.get("size")
    size = ((found.summary or {}).get("spent") or {}).get("model_bytes")
    has = f" (it has {show_bytes(size)})" if size else ""
    if not asked:
        why = f"the study's model was not bounded in size{has}, and no larger one was left out"
        return {"why": why, "nothing": "yes"}
    limit = parse_bytes(asked, "size")
    if len(known.tried) < 2:
        return {"why": "fewer than two methods were tried to the end, so that nothing is known of larger models"}
    rungs = ladder(known, own.scale, limit, draws, own.seed)
    if not rungs:
        return {"why": f"all that would be chosen fits into the {show_bytes(limit)} that are allowed", "nothing": "yes"}
    steps = []
    for rung in rungs:
        how = (
            f"allow it with smidgen studies resume {found.id} --size {math.ceil(rung.limit / 1e3)}KB; its trials are "
            "there, and only the model is trained again"
        )
        steps.append(Step((rung.limit - limit) / MEGABYTE, rung.limit / MEGABYTE, rung.change_K, how))
    return Other(offer, tuple(steps))


def with_others(
    split: Callable[[float], Split], others: list[Other], spend: float, now_K: np.ndarray
) -> tuple[Split, list[tuple[Other, Step]], np.ndarray]:
    """The best of all ways to buy at most one step of each offer and to split the rest of the money.

    Args:
        split: of so much money over rows. now_K: log losses of the model that there is.
    Returns:
        (the split, what is bought beside it, plausible log losses after both `[K]`).
    """
    ways: list[list[tuple[Other, Step]]] = [[]]
    for other in others:
        steps = [step for step in other.steps if step.amount >= 0]  # what is less is told, and not bought
        ways += [[*way, (other, step)] for way in ways if not _has(way, other) for step in steps]
    found = []
    for way in ways:
        left = spend - sum(other.cost(step) for other, step in way)
        if left >= 0:
            rows = split(max(left, LEAST_MONEY))
            change_K = sum((step.change_K for _, step in way), np.zeros(len(now_K)))
            found.append((rows, way, np.log(np.maximum(rows.losses_K, 1e-12)) + change_K))
    return min(found, key=lambda f: float(f[2].mean()))


def _has(way: list[tuple[Other, Step]], other: Other) -> bool:
    """A model is bounded once: megabytes at one width of its weights."""
    return any(o.offer.kind == other.offer.kind for o, _ in way)

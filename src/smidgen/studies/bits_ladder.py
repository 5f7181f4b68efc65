"""What megabytes hold where a weight takes fewer bits (`mb@8`): more or larger members within the same bytes, or the
same ones in fewer.

The members that matter are fitted again on the folds of their study's first repeat, exactly as there, their arrays
rounded, all alike, and rows predicted that the fit did not see. Choices among these are then judged as those of
`size_ladder` are, beside the choice as it is, on the same rows. `compress` mixes bits, and loses less at its best.

Dims: K draws, C candidates.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from smidgen.budget.budget import parse_bytes, show_bytes
from smidgen.kit import methods
from smidgen.kit.errors import BadInput
from smidgen.studies.candidates import Candidate
from smidgen.studies.choose import OutOfFold, choose
from smidgen.studies.estimate import judge
from smidgen.studies.other_offers import MEGABYTE, Other, Step
from smidgen.studies.prices import Offer
from smidgen.studies.ready import Ready
from smidgen.studies.size import limit_for, needs, within_size
from smidgen.studies.size_ladder import TIMES, changes
from smidgen.studies.store import RunStore
from smidgen.studies.stored import Study
from smidgen.studies.study_board import StudyBoard, study_board
from smidgen.studies.trial import Result, Trial

Told = tuple[list[Other], list[dict[str, str]]]


@dataclass
class BitsLadder:
    """What is to be measured for offers of megabytes at some bits, and what was.

    Attributes:
        wanted: members that are chosen under some bound. params: theirs, by candidate. limit: the study's bound, bytes.
        why: nothing can be told; empty: it can. results: by bits and candidate.
    """

    offers: list[Offer]
    own: Ready
    found: Study
    known: StudyBoard
    wanted: list[Candidate]
    params: dict[tuple[str, str], dict[str, Any]]
    limit: int | None
    why: str = ""
    results: dict[tuple[int, tuple[str, str]], Result] = field(default_factory=dict)

    def trials(self) -> list[Trial]:
        """What to run, the offers in their order."""
        out = []
        for offer in [] if self.why else self.offers:
            for c in self.wanted:
                out.append(Trial(
                    task=self.own.task.fingerprint, method=c.method, version=methods.card(c.method).version,
                    view=c.view, params=self.params[c.key], seed=self.own.seed,
                    draw=f"cv:k={self.known.race.folds_of(c)}:r=0:b={offer.bits}",
                ))  # fmt: skip
        return out

    def keep(self, trial: Trial, result: Result) -> None:
        self.results[int(trial.draw.rpartition("=")[2]), (trial.method, trial.view)] = result

    def others(self, draws: int) -> Told:
        """The offers that can be told, and why not of the others."""
        told: list[Other] = []
        unknown: list[dict[str, str]] = []
        for offer in self.offers:
            why = self.why or self._missing(offer)
            steps = () if why else self._steps(offer, draws)
            if steps:
                told.append(Other(offer, steps))
            else:
                unknown.append({"purchase": offer.name, "why": why or "no choice fits into the study's bound so"})
        return told, unknown

    def _missing(self, offer: Offer) -> str:
        for c in self.wanted:
            result = self.results.get((offer.bits or 0, c.key))
            if result is None:
                return f"the time ended before {c.method} was measured so: give more --time"
            if result.predictions is None:
                return f"{c.method} could not be measured so ({result.error})"
        return ""

    def _steps(self, offer: Offer, draws: int) -> tuple[Step, ...]:
        known, race, config = self.known, self.known.race, self.known.race.choice
        at = {c.key: self.results[offer.bits or 0, c.key] for c in self.wanted}
        whole = known.board(self.wanted, repeats=1)
        predictions = np.array([[np.asarray(at[c.key].predictions)] for c in self.wanted])
        rounded = OutOfFold(predictions, whole.truth, whole.prior, whole.units)
        sizes = {key: result.model_bytes for key, result in at.items()}
        need_C, need_then_C = (needs(self.wanted, s, race) for s in (known.sizes, sizes))
        chosen_C = choose(whole, config).weights > 0
        top = limit_for(float(need_then_C[choose(rounded, config).weights > 0].sum()))

        def step(bound: int, now: OutOfFold, then: OutOfFold, than: int) -> Step:
            before, after = (judge(board, config, self.own.seed) for board in (now, then))
            change_K = changes(before, after, known, self.own.scale, draws, self.own.seed)
            return Step((bound - than) / MEGABYTE, bound / MEGABYTE, change_K, "")

        fits_now = limit_for(float(need_C[chosen_C].sum()))
        if self.limit is None or fits_now <= self.limit:
            has = ((self.found.summary or {}).get("spent") or {}).get("model_bytes") or fits_now
            least = math.ceil(has * float(need_then_C[chosen_C].sum() / need_C[chosen_C].sum()))
            found = step(least, whole, rounded, has)
            how = f"smidgen compress {self._model} --size {math.ceil(least / 1e3)}KB makes it, from {self._now}"
            return (Step(found.amount, found.total, found.change_K, how),)
        out, last = [], None
        try:
            _, now = within_size(self.wanted, whole, race, known.sizes, self.limit)
        except BadInput:  # the bound was met with other sizes: those of the members fitted on all rows
            return ()
        for bound in [self.limit, *(self.limit * t for t in TIMES if self.limit * t < top), max(top, self.limit)]:
            choice, then = within_size(self.wanted, rounded, race, sizes, bound)
            if last is None or not np.allclose(choice.weights, last):
                found = step(bound, now, then, self.limit)
                first = limit_for(float(need_C[choice.weights > 0].sum()))
                out.append(Step(found.amount, found.total, found.change_K, self._resumed(first, bound)))
            last = choice.weights
        return tuple(out)

    @property
    def _model(self) -> str:
        return str((self.found.summary or {}).get("model") or "MODEL")

    @property
    def _now(self) -> str:
        size = ((self.found.summary or {}).get("spent") or {}).get("model_bytes")
        return f"{show_bytes(size)} as it is" if size else "the model as it is"

    def _resumed(self, first: int, bound: int) -> str:
        return (
            f"allow {math.ceil(first / 1e3)}KB first (smidgen studies resume {self.found.id} --size "
            f"{math.ceil(first / 1e3)}KB), then smidgen compress the model --size {math.ceil(bound / 1e3)}KB"
        )


def bits_ladder(offers: list[Offer], own: Ready, found: Study, runs: RunStore) -> BitsLadder | None:
    """None: no such offer was made."""
    mine = [offer for offer in offers if offer.kind == "mb" and offer.bits]
    if not mine:
        return None
    known = study_board(own, found, runs)
    asked = found.asked.get("size")
    limit = parse_bytes(asked, "size") if asked else None
    rows = {(row["method"], row["view"]): row["params"] for row in (found.summary or {})["leaderboard"]}
    if not known.tried:
        return BitsLadder(mine, own, found, known, [], {}, limit, "the trials of its members are no longer there")
    wanted = _chosen(known, limit)
    slow = [c.method for c in wanted if methods.card(c.method).pretraining]
    why = f"{slow[0]} learns from all rows once, and that is too slow to be done again" if slow else ""
    return BitsLadder(mine, own, found, known, wanted, {c.key: rows[c.key] for c in wanted}, limit, why)


def _chosen(known: StudyBoard, limit: int | None) -> list[Candidate]:
    """Those that are chosen without a bound or under one that is looked at."""
    board = known.board(known.tried)
    kept_C = choose(board, known.race.choice).weights > 0
    for bound in [] if limit is None else [limit, *(limit * t for t in TIMES)]:
        try:
            choice, _ = within_size(known.tried, board, known.race, known.sizes, bound)
        except BadInput:
            continue
        kept_C |= choice.weights > 0
    return [c for c, kept in zip(known.tried, kept_C, strict=True) if kept]

"""A study that can be planned for: its data read again, and which offers it can tell something about."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.kit import methods
from smidgen.kit.errors import BadInput, bad
from smidgen.laws.worth import noisy_prior
from smidgen.studies.candidates import forecast
from smidgen.studies.fit import GIVEN
from smidgen.studies.losses import Scale
from smidgen.studies.prices import Offer
from smidgen.studies.query_rate import unrated
from smidgen.studies.race import folds_at, folds_for
from smidgen.studies.stored import Study
from smidgen.studies.trial import Trial
from smidgen.tasks.read import read
from smidgen.tasks.splits import units_of
from smidgen.tasks.task import Task

PATIENCE = 2.0  # seconds of one fit of a method that is trained dozens of times


@dataclass
class Ready:
    """A study that can be planned for: its data, and the member of its model that is measured."""

    task: Task
    scale: Scale
    method: str
    view: str
    params: dict[str, Any]
    seed: int
    folds: int
    estimate: float

    def trial(self, draw: str) -> Trial:
        return Trial(
            task=self.task.fingerprint, method=self.method, version=methods.card(self.method).version, view=self.view,
            params=self.params, draw=draw, seed=self.seed,
        )  # fmt: skip

    @property
    def learns_itself(self) -> bool:
        """Whether the method learns from rows without labels, and need not be trained on its own guesses."""
        return methods.card(self.method).unlabelled

    @property
    def measured(self) -> str:
        """The member in words."""
        return f"{self.method} on {self.view}"


def ready(found: Study, data: Any) -> Ready:
    """Reads the study's data again. Raises BadInput: it has no result, or its data changed or is gone."""
    summary, options = found.summary, found.options
    if not summary or not summary.get("leaderboard"):
        raise BadInput(f"The study {found.id} has no result yet: finish it (smidgen studies resume {found.id}).")
    source = options["source"]
    if data is None and not Path(source).exists():
        raise BadInput(
            f"The study {found.id} was made from {source}, which is not there: give the rows again (data=...)."
        )
    if options["unlabelled"] == GIVEN:
        raise BadInput(
            f"The study {found.id} had further rows without labels, which were no file: save them, fit with "
            "unlabelled=FILE, then plan."
        )
    task = read(
        source if data is None else data, options["target"], unlabelled=options["unlabelled"], group=options["group"],
        kind=options["named_kind"], metric=options["named_metric"],
    )  # fmt: skip
    if task.fingerprint != found.fingerprint:
        raise BadInput(f"{source} changed since the study {found.id}: fit it again, then plan.")
    best, seconds = _measured(task, summary["leaderboard"])
    units = int(units_of(task).max()) + 1
    usual = folds_at(seconds, folds_for(units, int(np.bincount(task.target).max()) if task.classes else units))
    folds = int(best.get("folds") or usual)
    return Ready(
        task, Scale.of(summary["metric"]), best["method"], best["view"], best["params"], options["seed"], folds,
        float(summary["estimate"]),
    )  # fmt: skip


def _measured(task: Task, rows: list[dict[str, Any]]) -> tuple[dict[str, Any], float]:
    """The member that is measured at other sizes, and the forecast of seconds of one fit: the heaviest that is fitted
    quickly, for dozens of trainings are needed, or that learns from rows without labels; the heaviest where none is."""
    members = sorted((r for r in rows if r.get("weight")), key=lambda r: -r["weight"]) or rows[:1]
    cards = [methods.card(r["method"]) for r in members]
    seconds = [forecast(c, task, r["view"])[0] for c, r in zip(cards, members, strict=True)]
    fit = [i for i, (c, s) in enumerate(zip(cards, seconds, strict=True)) if s <= PATIENCE or c.unlabelled]
    return members[fit[0] if fit else 0], seconds[fit[0] if fit else 0]


def able(offers: list[Offer], task: Task, method: str = "") -> tuple[list[Offer], list[dict[str, str]]]:
    """Offers of rows that the study can tell about, and why not of the others. Hours and megabytes are not rows: see
    `other_offers`. method: that is measured."""
    found_able, unknown = [], []
    for offer in offers:
        why = ""
        if offer.kind in ("hour", "mb"):
            continue
        if offer.kind == "query" and offer.error is None:
            why = unrated(offer, offers, len(task.classes))
        elif offer.kind == "unlabelled" and method and methods.card(method).pretraining:
            why = f"{method} learns from all of them once, and that is too slow to be done for each measurement"
        elif offer.error and not task.classes:
            why = "an error rate has a meaning for classes only"
        if why:
            unknown.append({"purchase": offer.name, "why": why})
            continue
        if offer.error and task.classes:
            noisy_prior(offer.error, len(task.classes))  # refuses a rate that leaves nothing to learn
        found_able.append(offer)
    return found_able, unknown


def check_target(target: float | None, scale: Scale) -> None:
    """Raises BadInput: a score that cannot be."""
    if target is None:
        return
    if scale.metric.greater_is_better and not target < 1:
        raise bad("target", f"{scale.metric.name} below 1, which no finite number of labels reaches", target)
    if not scale.metric.greater_is_better and not target > 0:
        raise bad("target", f"{scale.metric.name} above 0", target)

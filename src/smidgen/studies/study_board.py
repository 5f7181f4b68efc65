"""What the trials of an ended study said, read back from its run store: candidates, predictions, bytes, seconds."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from smidgen.budget.budget import parse_bytes
from smidgen.kit import methods
from smidgen.studies import priors
from smidgen.studies.candidates import Candidate, candidates
from smidgen.studies.choose import OutOfFold
from smidgen.studies.race import Race
from smidgen.studies.ready import Ready
from smidgen.studies.store import RunStore
from smidgen.studies.stored import Study
from smidgen.studies.trial import Result, Trial

# Notes of those that more time gives a chance; the last took more than its part of the time that there was.
LEFT = (
    "not tried: the budget ended",
    "not tried: one repeat takes",
    "not tried: its pretraining took longer",
    "not finished",
    "failed: took longer than",
)


@dataclass(frozen=True)
class StudyBoard:
    """Candidates of a study that were measured, and those that the budget did not reach.

    Attributes:
        tried: with all repeats that the choice was made on; early: stopped early, with fewer. results: by candidate,
            of each of its repeats. left: not tried, the most promising first. race: the study's, for its constants.
    """

    tried: list[Candidate]
    early: list[Candidate]
    results: dict[tuple[str, str], list[Result]]
    left: list[Candidate]
    race: Race

    def board(self, of: list[Candidate], repeats: int | None = None) -> OutOfFold:
        """Out-of-fold predictions of some candidates, on so many repeats (None: all that they share)."""
        repeats = repeats or min(len(self.results[c.key]) for c in of)
        stacked = np.array([[np.asarray(r.predictions) for r in self.results[c.key][:repeats]] for c in of])
        prior = priors.weights(self.race.task, of)
        return OutOfFold(stacked, self.race.task.target, prior, self.race.units)

    @property
    def sizes(self) -> dict[tuple[str, str], int]:
        """Bytes of one fitted member, by candidate."""
        return {key: max(r.model_bytes for r in own) for key, own in self.results.items()}

    @property
    def seconds(self) -> dict[tuple[str, str], float]:
        """Of one repeat on one core, by candidate."""
        return {key: float(np.mean([r.seconds for r in own])) for key, own in self.results.items()}


def study_board(own: Ready, found: Study, runs: RunStore) -> StudyBoard:
    """Reads it. Candidates whose trials are gone from the store are left out."""
    options, rows = found.options, (found.summary or {})["leaderboard"]
    memory = found.asked.get("memory")
    every, _ = candidates(
        own.task, options["methods"], options["settings"], None if memory is None else parse_bytes(memory, "memory")
    )
    race = Race(own.task, every, priors.weights(own.task, every), own.seed)
    by_key = {(row["method"], row["view"]): row for row in rows}
    race.set_folds = {key: row["folds"] for key, row in by_key.items() if row.get("folds")}
    tried, early, left, results = [], [], [], {}
    for c in race.found:
        row = by_key.get(c.key)
        if row is None:
            continue
        if row["estimate"] is None:
            left += [c] if row["note"].startswith(LEFT) else []
            continue
        got = _results(own, race, c, row, runs)
        if got:
            results[c.key] = got
            (early if row["note"] else tried).append(c)
    return StudyBoard(tried, early, results, left, race)


def _results(own: Ready, race: Race, c: Candidate, row: dict[str, Any], runs: RunStore) -> list[Result]:
    """Of each repeat, in order; none where one is not there."""
    version = methods.card(c.method).version
    made = {"task": own.task.fingerprint, "method": c.method, "version": version, "view": c.view, "seed": own.seed}
    draws = [f"cv:k={race.folds_of(c)}:r={r}" for r in range(row["repeats"])]
    keys = [Trial(**made, params=row["params"], draw=draw).key for draw in draws]
    found = runs.get(keys)
    if any(key not in found or found[key].predictions is None for key in keys):
        return []
    return [found[key] for key in keys]

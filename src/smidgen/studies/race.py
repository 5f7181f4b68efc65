"""Which trials come next: a race in rounds. Each round is one more repeat of cross-validation for those still in it.

Decisions are made only between rounds and only from the results, never from the clock or from who was quicker: so a
run by count is the same with one worker or two, and a run under seconds can be replayed from its list of trials.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from smidgen.studies.candidates import BASELINE, Candidate
from smidgen.studies.choose import ChoiceConfig, OutOfFold, choose, own_losses
from smidgen.studies.trial import Trial
from smidgen.tasks.splits import units_of
from smidgen.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class RaceConfig:
    """Settled on the development tables."""

    behind: float = 2.0  # a candidate this many standard errors behind the best one is out, if the blend hardly uses it
    use: float = 0.02  # ... "hardly": its posterior weight is below this
    keep: int = 4  # never fewer than these go on
    rows: int = 800  # repeats go on until about so many predictions were judged ...
    max_repeats: int = 6  # ... but no further than this


COSTLY = ((40.0, 3), (10.0, 4))  # seconds of one fit, and at most so many folds


def folds_for(units: int, largest: int) -> int:
    """Folds of cross-validation: many where each training row counts, few where fits are costly.

    Never more than the largest class has rows: leaving single rows out of a few balanced ones makes each training
    part lean against the row that it is judged on.
    """
    return max(2, min(units, largest, 8 if units <= 120 else 5 if units <= 1500 else 3))


def folds_at(seconds: float, folds: int) -> int:
    """Folds of a candidate whose fit takes so many seconds: fewer where each fit trains a network."""
    return next((min(folds, most) for least, most in COSTLY if seconds > least), folds)


@dataclass
class Race:
    """The state of one race.

    Attributes:
        alive: candidates still in it; finished[candidate.key]: predictions of its repeats, in order.
        out: why others left. set_folds: of candidates that have other folds than the usual, by key: fewer since the
            time is short, or as the study had them that is read or done again.
    """

    task: Task
    found: list[Candidate]
    prior: np.ndarray
    seed: int
    config: RaceConfig = RaceConfig()
    choice: ChoiceConfig = ChoiceConfig()
    finished: dict[tuple[str, str], list[np.ndarray]] = field(default_factory=dict)
    out: dict[tuple[str, str], str] = field(default_factory=dict)
    set_folds: dict[tuple[str, str], int] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.units = units_of(self.task)
        count = int(self.units.max()) + 1
        self.folds = folds_for(count, int(np.bincount(self.task.target).max()) if self.task.classes else count)
        self.repeats = int(np.clip(round(self.config.rows / len(self.task)), 1, self.config.max_repeats))
        order = sorted(
            range(len(self.found)),
            key=lambda i: (
                self.found[i].method != BASELINE,
                -round(float(self.prior[i]), 12),
                self.found[i].seconds,  # of what nothing is known the quick come first
                self.found[i].key,
            ),
        )
        self.found, self.prior = [self.found[i] for i in order], self.prior[order]

    @property
    def alive(self) -> list[Candidate]:
        return [c for c in self.found if c.key not in self.out]

    def trial(self, candidate: Candidate, draw: str) -> Trial:
        return Trial(
            task=self.task.fingerprint,
            method=candidate.method,
            version=candidate.version,
            view=candidate.view,
            params=candidate.params,
            draw=draw,
            seed=self.seed,
        )

    def round(self, repeat: int) -> list[tuple[Candidate, Trial]]:
        """The trials of one round, in the order in which they should start."""
        return [(c, self.trial(c, f"cv:k={self.folds_of(c)}:r={repeat}")) for c in self.alive]

    def folds_of(self, candidate: Candidate) -> int:
        """Folds of one candidate, see `folds_at`. It is judged on the same rows as all others."""
        return self.set_folds.get(candidate.key) or folds_at(candidate.seconds, self.folds)

    def record(self, candidate: Candidate, trial: Trial, predictions: np.ndarray) -> None:
        self.finished.setdefault(candidate.key, []).append(predictions)
        self.used.append(trial.key)

    def drop(self, candidate: Candidate, why: str) -> None:
        self.out[candidate.key] = why

    def complete(self) -> tuple[list[Candidate], int]:
        """Candidates that can be compared, and on how many repeats: those in the race that finished what the
        others did.
        """
        tried = [c for c in self.alive if self.finished.get(c.key)]
        return tried, min((len(self.finished[c.key]) for c in tried), default=0)

    def board(self) -> tuple[list[Candidate], OutOfFold]:
        """The comparable candidates' out-of-fold predictions."""
        tried, repeats = self.complete()
        predictions = np.stack([np.stack(self.finished[c.key][:repeats]) for c in tried])
        index = {c.key: i for i, c in enumerate(self.found)}
        prior = self.prior[[index[c.key] for c in tried]]
        return tried, OutOfFold(predictions, self.task.target, prior / prior.sum(), self.units)

    def close(self) -> None:
        """Ends a round: the hopeless leave."""
        tried, board = self.board()
        if len(tried) <= self.config.keep:
            return
        choice = choose(board, replace(self.choice, min_weight=0.0, max_members=len(tried)))
        losses = own_losses(board, choice)  # [K, N]
        order = np.argsort(losses.mean(1), kind="stable")
        best = losses[order[0]]
        for rank, k in enumerate(order):
            behind = losses[k] - best
            error = behind.std() / np.sqrt(len(behind)) + 1e-12
            if tried[k].method == BASELINE:  # costs nothing, and the report compares with it
                continue
            if (
                rank >= self.config.keep
                and behind.mean() > self.config.behind * error
                and choice.weights[k] < self.config.use
            ):
                self.drop(
                    tried[k],
                    f"stopped early: behind by {behind.mean():.3f} after {board.predictions.shape[1]} repeat(s)",
                )

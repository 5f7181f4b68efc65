"""A run under a clock, done again from what that clock decided."""

from dataclasses import dataclass, field

from smidgen.kit.errors import BadInput
from smidgen.studies.stored import Study


@dataclass(frozen=True)
class Replay:
    """Of the earlier run: trials that ended, whole rounds, candidates that failed, members that were fitted in time,
    folds by candidate."""

    keys: frozenset[str]
    rounds: int
    failed: frozenset[tuple[str, str]]
    chosen: frozenset[tuple[str, str]]
    folds: dict[tuple[str, str], int] = field(default_factory=dict)

    @classmethod
    def of(cls, study: Study) -> "Replay":
        """Raises BadInput for a study that has no result."""
        if study.summary is None:
            raise BadInput(f"The study {study.id} has no result that could be replayed: resume it.")
        board = study.summary["leaderboard"]
        return cls(
            frozenset(study.trials),
            int(study.summary["spent"].get("rounds", 0)),
            frozenset((r["method"], r["view"]) for r in board if r["note"].startswith("failed")),
            frozenset((r["method"], r["view"]) for r in board if r["chosen"]),
            {(r["method"], r["view"]): r["folds"] for r in board if r.get("folds")},
        )

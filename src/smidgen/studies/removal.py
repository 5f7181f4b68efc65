"""Removing a study so that it can be brought back while the program that removed it runs."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from smidgen.kit.errors import BadInput
from smidgen.studies.store import RunStore
from smidgen.studies.tables import studies, study_trials, trials

MAX_BYTES = 256 << 20  # of predictions that are held in memory for an undo


@dataclass(frozen=True)
class Removed:
    """A study that was removed. `gone`: trials that went with it; `parts`: its rows, None where it was too large."""

    id: str
    gone: int
    parts: dict[str, list[dict[str, Any]]] | None


def can_undo(store: RunStore, id: str) -> bool:
    """Whether all that the study has fits in memory."""
    query = (
        sa.select(sa.func.sum(sa.func.length(trials.c.predictions)))
        .select_from(study_trials.join(trials, study_trials.c.key == trials.c.key))
        .where(study_trials.c.study == id)
    )
    with store._db.read() as c:
        return (c.scalar(query) or 0) <= MAX_BYTES


def remove(store: RunStore, id: str) -> Removed:
    """Removes as `RunStore.remove` does, and keeps what is needed to bring it back. Raises what that raises."""
    parts = None
    if can_undo(store, id):
        with store._db.read() as c:
            own = sa.select(study_trials.c.key).where(study_trials.c.study == id)
            queries = {
                "studies": sa.select(studies).where(studies.c.id == id),
                "trials": sa.select(trials).where(trials.c.key.in_(own)),  # also shared ones: they may go later
                "study_trials": sa.select(study_trials).where(study_trials.c.study == id),
            }
            parts = {name: [dict(row) for row in c.execute(q).mappings()] for name, q in queries.items()}
    return Removed(id, store.remove(id), parts)


def undo(store: RunStore, removed: Removed) -> None:
    """Brings the study back. Raises BadInput where it is too large, or has been made anew in the meantime."""
    if removed.parts is None:
        raise BadInput(f"The study {removed.id} was too large to be kept: it cannot be brought back.")
    with store._db.write() as c:
        for table in (studies, trials, study_trials):
            rows = removed.parts[table.name]
            made = c.execute(store._db.insert(table), rows).rowcount if rows else 0
            if table is studies and made != 1:
                raise BadInput(f"The study {removed.id} was made anew in the meantime; it is left as it is.")

"""Long lists of a run store, a page at a time: searched, sorted and cut by the database."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from smidgen.kit.errors import bad
from smidgen.studies.store import RunStore
from smidgen.studies.stored import Study, TrialRow, study_of, trial_of
from smidgen.studies.tables import studies, study_trials, trials

STUDY_SORTS = ("updated", "name", "trials")
TRIAL_SORTS = ("begun", "method", "view", "draw", "state", "seconds", "memory", "model")
TRIAL_STATES = ("done", "failed", "running")
_WORDS = ("method", "view", "draw")


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A page of a list. `total`: how many there are on all pages; `first`: place of the first one here, from 1."""

    rows: list[Any]
    total: int
    page: int
    pages: int
    first: int


def list_studies(
    store: RunStore, *, search: str = "", sort: str = "updated", down: bool = True, page: int = 1, size: int = 100
) -> Listed:
    """Pairs (study, number of its trials). `search`: words that its id or task hold.

    Their `trials` are left empty: those of a large study take longer to read than all the rest.
    """
    if sort not in STUDY_SORTS:
        raise bad("sort", f"one of {', '.join(STUDY_SORTS)}", sort)
    count = (
        sa.select(sa.func.count())
        .where(study_trials.c.study == studies.c.id)
        .correlate(studies)
        .scalar_subquery()
        .label("count")
    )
    keep = [_holds(store, (studies.c.id, studies.c.task_name), word) for word in search.split()]
    by = {"updated": studies.c.updated, "name": sa.func.lower(studies.c.task_name), "trials": count}[sort]
    with store._db.read() as c:
        total = c.scalar(sa.select(sa.func.count()).select_from(studies).where(*keep)) or 0
        page, pages = _place(page, total, size)
        columns = [column for column in studies.c if column is not studies.c.trials]
        query = sa.select(*columns, sa.literal("[]").label("trials"), count).where(*keep)
        query = query.order_by(by.desc() if down else by, studies.c.id)
        rows = c.execute(query.limit(size).offset((page - 1) * size)).all()
        now = store._db.now(c)
        found = [(study_of(row._mapping, now, store.name), int(row._mapping["count"])) for row in rows]
    return Listed(rows=found, total=total, page=page, pages=pages, first=(page - 1) * size + 1)


def list_trials(
    store: RunStore,
    study: Study,
    *,
    search: str = "",
    state: str = "",
    sort: str = "begun",
    down: bool = False,
    page: int = 1,
    size: int = 200,
) -> Listed:
    """Rows `TrialRow` of a study. `search`: words that method, view or draw hold."""
    if sort not in TRIAL_SORTS:
        raise bad("sort", f"one of {', '.join(TRIAL_SORTS)}", sort)
    if state and state not in TRIAL_STATES:
        raise bad("state", f"one of {', '.join(TRIAL_STATES)}", state)
    told: Any = sa.type_coerce(trials.c.trial, sa.JSON) if store._db.sqlite else sa.cast(trials.c.trial, sa.JSON)
    words = {name: told[name].as_string() for name in _WORDS}
    by = {
        "begun": trials.c.created,
        **words,
        "state": trials.c.state,
        "seconds": trials.c.seconds,
        "memory": trials.c.peak_bytes,
        "model": trials.c.model_bytes,
    }[sort]
    keep: list[Any] = [trials.c.state == state] if state else []
    if state == "done":  # most are: their index is no short way
        keep = [trials.c.state.not_in([other for other in TRIAL_STATES if other != state])]
    for word in search.split():
        if _plain(word):  # few rows' JSON needs to be read
            keep.append(_holds(store, (trials.c.trial,), word))
        keep.append(_holds(store, words.values(), word))
    order = [by.desc().nulls_last() if down else by.nulls_last(), trials.c.created, trials.c.key]
    source: Any = study_trials.join(trials, _same(store))
    own = study_trials.c.study == study.id
    if sort == "begun" and not keep:  # read along the index, up to the page's end
        source, own = trials, _used_by(study)
        order = [trials.c.created.desc() if down else trials.c.created, trials.c.key.desc() if down else trials.c.key]
    with store._db.read() as c:
        if keep:
            total = c.scalar(sa.select(sa.func.count()).select_from(source).where(own, *keep)) or 0
        else:
            total = _count(c, study)
        page, pages = _place(page, total, size)
        query = sa.select(trials.c.key).select_from(source).where(own, *keep).order_by(*order)
        keys = list(c.execute(query.limit(size).offset((page - 1) * size)).scalars())  # sorted without the rows' rest
        columns = [trials.c[name] for name in TrialRow.__dataclass_fields__]
        rows = c.execute(sa.select(*columns).where(trials.c.key.in_(keys))).mappings().all()
    found = {row["key"]: row for row in rows}
    made = [trial_of(found[key], store.name) for key in keys if key in found]
    return Listed(rows=made, total=total, page=page, pages=pages, first=(page - 1) * size + 1)


def count_states(store: RunStore, study: Study) -> dict[str, int]:
    """How many trials of the study are done, failed and running."""
    rest = [state for state in TRIAL_STATES if state != "done"]  # most are: the index finds the others
    query = sa.select(trials.c.state, sa.func.count()).where(trials.c.state.in_(rest), _used_by(study))
    with store._db.read() as c:
        found = {state: int(count) for state, count in c.execute(query.group_by(trials.c.state))}
        found["done"] = _count(c, study) - sum(found.values())
    return {state: found.get(state, 0) for state in TRIAL_STATES}


def _same(store: RunStore) -> sa.ColumnElement[bool]:
    """The two tables' rows of one trial."""
    used, key = study_trials.c.key, trials.c.key
    # For an equal key SQLite takes the primary key's index, and then each whole row with its predictions; for a range
    # it takes the one that has all that is asked for.
    return key.between(used, used) if store._db.sqlite else used == key


def _plain(word: str) -> bool:
    """Whether the word stands in JSON as it is."""
    return word.isascii() and word.isprintable() and not set(word) & set('"\\')


def _used_by(study: Study) -> sa.ColumnElement[bool]:
    own = sa.select(study_trials.c.key).where(study_trials.c.study == study.id, study_trials.c.key == trials.c.key)
    return own.correlate(trials).exists()


def _count(c: sa.Connection, study: Study) -> int:
    """Of the study's trials that are there: a trial is noted as used and made in one transaction."""
    query = sa.select(sa.func.count()).select_from(study_trials).where(study_trials.c.study == study.id)
    return int(c.scalar(query) or 0)


def _holds(store: RunStore, columns: Any, word: str) -> sa.ColumnElement[bool]:
    """Whether one of the columns holds the word, in any case of its letters."""
    if store._db.sqlite and word.isascii():  # its LIKE knows the case of those, without a call of Python for each row
        return sa.or_(*(column.contains(word, autoescape=True) for column in columns))
    return sa.or_(*(sa.func.lower(column).contains(word.lower(), autoescape=True) for column in columns))


def _place(page: int, total: int, size: int) -> tuple[int, int]:
    """The page that exists and is nearest, and how many there are."""
    pages = max(1, -(-total // size))
    return min(max(1, page), pages), pages

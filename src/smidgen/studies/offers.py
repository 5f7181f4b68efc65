"""Trials that a study wants measured, offered through the run store to any process of any machine.

The process that runs a study, its coordinator, has a row with a lease, and an offer for each trial that it wants. Who
takes one claims the trial as the coordinator itself would: lease, heartbeat, fence. An offer is open while nobody
holds its trial, and void when its coordinator is gone.
"""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from smidgen.studies import shipping
from smidgen.studies.open_offers import Choice, find_open, free_the_dead
from smidgen.studies.owner import LEASE_SECONDS, is_gone
from smidgen.studies.result import Result
from smidgen.studies.store import RunStore
from smidgen.studies.tables import coordinators, offers, trials, workers
from smidgen.studies.trial import Trial

_MANY = 200  # offers that are worth statistics
_TRIES = 5  # a taker that only found what another had just taken looks again


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A trial that this process has claimed. `memory`: bytes that its study allows; `longest`: seconds. None: any."""

    key: str
    trial: str
    method: str
    fence: int
    coordinator: str
    study: str
    data: str
    memory: int | None
    longest: float | None


# -- the coordinator's side --


def announce(store: RunStore, study: str, data: str, memory: int | None, program: str) -> None:
    """This process runs the study, its trials need that data. To be called again within each lease."""
    with store._db.write(durable=False) as c:
        now = store._db.now(c)
        values = {"study": study, "data": data, "memory": memory, "program": program}
        values["lease_until"] = now + LEASE_SECONDS
        changed = c.execute(coordinators.update().where(coordinators.c.owner == store.owner).values(**values)).rowcount
        if not changed:
            c.execute(coordinators.insert().values(owner=store.owner, begun=now, **values))
            _bury(c, now)


def offer(store: RunStore, wanted: Iterable[Trial], longest: float | None = None) -> None:
    """Offers exactly these trials, to be taken in this order; what was offered before and is not here is withdrawn."""
    rows = [
        {
            "owner": store.owner,
            "key": t.key,
            "trial": t.to_json(),
            "method": f"{t.method}@{t.version}",
            "place": place,
            "longest": longest,
        }
        for place, t in enumerate(wanted)
    ]
    with store._db.write(durable=False) as c:
        c.execute(offers.delete().where(offers.c.owner == store.owner))
        if rows:
            c.execute(offers.insert(), rows)
            if len(rows) > _MANY and not store._db.sqlite:  # else PostgreSQL sorts all of them whenever one is taken
                c.exec_driver_sql("ANALYZE offers")


def withdraw(store: RunStore) -> None:
    """Nothing is offered any more. Who runs one of the trials is told at its next heartbeat."""
    offer(store, ())


def drop(store: RunStore, key: str) -> None:
    """One trial is not offered any more."""
    with store._db.write(durable=False) as c:
        c.execute(offers.delete().where(offers.c.owner == store.owner, offers.c.key == key))


def retire(store: RunStore) -> None:
    """The coordinator ends; data that no other needs goes with it."""
    with store._db.write(durable=False) as c:
        _remove(c, [store.owner])


def failures(store: RunStore) -> dict[str, tuple[str, str]]:
    """(kind, reason) by key of the trials that others could not do, where that says nothing of the trial itself."""
    query = sa.select(offers.c.key, offers.c.failure).where(
        offers.c.owner == store.owner, offers.c.failure.is_not(None)
    )
    with store._db.read() as c:
        return {row.key: tuple(json.loads(row.failure)) for row in c.execute(query)}


def held(store: RunStore, keys: Collection[str]) -> set[str]:
    """Those of the offered trials that someone is running now."""
    query = sa.select(offers.c.key).join(trials, trials.c.key == offers.c.key)
    with store._db.read() as c:
        query = query.where(offers.c.owner == store.owner, trials.c.state == "running")
        return set(c.execute(query.where(trials.c.lease_until > store._db.now(c))).scalars()) & set(keys)


def present(store: RunStore, study: str) -> int:
    """How many workers would take trials of the study."""
    with store._db.read() as c:
        query = sa.select(workers.c.owner).where(workers.c.lease_until > store._db.now(c))
        query = query.where(workers.c.study.is_(None) | (workers.c.study == study))
        return sum(not is_gone(owner) for owner in c.execute(query).scalars())


# -- the taker's side --


def take(store: RunStore, count: int = 1, **choice: Any) -> list[Taken]:
    """Claims up to `count` open trials of this `Choice`, in the order in which their studies want them."""
    return exchange(store, (), count, **choice)[1]


def exchange(
    store: RunStore, ended: Sequence[tuple[str, int, Result]], count: int, **choice: Any
) -> tuple[list[bool], list[Taken]]:
    """`RunStore.finish_all` and `take` in one transaction: waits once for other processes and once for the disk."""
    made, rows = Choice(**choice), store._ended(ended)
    recorded: list[bool] = []
    taken: list[Taken] = []
    for attempt in range(_TRIES):
        last = rows if attempt == 0 else []
        with store._db.write(durable=bool(last)) as c:
            now = store._db.now(c)
            if last:
                recorded = store._finish(c, last, now)
            found, taken = _take(store, c, now, count, made) if count > 0 else (0, [])
        if taken or not found:
            break
    return recorded, taken


def _take(store: RunStore, c: sa.Connection, now: float, count: int, choice: Choice) -> tuple[int, list[Taken]]:
    """How many open offers were found, and those of them that are this process's now."""
    if choice.thorough:
        free_the_dead(c, now)
    found = find_open(store, c, now, count, choice)
    rows = sorted(found, key=lambda row: row.key)  # none wait in a circle
    fences: dict[str, int | None] = {}
    fences |= store._claim_new(c, [(row.key, row.trial, row.study) for row in rows if row.begun is None], now)
    for row in rows:
        if row.begun is not None:
            fences[row.key] = store._claim(c, row.key, row.trial, store.owner, LEASE_SECONDS, study=row.study)
    taken = []
    names = Taken.__dataclass_fields__.keys() - {"fence", "coordinator"}
    for row in found:
        if (fence := fences.pop(row.key, None)) is not None:
            own = {name: row._mapping[name] for name in names}
            taken.append(Taken(fence=fence, coordinator=row.owner, **own))
    return len(found), taken


def give_back(
    store: RunStore, taken: Taken, failure: tuple[str, str] | None = None, *, too_small: int | None = None
) -> None:
    """Ends this process's claim without a result.

    Args:
        failure: (kind, reason) for the coordinator, which then does not want it any more; None: another may take it.
        too_small: bytes that were not enough: only who has more takes it.
    """
    with store._db.write(durable=False) as c:
        c.execute(sa.select(offers.c.key).where(offers.c.key == taken.key).with_for_update())  # first, as `take` does
        mine = (trials.c.key == taken.key, trials.c.fence == taken.fence, trials.c.state == "running")
        if not c.execute(trials.update().where(*mine).values(owner=None, lease_until=0.0)).rowcount:
            return  # it has another holder, or a result
        values: dict[str, Any] = {}
        if failure is not None:
            values["failure"] = json.dumps(store._db.scrub(list(failure)))
        if too_small is not None:
            values["too_small"] = too_small
        if values:
            own = (offers.c.owner == taken.coordinator, offers.c.key == taken.key)
            c.execute(offers.update().where(*own).values(**values))


def beat(store: RunStore, running: Sequence[Taken], study: str | None = None) -> set[str]:
    """The worker's heartbeat: it is there, and so are its trials. Gives the keys of those that are still wanted."""
    keys = [t.key for t in running]
    with store._db.write(durable=False) as c:
        until = store._db.now(c) + LEASE_SECONDS
        there = c.execute(workers.update().where(workers.c.owner == store.owner).values(lease_until=until)).rowcount
        if not there:
            c.execute(workers.insert().values(owner=store.owner, lease_until=until, study=study))
        if not keys:
            return set()
        own = (trials.c.key.in_(keys), trials.c.owner == store.owner, trials.c.state == "running")
        c.execute(trials.update().where(*own).values(lease_until=until))
        query = sa.select(offers.c.key).join(trials, trials.c.key == offers.c.key).where(*own)
        return set(c.execute(query).scalars())


def leave(store: RunStore) -> None:
    """The worker ends: what it holds is free."""
    store.release()
    with store._db.write(durable=False) as c:
        c.execute(workers.delete().where(workers.c.owner == store.owner))


def strangers(store: RunStore, program: str) -> list[tuple[str, str]]:
    """(study, version of smidgen) of those that are run by another version and offer something."""
    with store._db.read() as c:
        query = sa.select(coordinators.c.study, coordinators.c.program).join(
            offers, offers.c.owner == coordinators.c.owner
        )
        query = query.where(coordinators.c.program != program, coordinators.c.lease_until > store._db.now(c))
        return [(row.study, row.program) for row in c.execute(query.distinct())]


# -- parts --


def _bury(c: sa.Connection, now: float) -> None:
    """What coordinators and workers left that were killed."""
    rows = c.execute(sa.select(coordinators.c.owner, coordinators.c.lease_until)).all()
    _remove(c, [row.owner for row in rows if row.lease_until <= now or is_gone(row.owner)])
    c.execute(workers.delete().where(workers.c.lease_until <= now))


def _remove(c: sa.Connection, owners: list[str]) -> None:
    if owners:
        c.execute(offers.delete().where(offers.c.owner.in_(owners)))
        c.execute(coordinators.delete().where(coordinators.c.owner.in_(owners)))
    shipping.sweep(c)

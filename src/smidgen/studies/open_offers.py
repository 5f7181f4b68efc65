"""Which offers are open to a taker: in the order in which their coordinators want them, found along an index."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa

from smidgen.studies.owner import is_gone
from smidgen.studies.store import RunStore
from smidgen.studies.tables import coordinators, offers, trials


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which trials a taker wants.

    Attributes:
        program: version of smidgen; the offers of another are left alone.
        coordinator, study: only of this one. data: what this process has loaded, taken first; `only`: nothing else.
        memory: bytes that a trial may take here: those that are known to need more are left alone. None: any.
        refused: methods, as in `Taken`, that this process does not have.
        thorough: first frees what processes of this machine held that are gone, instead of waiting for their leases:
            all of it, for any taker.
    """

    program: str
    coordinator: str | None = None
    study: str | None = None
    data: str | None = None
    only: bool = False
    memory: int | None = None
    refused: Collection[str] = ()
    thorough: bool = False


def find_open(store: RunStore, c: sa.Connection, now: float, count: int, choice: Choice) -> list[Any]:
    """Up to `count` open offers, locked, of one coordinator after the other."""
    values: dict[str, Any] = {"now": now, "program": choice.program, "data": choice.data or "", "memory": choice.memory}
    values |= {"coordinator": choice.coordinator, "study": choice.study, "refused": list(choice.refused)}
    flags = (choice.coordinator is not None, choice.study is not None, choice.only, choice.memory is not None)
    found: list[Any] = []
    seen: list[str] = []
    while len(found) < count:
        query = _of_the_next(*flags, bool(choice.refused), bool(seen))
        rows = c.execute(query, values | {"count": count - len(found), "seen": seen}).all()
        if not rows:
            break
        owner = rows[0].owner
        seen.append(owner)
        if owner != store.owner and is_gone(owner):
            c.execute(coordinators.update().where(coordinators.c.owner == owner).values(lease_until=0.0))
        else:
            found += rows
    return found


@cache
def _of_the_next(coordinator: bool, study: bool, only: bool, memory: bool, refused: bool, seen: bool) -> sa.Select:
    """The first coordinator's open offers, with those conditions.

    Of one coordinator: an index gives them in their order, however many there are.
    """
    value = sa.bindparam

    def is_open(offer: Any) -> list[Any]:
        # What is not open is looked for: PostgreSQL then guesses well how many are left, and reads but the first ones.
        trial = trials.alias()
        held = (trial.c.lease_until > value("now")) & trial.c.owner.is_not(None)
        barred = sa.select(trial.c.key).where(trial.c.key == offer.c.key, (trial.c.state != "running") | held)
        out: list[Any] = [offer.c.failure.is_(None), ~barred.correlate(offer).exists()]
        if memory:
            out.append(offer.c.too_small < value("memory"))
        if refused:
            out.append(offer.c.method.not_in(value("refused", expanding=True)))
        return out

    one, boss = offers.alias(), coordinators.alias()
    some = sa.select(one.c.key).where(one.c.owner == boss.c.owner, *is_open(one)).correlate(boss)
    # By a LIMIT of its own it stays a question for each coordinator that the first open offer answers.
    first = sa.select(boss.c.owner).where(boss.c.lease_until > value("now"), boss.c.program == value("program"))
    first = first.where(some.order_by(one.c.place).limit(1).scalar_subquery().is_not(None))
    first = first.order_by(sa.case((boss.c.data == value("data"), 0), else_=1), boss.c.begun, boss.c.owner).limit(1)
    if coordinator:
        first = first.where(boss.c.owner == value("coordinator"))
    if study:
        first = first.where(boss.c.study == value("study"))
    if only:
        first = first.where(boss.c.data == value("data"))
    if seen:
        first = first.where(boss.c.owner.not_in(value("seen", expanding=True)))
    begun = sa.select(trials.c.key).where(trials.c.key == offers.c.key).correlate(offers).scalar_subquery()
    about = (coordinators.c.study, coordinators.c.data, coordinators.c.memory, begun.label("begun"))
    query = sa.select(offers, *about).join(coordinators, coordinators.c.owner == offers.c.owner)
    query = query.where(offers.c.owner == first.scalar_subquery(), *is_open(offers)).order_by(offers.c.place)
    return query.limit(value("count", type_=sa.Integer)).with_for_update(of=offers, skip_locked=True)


def free_the_dead(c: sa.Connection, now: float) -> None:
    """Offered trials whose holders were processes on this machine and are gone are held by nobody."""
    query = sa.select(trials.c.owner).join(offers, offers.c.key == trials.c.key)
    query = query.where(trials.c.state == "running", trials.c.lease_until > now, trials.c.owner.is_not(None))
    gone = [owner for owner in c.execute(query.distinct()).scalars() if is_gone(owner)]
    if gone:
        theirs = sa.select(trials.c.key).where(trials.c.owner.in_(gone), trials.c.state == "running")
        theirs = theirs.order_by(trials.c.key).with_for_update(skip_locked=True)  # what another frees now is free too
        keys = list(c.execute(theirs).scalars())
        c.execute(trials.update().where(trials.c.key.in_(keys)).values(owner=None, lease_until=0.0))

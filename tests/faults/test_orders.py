"""Every order of the steps of two and of three workers, over a real store and a clock that the test sets: no trial has
two results, none is lost, and who slept past its lease is refused."""

import numpy as np
import pytest
from deeds import wanted

from smidgen.studies import offers
from smidgen.studies.database import Database
from smidgen.studies.owner import LEASE_SECONDS
from smidgen.studies.result import Result
from smidgen.studies.store import RunStore

TWO = ("take", "beat", "finish", "give back")
THREE = ("take", "beat", "finish")
# Seconds from one step to the next: no lease ends; one of two steps ago has; each has, but for the last step's.
PACES = (0.0, 0.6 * LEASE_SECONDS, 1.1 * LEASE_SECONDS)


class Expected:
    """What the store must answer: who holds the one trial, until when, and whether it has ended."""

    def __init__(self):
        self.holder, self.until, self.done = None, 0.0, False

    def take(self, who, now):
        if self.done or (self.holder is not None and self.until > now):
            return False
        self.holder, self.until = who, now + LEASE_SECONDS
        return True

    def beat(self, who, now):
        """A holder that nobody has replaced goes on, also after its lease."""
        if self.done or self.holder != who:
            return False
        self.until = now + LEASE_SECONDS
        return True

    def finish(self, who):
        taken = self.holder == who and not self.done
        self.done |= taken
        return taken

    def give_back(self, who):
        if self.holder == who and not self.done:
            self.holder = None


def words(workers, each, left=None):
    """All orders of `each` steps of each worker."""
    left = [each] * workers if left is None else left
    if not any(left):
        yield ()
    for w in range(workers):
        if left[w]:
            for rest in words(workers, each, [n - (i == w) for i, n in enumerate(left)]):
                yield (w, *rest)


def play(stores, clock, number, order, steps, pace):
    """One order on a trial of its own. Gives how often it changed hands."""
    boss, *others = stores
    (trial,) = wanted(1, task=f"t{number}")
    offers.offer(boss, [trial])
    expected, held, count, results, hands = Expected(), {}, [0] * len(others), 0, 0
    for who in order:
        clock[0] += pace
        store, step = others[who], steps[count[who]]
        count[who] += 1
        if step == "take":
            found = offers.take(store, program="1")
            assert bool(found) == expected.take(who, clock[0]), "it is free, or it is not"
            if found:
                held[who], hands = found[0], hands + 1
        elif step == "beat":
            holds = offers.beat(store, [held[who]] if who in held else [])
            assert bool(holds) == (who in held and expected.beat(who, clock[0]))
        elif step == "finish" and who in held:
            taken = store.finish(trial.key, held[who].fence, Result(np.full((2, 2), float(who)), 1.0))
            assert taken == expected.finish(who), "only the one that holds it, and once"
            results += taken
        elif step == "give back" and who in held:
            offers.give_back(store, held[who])
            expected.give_back(who)
    assert results <= 1
    if not results:  # it is not lost: when the last lease has ended, anyone can do it
        clock[0] += 2 * LEASE_SECONDS
        (last,) = offers.take(boss, program="1")
        assert boss.finish(trial.key, last.fence, Result(np.zeros((2, 2)), 1.0))
    assert set(boss.get([trial.key])) == {trial.key}
    return hands


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@pytest.mark.parametrize(("workers", "steps", "total"), [(2, TWO, 70), (3, THREE, 1680)])
def test_every_order_of_their_steps(kind, workers, steps, total, memory_disk, request, monkeypatch, rounds):
    from postgres import database

    clock, found = [1e9], list(words(workers, len(steps)))
    assert len(found) == len(set(found)) == total
    monkeypatch.setattr(Database, "now", lambda self, connection: clock[0])
    # On a push, of three workers: each so many-th order, at the pace at which hands change most.
    few = {"sqlite": 4, "postgresql": 20} if workers == 3 else {"sqlite": 1, "postgresql": 5}
    each = 1 if rounds.long else few[kind]
    paces = PACES if workers == 2 else PACES[1:2]
    hands = played = 0

    def play_all(place):
        nonlocal hands, played
        stores = [RunStore(place) for _ in range(workers + 1)]
        offers.announce(stores[0], "s", "d", None, "1")
        with stores[0]._db.write() as c:
            c.exec_driver_sql("UPDATE coordinators SET lease_until = 1e12")  # it is there all the time
        for pace in paces:
            for order in found[::each]:
                hands += play(stores, clock, played, order, steps, pace)
                played += 1
        for store in stores:
            store.close()

    if kind == "sqlite":
        play_all(memory_disk / "runs.db")
    else:
        with database(request.getfixturevalue("postgres")) as place:
            play_all(place)
    assert hands > played, "leases ended, and others took over"
    rounds.note(f"{played} orders, {hands} holders, 0 doubled, 0 lost")

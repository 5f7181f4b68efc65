"""The run store: studies and trials that survive `kill -9` and are shared by any number of processes.

A trial is keyed by its content alone, so studies share trials, and a study that is run again only does what is missing.
Whoever runs a trial claims it: a lease that `beat` extends, and a fence, a number that grows with each new holder. A
result is taken only with the latest fence, so a holder that slept past its lease cannot overwrite another's.
"""

import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from smidgen.studies.database import Database
from smidgen.studies.owner import LEASE_SECONDS, is_gone, new_owner
from smidgen.studies.result import Result
from smidgen.studies.stored import columns_of, result_of
from smidgen.studies.study_rows import StudyRows
from smidgen.studies.tables import offers, study_trials, trials

_CHUNK = 500  # keys in one query: below the limit on parameters

# Made once: they run for every trial.
_RESULT = ("state", "owner", "lease_until", "predictions", "shape", "seconds", "cpu_seconds", "peak_bytes")
_RESULT += ("model_bytes", "error", "notes", "finished")
_FINISH = (
    trials.update()
    .where(trials.c.key == sa.bindparam("of_key"), trials.c.fence == sa.bindparam("of_fence"))
    .where(trials.c.state == "running")
    .values({name: sa.bindparam(name) for name in _RESULT})
)
_HELD = sa.select(trials.c.key, trials.c.fence).where(trials.c.key.in_(sa.bindparam("keys", expanding=True)))
_OPEN = _HELD.where(trials.c.state == "running").order_by(trials.c.key).with_for_update()
_OFFER = (offers.c.owner, offers.c.key)
_DONE = sa.select(*_OFFER).where(offers.c.key.in_(sa.bindparam("done", expanding=True)))
_DONE = offers.delete().where(sa.tuple_(*_OFFER).in_(_DONE.with_for_update(skip_locked=True)))


class RunStore(StudyRows):
    """A run store by path or URL (`sqlite:///path`, `postgresql://...`); by default `.smidgen/runs.db`.

    Raises:
        BadInput: the file is not a store, damaged, newer than this program, or on a network disk.

    Attributes:
        owner: this run's name in leases; the default of `claim`, `beat` and `release`.
    """

    def __init__(self, url_or_path: str | Path | None = None) -> None:
        self._db = Database(url_or_path)
        self.name = self._db.name  # for people: no password in it
        self.owner = new_owner()

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> "RunStore":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- trials --

    def get(self, keys: Iterable[str]) -> dict[str, Result]:
        """The results of those of the keys that have one, failed ones (`error`) as well."""
        keys, out = list(dict.fromkeys(keys)), {}
        with self._db.read() as c:
            for i in range(0, len(keys), _CHUNK):
                query = sa.select(trials).where(trials.c.key.in_(keys[i : i + _CHUNK]), trials.c.state != "running")
                out |= {row.key: result_of(row, self.name) for row in c.execute(query)}
        return {key: out[key] for key in keys if key in out}

    def claim(
        self,
        key: str,
        trial_json: str,
        owner: str | None = None,
        lease_seconds: float = LEASE_SECONDS,
        *,
        study: str | None = None,
        retry: bool = False,
    ) -> int | None:
        """The right to run this trial, as a fence for `finish`; None: it is done, or another is running it.

        A lease that has run out, whose process on this machine is gone, or that is this owner's own is taken over with
        a higher fence. A failed trial is only claimed with `retry`. `study` notes that the study uses the trial.
        """
        with self._db.write(durable=False) as c:
            return self._claim(c, key, trial_json, owner or self.owner, lease_seconds, study=study, retry=retry)

    def _claim(
        self,
        c: sa.Connection,
        key: str,
        trial_json: str,
        owner: str,
        lease_seconds: float,
        *,
        study: str | None,
        retry: bool = False,
    ) -> int | None:
        if study is not None:
            self._link(c, study, [key])
        now = self._db.now(c)
        # A random first fence: a holder that slept while its row was removed and made anew stays a stranger.
        fence = secrets.randbelow(2**40) + 1
        new = {
            "key": key,
            "trial": trial_json,
            "state": "running",
            "owner": owner,
            "fence": fence,
            "lease_until": now + lease_seconds,
            "created": now,
        }
        if c.execute(self._db.insert(trials), new).rowcount:
            return fence
        row = c.execute(
            sa.select(trials.c.state, trials.c.owner, trials.c.fence, trials.c.lease_until)
            .where(trials.c.key == key)
            .with_for_update(skip_locked=True)  # a row that another is changing is not free; nobody waits in a circle
        ).one_or_none()
        if row is None:
            return None
        if row.state == "running":
            free = row.lease_until <= now or row.owner in (None, owner) or is_gone(row.owner)
        else:
            free = row.state == "failed" and retry
        if not free:
            return None
        c.execute(
            trials.update()
            .where(trials.c.key == key)
            .values(state="running", owner=owner, fence=row.fence + 1, lease_until=now + lease_seconds, error=None)
        )
        return row.fence + 1

    def _claim_new(self, c: sa.Connection, wanted: Sequence[tuple[str, str, str]], now: float) -> dict[str, int]:
        """`_claim` of many (key, trial, study) that nobody had begun: the fences of those that nobody else was quicker
        to begin."""
        rows = []
        for key, trial_json, study in wanted:
            fence = secrets.randbelow(2**40) + 1  # see `_claim`
            row = {"key": key, "trial": trial_json, "state": "running", "owner": self.owner, "fence": fence}
            rows.append(row | {"study": study, "lease_until": now + LEASE_SECONDS, "created": now})
        if not rows:
            return {}
        c.execute(self._db.insert(study_trials), [{"study": row["study"], "key": row["key"]} for row in rows])
        made = self._db.insert(trials).returning(trials.c.key, trials.c.fence)
        own = [{k: v for k, v in row.items() if k != "study"} for row in rows]
        return {row.key: row.fence for row in c.execute(made, own)}

    def beat(
        self, owner: str | None = None, lease_seconds: float = LEASE_SECONDS, keys: Iterable[str] | None = None
    ) -> int:
        """Extends the owner's leases, all of them or those of `keys`; gives how many it holds. To be called a few times
        within a lease."""
        with self._db.write(durable=False) as c:
            held = [*self._held(owner), *([] if keys is None else [trials.c.key.in_(list(keys))])]
            return c.execute(trials.update().where(*held).values(lease_until=self._db.now(c) + lease_seconds)).rowcount

    def finish(self, key: str, fence: int, result: Result) -> bool:
        """Stores the result. True: it is on disk. False: refused, the trial has another holder or an end already."""
        return self.finish_all([(key, fence, result)])[0]

    def finish_all(self, ended: Sequence[tuple[str, int, Result]]) -> list[bool]:
        """`finish` of several (key, fence, result) at once, which waits for the disk only once."""
        rows = self._ended(ended)
        with self._db.write() as c:
            return self._finish(c, rows, self._db.now(c))

    def _ended(self, ended: Sequence[tuple[str, int, Result]]) -> list[dict[str, Any]]:
        """What `_finish` writes; made before the store is locked."""
        return [
            {"of_key": key, "of_fence": fence, **columns_of(result, self._db.scrub)} for key, fence, result in ended
        ]

    def _finish(self, c: sa.Connection, rows: Sequence[dict[str, Any]], now: float) -> list[bool]:
        keys = [row["of_key"] for row in rows]
        fences = {row.key: row.fence for row in c.execute(_OPEN, {"keys": keys})}
        taken = [fences.get(row["of_key"]) == row["of_fence"] for row in rows]
        mine = [row | {"finished": now} for row, was in zip(rows, taken, strict=True) if was]
        if mine:
            c.execute(_FINISH, mine)
            # Nobody else needs to look at them. Who has just locked one to take it, in vain, is not waited for: an
            # offer whose trial has a result is never open.
            c.execute(_DONE, {"done": [row["of_key"] for row in mine]})
        return taken

    def release(self, owner: str | None = None) -> int:
        """Gives the owner's unfinished trials back, for anyone to claim."""
        with self._db.write(durable=False) as c:
            return c.execute(trials.update().where(*self._held(owner)).values(owner=None, lease_until=0.0)).rowcount

    # -- parts --

    def _held(self, owner: str | None):
        return trials.c.owner == (owner or self.owner), trials.c.state == "running"

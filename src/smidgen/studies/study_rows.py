"""The half of the run store that holds studies: opened, heard of, ended, listed, removed."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from smidgen.kit.config import nearest
from smidgen.kit.errors import BadInput, NotFound
from smidgen.kit.files import digest
from smidgen.studies.database import Database
from smidgen.studies.owner import LEASE_SECONDS, is_gone
from smidgen.studies.room import give_back
from smidgen.studies.stored import Study, TrialRow, parse, study_of, trial_of
from smidgen.studies.tables import studies, study_trials, trials

ENDED = ("done", "stopped", "failed")


class StudyRows:
    """Methods of `RunStore`, see there."""

    _db: Database
    name: str
    owner: str

    def open_study(
        self, name: str, fingerprint: str, options: dict[str, Any], asked: dict[str, Any] | None = None
    ) -> Study:
        """The study of this name, task and options: made, or the one that is there, now running again.

        `asked` is kept for a resume and does not make another study: the budget may be raised later.
        """
        asked_text = self._json(asked or {})
        name, options_text = self._db.scrub(name), self._json(options)
        whole = digest(name, fingerprint, options_text)
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-") or "study"
        with self._db.write() as c:
            now = self._db.now(c)
            found = c.execute(sa.select(studies.c.id).where(studies.c.digest == whole)).scalar()
            digits = 6
            while not found:  # the short form may be another study's
                row = {
                    "id": f"{slug}-{whole[:digits]}",
                    "digest": whole,
                    "task_name": name,
                    "fingerprint": fingerprint,
                    "options": options_text,
                    "asked": asked_text,
                    "created": now,
                    "updated": now,
                    "state": "running",
                    "trials": "[]",
                }
                if c.execute(self._db.insert(studies).values(**row)).rowcount:
                    found = row["id"]
                digits += 1
            again = {"state": "running", "owner": self.owner, "updated": now, "asked": asked_text}
            again["lease_until"] = now + LEASE_SECONDS
            c.execute(studies.update().where(studies.c.id == found).values(**again))
            return study_of(c.execute(sa.select(studies).where(studies.c.id == found)).mappings().one(), now, self.name)

    def beat_study(self, id: str) -> bool:
        """Says that this run still works on the study; to be called a few times within `LEASE_SECONDS`. False: it has
        ended, or another run has it now."""
        mine = (studies.c.id == id, studies.c.owner == self.owner, studies.c.state == "running")
        with self._db.write(durable=False) as c:
            until = self._db.now(c) + LEASE_SECONDS
            return bool(c.execute(studies.update().where(*mine).values(lease_until=until)).rowcount)

    def studies(self) -> list[Study]:
        """All studies, the latest first. One whose process is gone, or has not been heard of, counts as stopped."""
        with self._db.read() as c:
            rows = c.execute(sa.select(studies).order_by(studies.c.updated.desc(), studies.c.id)).all()
            now = self._db.now(c)
        return [study_of(row._mapping, now, self.name) for row in rows]

    def study(self, id: str) -> Study:
        """The study of this id, or the only one whose id starts with it. Raises NotFound, with the nearest, if none."""
        with self._db.read() as c:
            row = c.execute(sa.select(studies).where(studies.c.id == self._id(c, id))).one()
            return study_of(row._mapping, self._db.now(c), self.name)

    def finish_study(self, id: str, state: str, summary: dict[str, Any] | None, keys: Sequence[str]) -> None:
        """Records how the study ended, what came of it, and the trials it used in their order."""
        if state not in ENDED:
            raise ValueError(f"a study ends as one of {ENDED}, not {state!r}")
        text = None if summary is None else self._json(summary)
        with self._db.write() as c:
            found = self._id(c, id)
            self._link(c, found, keys)
            c.execute(
                studies.update()
                .where(studies.c.id == found)
                .values(state=state, summary=text, trials=json.dumps(list(keys)), updated=self._db.now(c))
            )

    def note_plan(self, id: str, plan: dict[str, Any]) -> Study | None:
        """Puts a plan into the study's result and touches nothing else, also while the study runs again elsewhere: the
        study as it is then; None where it has no result."""
        with self._db.write() as c:
            found = self._id(c, id)
            row = c.execute(sa.select(studies).where(studies.c.id == found).with_for_update()).one()
            study = study_of(row._mapping, self._db.now(c), self.name)
            if study.summary is None:
                return None
            text = self._json({**study.summary, "plan": plan})
            c.execute(studies.update().where(studies.c.id == found).values(summary=text))
        return replace(study, summary=parse(text, found, self.name))

    def use(self, id: str, keys: Iterable[str]) -> None:
        """Notes that the study uses these trials, so that removing another study leaves them."""
        with self._db.write() as c:
            self._link(c, id, keys)

    def remove(self, id: str) -> int:
        """Removes the study and those of its trials that no other study uses; gives how many trials went. What that
        frees in SQLite's file goes back to the disk, where it is much.

        Raises:
            BadInput: unknown, or another process is working on it.
        """
        with self._db.write() as c:
            found, now = self._id(c, id), self._db.now(c)
            mine = sa.select(study_trials.c.key).where(study_trials.c.study == found)
            others = sa.select(study_trials.c.key).where(study_trials.c.study != found)
            doomed = trials.c.key.in_(mine) & trials.c.key.not_in(others)
            held = c.execute(
                sa.select(trials.c.owner).where(
                    doomed, trials.c.state == "running", trials.c.lease_until > now, trials.c.owner != self.owner
                )
            ).scalars()
            if any(owner and not is_gone(owner) for owner in held):
                raise BadInput(f"The study {found} is being worked on by another process: stop that first.")
            count = c.execute(trials.delete().where(doomed)).rowcount
            c.execute(study_trials.delete().where(study_trials.c.study == found))
            c.execute(studies.delete().where(studies.c.id == found))
        if self._db.sqlite:
            give_back(self._db.name)
        return count

    def trials(self, id: str) -> list[TrialRow]:
        """The study's trials, in the order they were begun."""
        columns = [trials.c[name] for name in TrialRow.__dataclass_fields__]
        with self._db.read() as c:
            query = (
                sa.select(*columns)
                .join(study_trials, study_trials.c.key == trials.c.key)
                .where(study_trials.c.study == self._id(c, id))
                .order_by(trials.c.created, trials.c.key)
            )
            rows = c.execute(query).mappings().all()
        return [trial_of(row, self.name) for row in rows]

    # -- parts --

    def _link(self, c: sa.Connection, study: str, keys: Iterable[str]) -> None:
        rows = [{"study": study, "key": key} for key in dict.fromkeys(keys)]
        if rows:
            c.execute(self._db.insert(study_trials), rows)

    def _id(self, c: sa.Connection, id: str) -> str:
        known = list(c.execute(sa.select(studies.c.id)).scalars())
        matches = [i for i in known if i == id] or [i for i in known if id and i.startswith(id)]
        if len(matches) > 1:
            raise BadInput(f"'{id}' could be any of the studies {', '.join(sorted(matches)[:10])}: write more of it.")
        if not matches:
            raise NotFound(f"There is no study '{id}' in {self.name}. {nearest(id, known)}")
        return matches[0]

    def _json(self, value: Any) -> str:
        return json.dumps(self._db.scrub(json.loads(json.dumps(value, default=str))), sort_keys=True)

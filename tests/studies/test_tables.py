"""The schema of the run store, as files and servers hold it: whoever changes it needs a new revision."""

import pytest
from sqlalchemy import create_mock_engine
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from smidgen.studies.tables import metadata

TEXTS, NUMBER, LARGE = "VARCHAR({})", "DOUBLE", "BIGINT"
ID, KEY, STATE, DIGEST = (TEXTS.format(n) for n in (80, 64, 10, 32))
# A name with a stroke in front is part of the primary key, a question mark behind it: may be null.
TABLES = {
    "smidgen_store": {"/version": "INTEGER"},
    "alembic_version": {"/version_num": DIGEST},
    "studies": {
        "/id": ID, "digest": DIGEST, "created": NUMBER, "updated": NUMBER, "task_name": "TEXT", "fingerprint": KEY,
        "options": "TEXT", "asked": "TEXT", "state": STATE, "owner?": ID, "lease_until?": NUMBER, "summary?": "TEXT",
        "trials": "TEXT",
    },
    "trials": {
        "/key": KEY, "trial": "TEXT", "state": STATE, "owner?": ID, "fence": LARGE, "lease_until": NUMBER,
        "predictions?": "BLOB", "shape?": "TEXT", "seconds?": NUMBER, "cpu_seconds?": NUMBER, "peak_bytes?": LARGE,
        "model_bytes?": LARGE, "error?": "TEXT", "notes?": "TEXT", "created": NUMBER, "finished?": NUMBER,
    },
    "study_trials": {"/study": ID, "/key": KEY},
    "coordinators": {
        "/owner": ID, "study": ID, "lease_until": NUMBER, "begun": NUMBER, "program": TEXTS.format(40), "data": DIGEST,
        "memory?": LARGE,
    },
    "offers": {
        "/owner": ID, "/key": KEY, "trial": "TEXT", "method": TEXTS.format(200), "place": LARGE, "longest?": NUMBER,
        "too_small": "BIGINT DEFAULT '0'", "failure?": "TEXT",
    },
    "workers": {"/owner": ID, "lease_until": NUMBER, "study?": ID},
    "task_data": {"/digest": DIGEST, "/part": "INTEGER", "parts": "INTEGER", "content": "BLOB"},
}  # fmt: skip
INDEXES = [
    "ix_coordinators_study ON coordinators (study)",
    "ix_offers_key ON offers (key)",
    "ix_study_trials_key ON study_trials (key)",
    "offers_placed ON offers (owner, place)",
    "trials_begun ON trials (created, key)",
    "trials_listed ON trials (key, created, state, seconds, peak_bytes, model_bytes, trial)",
    "trials_running ON trials (state, owner)",
]


def said(what, dialect):
    return " ".join(str(what.compile(dialect=dialect)).replace('"', "").split())


def test_every_column_of_every_table():
    assert set(metadata.tables) == set(TABLES)
    for name, columns in TABLES.items():
        parts = [
            f"{column.strip('/?')} {kind}{'' if column.endswith('?') else ' NOT NULL'}"
            for column, kind in columns.items()
        ]
        parts.append(f"PRIMARY KEY ({', '.join(c.strip('/') for c in columns if c[0] == '/')})")
        parts += ["UNIQUE (digest)"] if name == "studies" else []
        made = said(CreateTable(metadata.tables[name]), sqlite.dialect())
        assert made == f"CREATE TABLE {name} ( {', '.join(parts)} )"


def test_every_index():
    found = [index for table in metadata.tables.values() for index in table.indexes]
    assert sorted(said(CreateIndex(i), sqlite.dialect()) for i in found) == [f"CREATE INDEX {i}" for i in INDEXES]
    pytest.importorskip("psycopg", reason="the driver of PostgreSQL is not installed")
    sent = []
    metadata.create_all(
        create_mock_engine("postgresql+psycopg://", lambda what, *more: sent.append(what)), checkfirst=False
    )
    made = [said(what, postgresql.dialect()) for what in sent if isinstance(what, CreateIndex)]
    longest = "trials_listed"  # an entry there may be no longer than a part of a page
    assert sorted(made) == [f"CREATE INDEX {i}" for i in INDEXES if not i.startswith(longest)]

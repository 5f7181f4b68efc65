"""The list of studies in a file, read with Python's own sqlite3: a look at it does not wait for SQLAlchemy."""

import contextlib
import sqlite3
import time
from pathlib import Path
from urllib.parse import quote

from smidgen.studies import SCHEMA
from smidgen.studies.stored import Study, study_of

PATIENCE = 5.0  # seconds that a writer is waited for
QUERY = """
SELECT id, task_name, fingerprint, options, asked, created, updated, state, owner, lease_until, summary,
    '[]' AS trials, (SELECT count(*) FROM study_trials WHERE study_trials.study = studies.id) AS count
FROM studies ORDER BY updated DESC, id
"""


def glance(path: Path | str) -> list[tuple[Study, int]] | None:
    """Pairs (study, number of its trials), the latest first, as `listing.list_studies` gives them; None where the file
    cannot be read at once (not there, older, newer, damaged, busy): open it whole, which mends that or says what it is.

    Raises:
        BadInput: a row that does not hold what it should.
    """
    place = Path(path).absolute()
    try:
        with contextlib.closing(
            sqlite3.connect(f"file:{quote(str(place))}?mode=ro", uri=True, timeout=PATIENCE)
        ) as connection:
            connection.execute("PRAGMA trusted_schema=OFF")  # a file from elsewhere is data, its views run nothing
            connection.row_factory = sqlite3.Row
            if [tuple(row) for row in connection.execute("SELECT version FROM smidgen_store")] != [(SCHEMA,)]:
                return None
            rows = [dict(row) for row in connection.execute(QUERY)]
    except (sqlite3.Error, UnicodeError, OverflowError):
        return None
    now = time.time()
    return [(study_of(row, now, str(path)), int(row["count"])) for row in rows]

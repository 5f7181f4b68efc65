"""Room on the disk that removed studies took: SQLite keeps it in the file, and gives it back when asked."""

import contextlib
import sqlite3
from pathlib import Path

PATIENCE = 1.0  # seconds that another user of the file is waited for


def give_back(path: Path | str) -> None:
    """Writes a run store's file anew where at least half of it is empty, so that this takes no longer than what was
    removed was large. Does nothing where the file is in use just then, or where the disk has no room for that."""
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)) as raw,
    ):
        raw.execute("PRAGMA trusted_schema=OFF")  # a file from elsewhere is data, its views run nothing
        free, pages = (raw.execute(f"PRAGMA {what}").fetchone()[0] for what in ("freelist_count", "page_count"))
        if free and 2 * free >= pages:
            raw.execute("VACUUM")
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")

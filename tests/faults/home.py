"""The home folder of a soak: its tables, what its store holds, which processes it has."""

import sqlite3
import time
from pathlib import Path

import numpy as np
import pandas as pd

TABLES = {"numbers": "kind", "mixed": "kwh", "few": "kind"}  # and the target of each
ROWS = 7  # to be predicted, one of them blank


def write_tables(home: Path) -> None:
    rng = np.random.default_rng(0)
    for name, target in TABLES.items():
        n = 12 if name == "few" else 80
        frame = pd.DataFrame(rng.normal(size=(n + 6, 5)).round(3), columns=list("abcde"))
        frame["colour"] = rng.choice(["red", "blue", None], n + 6)
        if name == "mixed":
            frame["when"] = pd.date_range("2024-01-01", periods=n + 6, freq="31h").strftime("%d.%m.%Y")
            frame[target] = (3 * frame.a + frame.b).round(2)
        else:
            frame[target] = np.where(frame.a + rng.normal(size=n + 6) > 0, "yes", "no")
        form = {"sep": ";", "decimal": ","} if name == "mixed" else {}
        frame[:n].to_csv(home / f"{name}.csv", index=False, **form)
        new = frame[n:].drop(columns=target).reset_index(drop=True)
        blank = pd.DataFrame([[None] * new.shape[1]], columns=new.columns)
        pd.concat([new[:3].astype(object), blank, new[3:].astype(object)]).to_csv(
            home / f"{name}-new.csv", index=False, **form
        )
    (home / "ragged.csv").write_text("a,b,kind\n" + "1,2,x\n" * 9 + "1,2\n")


def stored(path: Path) -> tuple[dict[str, int], int, int]:
    """Rows by table, bytes that are in use, bytes of the file."""
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        names = [name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = {name: raw.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names}
        told = ("page_count", "freelist_count", "page_size")
        pages, free, size = (raw.execute(f"PRAGMA {what}").fetchone()[0] for what in told)
    raw.close()
    return rows, (pages - free) * size, pages * size


def running_in(folder: Path, but: int) -> list[str]:
    """Processes that have this folder for their own, a moment after."""
    for _ in range(50):
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                if (place / "cwd").readlink() == folder and int(place.name) != but:
                    found.append(f"{place.name} {(place / 'cmdline').read_text()[:80]}")
            except OSError:
                continue
        if not found:
            return []
        time.sleep(0.2)
    return found

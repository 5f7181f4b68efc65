"""What a person waits for before anything is learnt: import, --help, predict on 10,000 rows. Medians.

    python benchmarks/startup.py run
    python benchmarks/startup.py show

Writes results/startup.json, with the machine and the versions on which all results of that day were measured.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import pandas as pd

from draws import read_table, table_draw
from smidgen.kit.machine import machine, versions

RESULTS = Path(__file__).resolve().parent / "results" / "startup.json"
ROWS = 10_000
VERSIONS = ("numpy", "scipy", "scikit-learn", "pandas", "torch", "lightgbm")


def median_seconds(command: list, times: int) -> float:
    """Wall seconds of fresh processes, the first (cold disk) left out."""
    spent = []
    for _ in range(times + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        spent.append(time.perf_counter() - start)
    return statistics.median(spent[1:])


def measure(times: int) -> dict:
    python = [sys.executable]
    bare = median_seconds([*python, "-c", "pass"], times)
    out = {
        "python_seconds": bare,
        "import_seconds": median_seconds([*python, "-c", "import smidgen"], times) - bare,
        "help_seconds": median_seconds([*python, "-m", "smidgen", "--help"], times),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw = table_draw("tab_adult", 200, 0)
        assert draw is not None
        draw.train.to_csv(folder / "train.csv", index=False)
        rows = read_table("tab_adult").drop(columns="target")
        pd.concat([rows] * (1 + ROWS // len(rows))).head(ROWS).to_csv(folder / "new.csv", index=False)
        subprocess.run(
            [
                *python,
                "-m",
                "smidgen",
                "fit",
                folder / "train.csv",
                "--target",
                "target",
                "--time",
                "18s",
                "--out",
                folder / "model",
                "--store",
                f"sqlite:///{folder}/runs.db",
                "--json",
            ],
            check=True,
            capture_output=True,
        )
        out["predict_rows"] = ROWS
        predict = [*python, "-m", "smidgen", "predict", folder / "model", folder / "new.csv", "--out", folder / "p.csv"]
        out["predict_seconds"] = median_seconds(predict, times)
    found = versions(VERSIONS)
    here = {**machine(), "python": found.pop("python"), "versions": found}
    return {**out, "date": date.today().isoformat(), "machine": here}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["run", "show"])
    parser.add_argument("--times", type=int, default=7)
    args = parser.parse_args()
    if args.verb == "run":
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(measure(args.times), indent=1) + "\n")
    print(RESULTS.read_text() if RESULTS.exists() else "nothing measured yet: python benchmarks/startup.py run")


if __name__ == "__main__":
    main()

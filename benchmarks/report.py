"""How large the report of a large study is, how soon it is made, and how soon a browser has opened it.

    python benchmarks/report.py run        # half a minute; writes benchmarks/results/report.json (needs Chromium)

The study has 5,000 trials: 250 candidates on a classification of 600 rows in 12 classes with 200 columns. Its summary
is made by the functions that make the real ones; only the predictions are drawn at random. The page is opened from
disk in a new headless window each time, up to the end of its load event, its script included; the first opening (cold)
does not count.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import smidgen
from smidgen.kit.machine import machine, versions
from smidgen.studies import summary
from smidgen.studies.candidates import BASELINE, Candidate, Skipped
from smidgen.studies.choose import Choice, OutOfFold
from smidgen.studies.compare import compare
from smidgen.studies.doubts import doubts
from smidgen.studies.estimate import IntervalConfig, Judged
from smidgen.tasks.metrics import METRICS
from smidgen.tasks.read import read
from smidgen.tasks.task import Task
from smidgen.web.report import report

RESULTS = Path(__file__).parent / "results" / "report.json"
ROWS, CLASSES, COLUMNS, CANDIDATES, REPEATS, FOLDS = 600, 12, 200, 250, 4, 5
METHODS = ("logistic", "svm", "knn", "forest", "extra_trees", "lda", "naive_bayes", "boosting", "gaussian_process")
TIMES = 9
MOST_BYTES, MOST_SECONDS = 1_000_000, 1.0
OPTIONS = "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update"


def make_task(rng: np.random.Generator) -> Task:
    frame = pd.DataFrame({f"measured quantity no. {k}": rng.normal(size=ROWS) for k in range(COLUMNS)})
    return read(frame.assign(outcome=[f"outcome {v:02d}" for v in rng.integers(0, CLASSES, ROWS)]), "outcome")


def make_board(task: Task, rng: np.random.Generator) -> OutOfFold:
    """Predictions of candidates of all strengths; the last one knows nothing."""
    right = np.eye(CLASSES)[task.target]
    strength = np.append(np.linspace(3.0, 0.4, CANDIDATES - 1), 0.0)
    noise = rng.normal(size=(CANDIDATES, REPEATS, ROWS, CLASSES))
    score = np.exp(strength[:, None, None, None] * right + 0.8 * noise)
    score[-1] = 1.0
    prior = np.full(CANDIDATES, 1 / CANDIDATES)
    return OutOfFold(score / score.sum(-1, keepdims=True), task.target, prior, np.arange(ROWS))


def make_summary() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    task = make_task(rng)
    board, metric, interval = make_board(task, rng), METRICS["log_loss"], IntervalConfig(resamples=50)
    tried = [
        Candidate(f"learn/{METHODS[k % len(METHODS)]}", f"view_{k // len(METHODS)}+linear", {"strength": 0.1 * k})
        for k in range(CANDIDATES - 1)
    ]
    tried.append(Candidate(BASELINE, "linear"))
    weights = np.zeros(CANDIDATES)
    weights[:8] = 1 / 8
    choice = Choice(weights, np.zeros(CANDIDATES))
    judged = Judged(
        np.tile(np.arange(ROWS), REPEATS),
        board.predictions[-20].reshape(-1, CLASSES),
        np.full(ROWS * REPEATS, 1 / REPEATS),
    )
    skipped = [Skipped(f"learn/absent_{k}", "columns", "needs 3.1 GB, there are 2.0 GB") for k in range(20)]
    seconds = {c.key: float(rng.uniform(0.01, 9)) for c in tried}
    rows = summary.leaderboard(board, tried, choice, metric, [], skipped, seconds, interval, 0)
    found = summary.measured(judged, task, board.units, metric, interval, 0)
    trials = CANDIDATES * REPEATS * FOLDS
    points = zip((75, 150, 300, 600), (1.6, 1.2, 0.9, found["estimate"]), strict=True)
    return {
        "model": "large-model",
        "study": "large-000000",
        "method": summary.named(tried, weights),
        "metric": metric.name,
        **summary.described(task),
        **found,
        "doubts": doubts(judged, task),
        "seconds": 3600.0,
        "spent": {"labels": ROWS, "trials": trials, "fits": trials, "seconds": 3600.0, "cpu_seconds": 7100.0},
        "leaderboard": rows,
        "comparisons": compare(board, tried, choice, metric.name, rows, interval),
        "curve": [{"n": n, "estimate": e, "interval": [0.9 * e, 1.1 * e]} for n, e in points],
        "baseline": summary.baseline(board, tried, metric, task.kind),
        "seed": 0,
        "version": smidgen.__version__,
        "created": "2026-01-01T00:00:00Z",
    }


def open_seconds(html: str, scripts: bool) -> float:
    """Median time from asking for the page to the end of its load event."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        sys.exit("This needs Chromium.")
    spent = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        (Path(folder) / "report.html").write_text(html, encoding="utf-8")
        browser = started.chromium.launch(executable_path=chromium, args=[*OPTIONS.split(), "--disable-sync"])
        for _ in range(TIMES + 1):
            context = browser.new_context(java_script_enabled=scripts)
            page = context.new_page()
            begun = time.perf_counter()
            page.goto((Path(folder) / "report.html").as_uri(), wait_until="load")
            spent.append(time.perf_counter() - begun)
            if scripts:  # the script ran: the table can be sorted
                assert page.locator("#board th button").count() == 3
            context.close()
        browser.close()
    return statistics.median(spent[1:])


def run() -> None:
    found = make_summary()
    assert len(found["leaderboard"]) == CANDIDATES + 20 and len(found["comparisons"]["names"]) == 12
    assert len(found["doubts"]["wrong"]) == 20 and len(found["doubts"]["labels"]) > 0
    spent = []
    for _ in range(TIMES + 1):
        begun = time.perf_counter()
        html = report(found)
        spent.append(time.perf_counter() - begun)
    out = {
        "date": date.today().isoformat(),
        "trials": found["spent"]["trials"],
        "candidates": CANDIDATES,
        "summary_bytes": len(json.dumps(found)),
        "report_bytes": len(html.encode()),
        "render_seconds": round(statistics.median(spent[1:]), 4),
        "open_seconds": round(open_seconds(html, scripts=True), 4),
        "open_seconds_without_script": round(open_seconds(html, scripts=False), 4),
        "machine": machine(),
        "versions": versions(("jinja2", "playwright")),
    }
    print(json.dumps(out, indent=1))
    assert out["report_bytes"] < MOST_BYTES and out["open_seconds"] < MOST_SECONDS
    RESULTS.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run"])
    parser.parse_args()
    run()

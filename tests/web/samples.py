"""Made-up summaries of every shape that a report must bear."""

import math
import random
from typing import Any


def two_classes() -> dict[str, Any]:
    board = [
        row(
            "learn/logistic",
            "linear",
            0.312,
            (0.226, 0.421),
            chosen=True,
            weight=0.62,
            seconds=1.2,
            params={"strength": 0.31},
        ),
        row("learn/shrinkage_lda", "linear", 0.329, (0.231, 0.448), chosen=True, weight=0.25, seconds=0.3),
        row("learn/extra_trees", "tree", 0.348, (0.262, 0.451), chosen=True, weight=0.13, seconds=4.7),
        row("learn/forest", "tree", 0.362, (0.271, 0.472), seconds=5.1),
        row("learn/gaussian_process", "linear", 0.366, (0.262, 0.499), seconds=2.2),
        row("learn/svm", "linear", 0.391, (0.288, 0.513), seconds=1.1),
        row("learn/knn", "linear", 0.442, (0.318, 0.59), seconds=0.2),
        row("learn/histogram_boosting", "tree", 0.468, (0.324, 0.641), seconds=9.8),
        row("learn/naive_bayes", "linear", 0.88, (0.5, 1.42), seconds=0.1, note="stopped after 1 repeat: hopeless"),
        row("learn/constant", "linear", 0.693, (0.66, 0.72), seconds=0.01),
        row("learn/tabpfn", "columns", None, None, note="needs 3.1 GB, there are 2.0 GB"),
        row("learn/catboost", "columns", None, None, note="needs the package 'catboost': pip install 'smidgen[trees]'"),
    ]
    return {
        "model": "reviews-model",
        "study": "5f3a9c",
        "method": "0.62 learn/logistic (linear) + 0.25 learn/shrinkage_lda (linear) + ...",
        "metric": "log_loss",
        "kind": "classification",
        "estimate": 0.324,
        "interval": [0.238, 0.437],
        "level": 0.9,
        "accuracy": 0.862,
        "accuracy_interval": [0.779, 0.931],
        "seconds": 31.4,
        "spent": {
            "labels": 50,
            "trials": 118,
            "fits": 590,
            "seconds": 31.4,
            "cpu_seconds": 58.9,
            "peak_memory_bytes": 412_000_000,
            "model_bytes": 184_000,
        },
        "leaderboard": board,
        "target": "churned",
        "n": 50,
        "classes": ["no", "yes"],
        "class_counts": [29, 21],
        "columns": [
            {"name": "age", "kind": "number", "note": ""},
            {"name": "plan", "kind": "category", "note": "4 values"},
            {"name": "joined", "kind": "date", "note": ""},
            {"name": "last message", "kind": "text", "note": "about 38 words each"},
            {"name": "customer", "kind": "id", "note": "50 different values in 50 rows"},
            {"name": "country", "kind": "constant", "note": "always 'FR'"},
        ],
        "findings": [
            {"level": "note", "text": "3 cells of 'age' are missing."},
            {"level": "warning", "text": "2 rows are exact duplicates: they are kept on the same side of every split."},
        ],
        "unlabelled": 950,
        "curve": [
            {"n": 12, "estimate": 0.571, "interval": [0.41, 0.76]},
            {"n": 20, "estimate": 0.462, "interval": [0.34, 0.61]},
            {"n": 32, "estimate": 0.388, "interval": [0.284, 0.51]},
            {"n": 50, "estimate": 0.324, "interval": [0.238, 0.437]},
        ],
        "calibration": [
            {"predicted": 0.07, "observed": 0.05, "count": 14},
            {"predicted": 0.21, "observed": 0.3, "count": 10},
            {"predicted": 0.48, "observed": 0.4, "count": 5},
            {"predicted": 0.74, "observed": 0.8, "count": 9},
            {"predicted": 0.93, "observed": 0.92, "count": 12},
        ],
        "confusion": [[26, 3], [4, 17]],
        "residuals": None,
        "baseline": {"estimate": 0.684, "accuracy": 0.58},
        "comparisons": comparisons(board[:8], "log_loss", 0.08),
        "doubts": {
            "wrong": [doubt(37, "no", "yes", 0.97, 0.03), doubt(4, "yes", "no", 0.91, 0.09)],
            "labels": [doubt(37, "no", "yes", 0.97, 0.03)],
            "counts": {"wrong": 7, "labels": 1},
        },
        "warnings": [],
        "seed": 0,
        "version": "0.1.0",
        "created": "2026-11-24T14:00:00Z",
    }


def many_classes(count: int = 20) -> dict[str, Any]:
    rng = random.Random(3)
    names = [
        f"card_{w}"
        for w in (
            "arrival",
            "delivery_estimate",
            "linking",
            "not_working",
            "payment_fee",
            "swallowed",
            "about_to_expire",
        )
    ]
    names = sorted((names + [f"intent {i}" for i in range(count)])[:count])
    matrix = [
        [max(0, round(rng.gauss(24 if i == j else 0.2, 3 if i == j else 1.0))) for j in range(count)]
        for i in range(count)
    ]
    return {
        **two_classes(),
        "target": "intent",
        "classes": names,
        "class_counts": [sum(r) for r in matrix],
        "n": sum(map(sum, matrix)),
        "confusion": matrix if count <= 20 else None,
        "estimate": 0.91,
        "interval": [0.84, 0.99],
        "accuracy": 0.78,
        "accuracy_interval": [0.75, 0.81],
        "baseline": {"estimate": math.log(count), "accuracy": 1 / count},
        "leaderboard": [
            row(m, "minilm", e, (e - 0.08, e + 0.09), chosen=i < 1, weight=1.0 if i < 1 else None, seconds=2.0 + i)
            for i, (m, e) in enumerate(
                [("learn/logistic", 0.9), ("learn/shrinkage_lda", 0.93), ("learn/svm", 1.1), ("learn/knn", 1.9)]
            )
        ],
        "curve": [
            {"n": n, "estimate": 0.91 + 0.2 * (1 - n / 640), "interval": [0.85, 1.2]} for n in (80, 160, 320, 640)
        ],
    }


def regression() -> dict[str, Any]:
    rng = random.Random(1)
    truth = [round(rng.lognormvariate(11.9, 0.4)) * 1.0 for _ in range(200)]
    return {
        **two_classes(),
        "kind": "regression",
        "metric": "rmse",
        "target": "price",
        "classes": [],
        "class_counts": [],
        "estimate": 34_120.0,
        "interval": [29_400.0, 40_800.0],
        "accuracy": None,
        "accuracy_interval": None,
        "r2": 0.61,
        "r2_interval": [0.52, 0.69],
        "comparisons": None,
        "doubts": {
            "wrong": [
                {"row": 1041, "name": "", "truth": 412_000.0, "predicted": 198_500.0, "gap": 6.31},
                {"row": None, "name": "", "truth": 99_000.0, "predicted": 171_000.0, "gap": -2.4},
            ],
            "labels": [],
            "counts": {"wrong": 2, "labels": 0},
        },
        "n": 200,
        "baseline": {"estimate": 61_900.0},
        "confusion": None,
        "calibration": None,
        "unlabelled": 0,
        "findings": [],
        "residuals": {"truth": truth, "predicted": [t * rng.lognormvariate(0, 0.15) for t in truth]},
        "leaderboard": [
            row(m, v, e, (e * 0.87, e * 1.2), chosen=i < 2, weight=0.5 if i < 2 else None, seconds=1.5 * i + 0.1)
            for i, (m, v, e) in enumerate(
                [
                    ("learn/gaussian_process", "linear", 33_900.0),
                    ("learn/extra_trees", "tree", 35_200.0),
                    ("learn/ridge", "linear", 38_800.0),
                    ("learn/knn", "linear", 47_000.0),
                    ("learn/constant", "linear", 61_900.0),
                    ("learn/naive", "tree", 4.1e6),
                ]
            )
        ],
        "curve": [
            {"n": n, "estimate": e, "interval": [e * 0.85, e * 1.2]}
            for n, e in ((25, 36_000.0), (50, 35_100.0), (100, 34_600.0), (200, 34_120.0))
        ],
    }


def tiny() -> dict[str, Any]:
    """Six rows: hardly anything is known, most parts are absent."""
    return {
        "model": "m",
        "study": "a1",
        "method": "learn/constant (linear)",
        "metric": "log_loss",
        "kind": "classification",
        "estimate": 0.66,
        "interval": [0.2, 1.9],
        "level": 0.9,
        "accuracy": 0.5,
        "seconds": 0.8,
        "spent": {"labels": 6, "trials": 4, "fits": 12},
        "leaderboard": [
            row("learn/logistic", "linear", 0.64, (0.2, 1.8), chosen=True, weight=1.0),
            row("learn/constant", "linear", 0.69, (0.6, 0.8)),
        ],
        "target": "ok",
        "n": 6,
        "classes": [False, True],
        "class_counts": [4, 2],
        "columns": [{"name": "x", "kind": "number", "note": ""}],
        "findings": [],
        "unlabelled": 0,
        "curve": None,
        "calibration": None,
        "confusion": None,
        "residuals": None,
        "baseline": {"estimate": 0.69, "accuracy": 0.67},
        "warnings": ["Only 2 rows of class 'True': every number here is rough."],
    }


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'onmouseover='alert(1)",
    "]]></svg><script>alert(2)</script>",
    "{{ 7*7 }}{% raw %}",
    "javascript:alert(3)",
    "a\x00b\x1b[31mred\u202egnp.exe",
    "\ud800lone",
    "&lt;b&gt;",
    "</style><style>*{display:none}",
    "x" * 5000,
    '=HYPERLINK("http://evil.test")',
    "<a href=//evil.test>go</a>",
    "--><!--",
]


def hostile() -> dict[str, Any]:
    """The two-class study with every text that a file can bring replaced by an attack."""
    base = two_classes()
    base |= {
        "target": HOSTILE[0],
        "classes": HOSTILE,
        "class_counts": [3] * len(HOSTILE),
        "confusion": [[2] * len(HOSTILE) for _ in HOSTILE],
        "columns": [{"name": h, "kind": kind, "note": h} for h in HOSTILE for kind in ("number", "id", h)],
        "findings": [{"level": level, "text": h} for h in HOSTILE for level in ("note", "warning")],
        "warnings": HOSTILE,
        "method": HOSTILE[1],
        "study": HOSTILE[2],
        "model": HOSTILE[3],
        "version": HOSTILE[4],
        "created": HOSTILE[6],
        "metric": HOSTILE[1],
        "leaderboard": [
            row(h, h, 0.3 + i / 10, (0.2, 0.9), chosen=i < 2, params={h: h, "n": 1}, note=h)
            for i, h in enumerate(HOSTILE)
        ]
        + [row(h, h, None, None, note=h) for h in HOSTILE],
        "spent": {"labels": 50, HOSTILE[0]: 3},
        "doubts": {
            "wrong": [{**doubt(3, h, h, 0.9, 0.1), "name": h} for h in HOSTILE],
            "labels": [{"row": h, "name": None, "truth": h, "predicted": None, "probability": h} for h in HOSTILE],
            "counts": {"wrong": HOSTILE[0]},
        },
    }
    base["comparisons"] = comparisons(base["leaderboard"][:12], HOSTILE[5], 0.2)
    return base


def comparisons(board: list[dict], metric: str, half: float) -> dict[str, Any]:
    """All pairs of rows of a leaderboard, with intervals of one width."""
    losses = [one["estimate"] for one in board]
    return {
        "metric": metric,
        "level": 0.9,
        "names": [{key: one[key] for key in ("method", "view", "params")} for one in board],
        "gaps": [
            [None if i == j else [a - b, a - b - half, a - b + half] for j, b in enumerate(losses)]
            for i, a in enumerate(losses)
        ],
    }


def doubt(at: int, truth: str, predicted: str, probability: float, given: float) -> dict[str, Any]:
    return {
        "row": at,
        "name": "",
        "truth": truth,
        "predicted": predicted,
        "probability": probability,
        "given": given,
    }


def row(
    method: str,
    view: str,
    estimate: float | None,
    interval: tuple[float, float] | None,
    *,
    chosen: bool = False,
    weight: float | None = None,
    seconds: float | None = 1.0,
    params: dict | None = None,
    note: str = "",
) -> dict[str, Any]:
    return {
        "method": method,
        "view": view,
        "params": params or {},
        "estimate": estimate,
        "interval": list(interval) if interval else None,
        "seconds": seconds,
        "chosen": chosen,
        "weight": weight,
        "repeats": 3,
        "note": note,
    }

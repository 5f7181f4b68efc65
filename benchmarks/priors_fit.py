"""From the development cells to priors.json, and a table of what each setting of the choice would have given there.

Each setting is judged leaving out the cell's own data set: the prior that a cell sees was fitted on the others.
"""

import datetime
import itertools
import json
import platform
from collections import defaultdict
from pathlib import Path

import numpy as np

from smidgen import __version__
from smidgen.learn.blend import blend, tempered
from smidgen.studies.choose import ChoiceConfig, OutOfFold, choose
from smidgen.studies.estimate import IntervalConfig, estimate, judge
from smidgen.studies.priors import FILE, describe
from smidgen.tasks.metrics import METRICS

RIDGE = 8.0  # pseudo-observations that pull a coefficient to 0
CLIP = 0.5  # nats: one disaster counts no more than this
MIN_TASKS = 3
SHARPNESS = 16.0


def load(folder: Path) -> list[dict]:
    cells = []
    for path in sorted(folder.glob("*.npz")):
        z = np.load(path)
        about = json.loads(str(z["about"]))
        cells.append(
            {
                **about,
                "out": z["out"].astype(float),
                "test": z["test"].astype(float),
                "y": z["y"],
                "y_test": z["y_test"].astype(int),
                "units": z["units"],
            }
        )
    return cells


def log_loss(p: np.ndarray, y: np.ndarray) -> float:
    return float(-np.log(np.maximum(p[np.arange(len(y)), y], np.finfo(np.float32).eps)).mean())


def accuracy(p: np.ndarray, y: np.ndarray) -> float:
    return float((p.argmax(1) == y).mean())


def features(c: dict) -> np.ndarray:
    return describe(c["n"], c["features"], c["classes"], c["categories"])


def test_losses(c: dict) -> np.ndarray:
    """Each candidate's test loss at the temperature that its own out-of-fold rows would have given it."""
    board = OutOfFold(c["out"], c["y"], np.full(len(c["names"]), 1 / len(c["names"])), c["units"])
    log_t = choose(board, ChoiceConfig()).log_t
    return np.array([log_loss(tempered(p, t), c["y_test"]) for p, t in zip(c["test"], log_t, strict=True)])


def fit_prior(cells: list[dict]) -> dict[str, list[float]]:
    """Coefficients over `describe` by "method view": ridge regression of the clipped excess test loss."""
    rows: dict[str, list[tuple[np.ndarray, float, str]]] = defaultdict(list)
    for c in cells:
        excess = np.clip(c["losses"] - np.median(c["losses"]), -CLIP, CLIP)
        for name, e in zip(c["names"], excess, strict=True):
            rows[name].append((features(c), e, c["name"]))
    out = {}
    for name, own in rows.items():
        X, e = np.array([r[0] for r in own]), np.array([r[1] for r in own])
        if len({r[2] for r in own}) < min(MIN_TASKS, len({c["name"] for c in cells})):
            continue
        penalty = RIDGE * np.eye(X.shape[1])
        penalty[0, 0] = 1.0
        out[name] = np.linalg.solve(X.T @ X + penalty, X.T @ e).round(5).tolist()
    return out


def prior_of(c: dict, known: dict[str, list[float]], sharpness: float) -> np.ndarray:
    x = features(c)
    z = np.array([-sharpness * float(x @ np.array(known[n])) if n in known else 0.0 for n in c["names"]])
    w = np.exp(z - z.max())
    return w / w.sum()


def judged(c: dict, prior: np.ndarray, config: ChoiceConfig) -> tuple[float, float]:
    choice = choose(OutOfFold(c["out"], c["y"], prior, c["units"]), config)
    k = np.flatnonzero(choice.weights)
    p = blend([c["test"][i] for i in k], choice.weights[k].tolist(), choice.log_t[k].tolist())
    return log_loss(p, c["y_test"]), accuracy(p, c["y_test"])


def coverage(cells: list[dict], without: dict[str, dict]) -> None:
    """How often the interval of the estimate holds the test score, for several widths."""
    config = ChoiceConfig()
    rows = []
    for c in cells:
        prior = prior_of(c, without[c["name"].split("/")[0]], SHARPNESS)
        board = OutOfFold(c["out"], c["y"], prior, c["units"])
        rows.append((c, judge(board, config, 0), *judged(c, prior, config)))
    for widen in (1.0, 1.2, 1.35, 1.5, 1.7):
        interval = IntervalConfig(widen=widen, widen_accuracy=widen)
        held = []
        for c, left_out, loss, share in rows:
            found = [estimate(left_out, c["y"], c["units"], METRICS[m], interval, 0) for m in ("log_loss", "accuracy")]
            held.append(
                [e.low <= truth <= e.high for e, truth in zip(found, (loss, share), strict=True)]
                + [abs(e.value - truth) for e, truth in zip(found, (loss, share), strict=True)]
            )
        h = np.mean(held, 0)
        print(
            f"  widened {widen:.2f}: covers log loss {h[0]:.3f}, accuracy {h[1]:.3f}; mean gap {h[2]:.3f}, {h[3]:.3f}"
        )


def limits(cells: list[dict], without: dict[str, dict]) -> None:
    """By number of rows: the blend, beside what choosing could reach at most with these methods."""
    for n in sorted({c["n"] for c in cells}):
        own = [c for c in cells if c["n"] == n]
        blended = [judged(c, prior_of(c, without[c["name"].split("/")[0]], SHARPNESS), ChoiceConfig())[0] for c in own]
        best = [c["losses"].min() for c in own]
        seen = [judged(on_test_rows(c), even(c), ChoiceConfig(prior_rows=0.1, evidence=0.0))[0] for c in own]
        print(
            f"  {n} rows: blend {np.mean(blended):.4f}; best single with hindsight {np.mean(best):.4f}; "
            f"best blend with hindsight {np.mean(seen):.4f} ({len(own)} cells)"
        )


def absences(cells: list[dict], without: dict[str, dict]) -> None:
    """What the blend would be without each method, and without the one that is missed most task by task."""
    priors = [without[c["name"].split("/")[0]] for c in cells]

    def blends(name: str) -> np.ndarray:
        left = [lacking(c, name) for c in cells]
        return np.array(
            [judged(c, prior_of(c, p, SHARPNESS), ChoiceConfig()) for c, p in zip(left, priors, strict=True)]
        )

    whole = blends("")
    lost = {name: blends(name) for name in sorted({n for c in cells for n in c["names"]})}
    for name, got in sorted(lost.items(), key=lambda kv: -kv[1][:, 0].mean()):
        print(f"  without {name:35} log loss {got[:, 0].mean():.4f}  accuracy {got[:, 1].mean():.4f}")
    missed = max(lost, key=lambda name: lost[name][:, 0].mean())
    for c, has, lacks in zip(cells, whole, lost[missed], strict=True):
        print(
            f"  {c['name']}, {c['n']} rows: log loss {has[0]:.3f}  accuracy {has[1]:.3f}; "
            f"without {missed} {lacks[0]:.3f}  {lacks[1]:.3f}"
        )


def lacking(c: dict, name: str) -> dict:
    """The cell without one of its methods."""
    kept = [k for k, n in enumerate(c["names"]) if n != name]
    return {**c, "names": [c["names"][k] for k in kept], "out": c["out"][kept], "test": c["test"][kept]}


def on_test_rows(c: dict) -> dict:
    """The cell as if its test rows had been there to choose by."""
    return {**c, "out": c["test"][:, None], "y": c["y_test"], "units": np.arange(len(c["y_test"]))}


def even(c: dict) -> np.ndarray:
    return np.full(len(c["names"]), 1 / len(c["names"]))


def left_out_priors(cells: list[dict]) -> dict[str, dict]:
    """By data set (a table cut in two ways is one), the prior fitted without it."""
    base = {c["name"].split("/")[0] for c in cells}
    return {b: fit_prior([c for c in cells if c["name"].split("/")[0] != b]) for b in base}


def main(folder: Path, only: str = "") -> None:
    cells = [c for c in load(folder) if c["kind"].startswith(only)]
    for c in cells:
        c["losses"] = test_losses(c)
    for kind in sorted({c["kind"] for c in cells}):
        own = [c for c in cells if c["kind"] == kind]
        print(f"\n{kind}: {len(own)} cells, {len({c['name'] for c in own})} tasks")
        single = defaultdict(list)
        for c in own:
            for name, value in zip(c["names"], c["losses"], strict=True):
                single[name].append(value - c["losses"].min())
        for name, values in sorted(single.items(), key=lambda kv: np.mean(kv[1])):
            print(f"  {name:40} {np.mean(values):.4f} behind the best, {len(values)} cells")
        without = left_out_priors(own)
        print(f"  best single, if one knew it: {np.mean([c['losses'].min() for c in own]):.4f}")
        for eta, a, sharp in itertools.product((0.0, 0.1, 0.2, 0.4), (4.0, 8.0, 20.0), (0.0, 8.0, 16.0)):
            config = ChoiceConfig(prior_rows=a, evidence=eta)
            got = np.array([judged(c, prior_of(c, without[c["name"].split("/")[0]], sharp), config) for c in own])
            print(
                f"  evidence {eta:.1f}  prior rows {a:3.0f}  sharpness {sharp:3.0f}: log loss {got[:, 0].mean():.4f} "
                f"(geometric {np.exp(np.log(got[:, 0]).mean()):.4f})  accuracy {got[:, 1].mean():.4f}"
            )
        coverage(own, without)
        absences(own, without)
        if kind == "table":
            limits(own, without)
    before = json.loads(FILE.read_text()) if only else {"methods": {}, "tasks": {}}
    known = {kind: fit_prior([c for c in cells if c["kind"] == kind]) for kind in sorted({c["kind"] for c in cells})}
    tasks = {kind: sorted({c["name"] for c in cells if c["kind"] == kind}) for kind in known}
    made = {
        **before,
        "made": {**before.get("made", {}), **{kind: datetime.date.today().isoformat() for kind in known}},
        "smidgen": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "features": ["1", "log(n/80)", "log(features/15)/2", "log(classes/2)", "share of category columns - 0.2"],
        "tasks": {**before["tasks"], **tasks},
        "sharpness": SHARPNESS,
        "methods": {**before["methods"], **known},
    }
    FILE.write_text(json.dumps(made, indent=1) + "\n")
    print(f"\nwritten: {FILE}")

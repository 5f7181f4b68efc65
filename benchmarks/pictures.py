"""Few labelled pictures, many without a label: smidgen beside what a person would try by hand.

    python benchmarks/pictures.py run [--sets mnist10k,...] [--tools smidgen,...] [--draws 1]
    python benchmarks/pictures.py develop      # the same on scikit-learn's digits and cifar10_subset; printed only
    python benchmarks/pictures.py show

Ten labels a class, the rest of the training part without labels, ten minutes for smidgen (`fit --unlabelled`, all that
it tries by itself). Scored on the set's own test part; of omniglot_small1, which has none, on five drawings a class,
and five are the pool. Tools: the radial support vector machine on pixels (its C and width by cross-validation), label
spreading on pixels (scikit-learn's, nearest neighbours), logistic regression on HOG (its C by cross-validation), and
the compact transformer trained on the labels alone. What each part of smidgen brings is measured beside it: consistency
training with the pool and without, and label spreading on HOG. `run` measures what results/pictures.jsonl still lacks.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from draws import DATA  # noqa: E402

RESULTS = HERE / "results" / "pictures.jsonl"
SETS = ("mnist10k", "omniglot_small1", "pneumoniamnist_balanced")
DEVELOPMENT = ("digits", "cifar10_subset")
LABELS, SECONDS = 10, 600
PEERS = ("svm_pixels", "spreading_pixels", "logistic_hog", "compact_transformer")
PARTS = ("consistency", "consistency_alone", "spreading_hog")


@dataclass(frozen=True)
class Draw:
    """Pictures uint8 `[n, H, W(, 3)]` and classes; `more` have no label."""

    name: str
    seed: int
    x: np.ndarray
    y: np.ndarray
    more: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


def draw_of(name: str, seed: int) -> Draw:
    rng = np.random.default_rng([20261129, seed])
    if name == "omniglot_small1":
        found = np.load(DATA / name / "data.npz")
        x, y = found["images"], found["labels"].astype(int)
        order = np.concatenate([rng.permutation(np.flatnonzero(y == c)) for c in np.unique(y)]).reshape(-1, 20)
        parts = [order[:, :LABELS].ravel(), order[:, LABELS:15].ravel(), order[:, 15:].ravel()]
        return Draw(name, seed, x[parts[0]], y[parts[0]], x[parts[1]], x[parts[2]], y[parts[2]])
    if name == "digits":
        from sklearn.datasets import load_digits

        whole = load_digits()
        x, y = (whole.images * 15.9).astype(np.uint8), whole.target
        order = rng.permutation(len(y))
        x, y, test_x, test_y = x[order[500:]], y[order[500:]], x[order[:500]], y[order[:500]]
    else:
        train, test = (np.load(DATA / name / f"{part}.npz") for part in ("train", "test"))
        x, y, test_x, test_y = train["images"], train["labels"].astype(int), test["images"], test["labels"].astype(int)
    first = np.concatenate([rng.permutation(np.flatnonzero(y == c))[:LABELS] for c in np.unique(y)])
    rest = np.setdiff1d(np.arange(len(y)), first)
    return Draw(name, seed, x[first], y[first], x[rest], test_x, test_y)


def smidgen(draw: Draw) -> dict:
    """Folders of PNG files, and the command line, as a person has it."""
    from PIL import Image

    with tempfile.TemporaryDirectory() as at:
        folder = Path(at)
        parts = (("train", draw.x, draw.y), ("more", draw.more, None), ("new", draw.test_x, None))
        for part, pictures, classes in parts:
            for i, picture in enumerate(pictures):
                place = folder / part / ("" if classes is None else f"c{classes[i]}")
                place.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(place / f"{i:05}.png")
        start = time.perf_counter()
        command = [sys.executable, "-m", "smidgen", "fit", "train", "--unlabelled", "more", "--time", f"{SECONDS}s"]
        done = subprocess.run([*command, "--out", "model", "--json"], cwd=folder, check=True, capture_output=True)
        seconds, said = time.perf_counter() - start, json.loads(done.stdout)
        predict = [sys.executable, "-m", "smidgen", "predict", "model", "new", "--out", "said.csv"]
        subprocess.run(predict, cwd=folder, check=True, capture_output=True)
        import pandas as pd

        rows = pd.read_csv(folder / "said.csv")
        guess = rows["prediction"]
    board = [r for r in said["leaderboard"] if r.get("weight")]
    members = {f"{r['method']} on {r['view']}": round(r["weight"], 3) for r in board if r["weight"] > 0.005}
    right = guess.to_numpy() == np.array([f"c{c}" for c in draw.test_y])
    return {"accuracy": float(right.mean()), "seconds": seconds, "promised": said.get("accuracy"), "members": members}


def _fitted(draw: Draw, method: str, encoder: str, pool: bool, **settings: object) -> dict:
    """One method of smidgen by itself, on one core."""
    from smidgen.data.views.encoders import encode
    from smidgen.kit import methods

    start = time.perf_counter()
    X, more, new = (encode(encoder, list(part)).astype(float) for part in (draw.x, draw.more, draw.test_x))
    y = draw.y
    if pool:
        X, y = np.vstack([X, more]), np.concatenate([y, np.full(len(more), -1)])
    head = methods.load(method).CLASSIFIER(random_state=draw.seed, **settings).fit(X, y)
    right = head.predict(new) == draw.test_y
    return {"accuracy": float(right.mean()), "seconds": time.perf_counter() - start}


def svm_pixels(draw: Draw) -> dict:
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    grid = {"svc__C": [1, 10, 100], "svc__gamma": ["scale", 0.0005, 0.002]}
    return _scikit(draw, GridSearchCV(make_pipeline(StandardScaler(), SVC()), grid, cv=3), _pixels)


def logistic_hog(draw: Draw) -> dict:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    model = GridSearchCV(LogisticRegression(max_iter=2000), {"C": [1, 10, 100, 1000]}, cv=3)
    return _scikit(draw, model, _hog)


def spreading_pixels(draw: Draw) -> dict:
    from sklearn.semi_supervised import LabelSpreading

    start = time.perf_counter()
    X = np.vstack([_pixels(draw.x), _pixels(draw.more)])
    y = np.concatenate([draw.y, np.full(len(draw.more), -1)])
    model = LabelSpreading(kernel="knn", n_neighbors=7, max_iter=100).fit(X, y)
    right = model.predict(_pixels(draw.test_x)) == draw.test_y
    return {"accuracy": float(right.mean()), "seconds": time.perf_counter() - start}


def _scikit(draw: Draw, model: object, see: Callable[[np.ndarray], np.ndarray]) -> dict:
    start = time.perf_counter()
    right = model.fit(see(draw.x), draw.y).predict(see(draw.test_x)) == draw.test_y  # type: ignore[attr-defined]
    return {"accuracy": float(right.mean()), "seconds": time.perf_counter() - start}


def _pixels(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1) / 255


def _hog(x: np.ndarray) -> np.ndarray:
    """Oriented gradients alone, scikit-image's, of pictures of their own size."""
    from skimage.feature import hog

    side = x.shape[1] // 4
    axis = 3 if x.ndim == 4 else None
    made = [hog(p, pixels_per_cell=(side, side), cells_per_block=(2, 2), channel_axis=axis and 2) for p in x]
    return np.array(made)


TOOLS: dict[str, Callable[[Draw], dict]] = {
    "smidgen": smidgen,
    "svm_pixels": svm_pixels,
    "spreading_pixels": spreading_pixels,
    "logistic_hog": logistic_hog,
    "compact_transformer": lambda d: _fitted(d, "learn/compact_transformer", "picture", False),
    "consistency": lambda d: _fitted(d, "learn/consistency", "picture", True),
    "consistency_alone": lambda d: _fitted(d, "learn/consistency", "picture", False),
    "spreading_hog": lambda d: _fitted(d, "learn/label_spreading", "hog", True),
}


def read_rows() -> list[dict]:
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def run(sets: list[str], tools: list[str], seeds: list[int], keep: bool) -> None:
    for seed in seeds:
        for name in sets:
            draw = draw_of(name, seed)
            for tool in tools:
                if keep and (tool, name, seed) in {(r["tool"], r["set"], r["draw"]) for r in read_rows()}:
                    continue
                about = {"tool": tool, "set": name, "draw": seed, "labels": len(draw.y), "pool": len(draw.more)}
                about |= {"test_rows": len(draw.test_y), "date": date.today().isoformat(), "load": os.getloadavg()[0]}
                row = {**about, **TOOLS[tool](draw)}
                if keep:
                    with RESULTS.open("a") as out:
                        out.write(json.dumps(row) + "\n")
                print(f"{name:26} {seed} {tool:20} {row['accuracy']:.3f} {row['seconds']:6.0f} s", flush=True)
                print("   ", row["members"]) if "members" in row else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["run", "develop", "show"])
    parser.add_argument("--sets")
    parser.add_argument("--tools", default=",".join(TOOLS))
    parser.add_argument("--draws", type=int, default=1)
    asked = parser.parse_args()
    tools = asked.tools.split(",")
    if asked.verb == "run":
        run((asked.sets or ",".join(SETS)).split(","), tools, list(range(asked.draws)), True)
    elif asked.verb == "develop":
        seeds = [1000 + i for i in range(asked.draws)]
        run((asked.sets or ",".join(DEVELOPMENT)).split(","), tools, seeds, False)
    else:
        from show_pictures import pictures_table

        print(pictures_table(read_rows()))


if __name__ == "__main__":
    main()

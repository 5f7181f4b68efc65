"""A sentence encoder made small: smidgen beside other quantizers at equal bytes, and the encoder in twelve megabytes.

    python benchmarks/compress.py run [--widths 2,3,4,8] [--seconds 300] [--peers PYTHON]
    python benchmarks/compress.py size [--seconds 300]      # the whole folder in 12 MB
    python benchmarks/compress.py develop ...                # the same on other sets; printed only

Widths: the linear layers of all-MiniLM-L6-v2 alone are quantized, embeddings stay as they are, as the others do it. The
others need no data; groups of 64 (`peers/run_quantizer.py`, in their own environment). smidgen has as many bytes as the
best of them at that width, 768 texts without labels (three sixths of them to learn from, one to choose by, two to
report by), and the seconds given. Judged on texts of the test parts: the mean cosine of 1,000 embeddings to those of
float32, and the accuracy of logistic regression on 8 labelled texts a class (three draws), read through the small
encoder. `run` and
`size` measure what results/compress.jsonl still lacks.
"""

import argparse
import gzip
import json
import os
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402
import torch  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from draws import DATA  # noqa: E402
from quantizers import PEERS, judged, keep, kept_rows, others, within  # noqa: E402
from smidgen.kit.machine import machine, versions  # noqa: E402

RESULTS = HERE / "results" / "compress.jsonl"
SETS = ("trec", "sst2", "banking77")
DEVELOPMENT = ("pros_cons", "snips_intents")
CALIBRATION = 768  # texts without labels, of the training parts
COSINES, TEST, SHOTS, DRAWS = 1000, 500, 8, 3
MEGABYTES = 12


def rows_of(name: str, part: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / name / f"{part}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def picked(rows: list, n: int, *seed: int) -> list:
    order = np.random.default_rng([20261129, *seed]).permutation(len(rows))[:n]
    return [rows[i] for i in order]


def calibration(sets: tuple[str, ...]) -> list[str]:
    each = -(-CALIBRATION // len(sets))
    return [r["text"] for i, s in enumerate(sets) for r in picked(rows_of(s, "train"), each, 1, i)][:CALIBRATION]


class Judge:
    """Embeddings of fixed texts by a network, and what they are worth."""

    def __init__(self, model: Any, sets: tuple[str, ...]) -> None:
        import transformers

        from smidgen.nets import minilm

        self.tokenizer = transformers.AutoTokenizer.from_pretrained(minilm.folder(), local_files_only=True)
        each = -(-COSINES // len(sets))
        self.tests = {s: picked(rows_of(s, "test"), max(TEST, each), 2, i) for i, s in enumerate(sets)}
        self.shots = {(s, d): shots_of(rows_of(s, "train"), d) for s in sets for d in range(DRAWS)}
        self.each = each
        self.float = self.embeddings(model)

    def embeddings(self, model: Any) -> dict[Any, np.ndarray]:
        texts = {s: [r["text"] for r in rows] for s, rows in (self.tests | self.shots).items()}  # type: ignore[operator]
        return {key: self._embed(model, some) for key, some in texts.items()}

    def __call__(self, model: Any) -> dict[str, Any]:
        own = self.embeddings(model)
        cosines = np.concatenate([(own[s][: self.each] * self.float[s][: self.each]).sum(1) for s in self.tests])
        return {"cosine": float(cosines[:COSINES].mean()), "accuracy": self.accuracies(own)}

    def accuracies(self, own: dict[Any, np.ndarray]) -> dict[str, float]:
        from sklearn.linear_model import LogisticRegression

        out: dict[str, list[float]] = {}
        for (s, _), rows in self.shots.items():
            made = LogisticRegression(max_iter=2000, C=10.0)
            made.fit(own[(s, _)], [r["label"] for r in rows])
            truth = [r["label"] for r in self.tests[s]]
            out.setdefault(s, []).append(float(np.mean(made.predict(own[s]) == np.array(truth))))
        return {s: float(np.mean(v)) for s, v in out.items()}

    @torch.no_grad()
    def _embed(self, model: Any, texts: list[str]) -> np.ndarray:
        from smidgen.studies.compress_pretrained import embedding

        order = np.argsort([len(t) for t in texts], kind="stable")
        out = np.zeros((len(texts), model.config.hidden_size), np.float32)
        for i in range(0, len(texts), 64):
            places = order[i : i + 64]
            batch = self.tokenizer(
                [texts[p] for p in places], padding=True, truncation=True, max_length=128, return_tensors="pt"
            )
            out[places] = embedding(model, dict(batch)).numpy()
        return out


def shots_of(rows: list[dict], draw: int) -> list[dict]:
    """So many rows of each class."""
    by_class: dict[Any, list] = {}
    for row in picked(rows, len(rows), 3, draw):
        by_class.setdefault(row["label"], []).append(row)
    return [row for some in by_class.values() for row in some[:SHOTS]]


def encoder() -> Any:
    from smidgen.nets import minilm
    from smidgen.nets.packed_pretrained import from_pretrained

    place = minilm.folder()
    assert place is not None
    return from_pretrained(place)


def own(texts: list[str], bytes_: int, seconds: float) -> tuple[Any, dict]:
    """smidgen within so many bytes of the linear layers."""
    from smidgen.nets import minilm
    from smidgen.studies.compress_pretrained import open_pretrained

    start = time.perf_counter()
    subject = open_pretrained(Path(str(minilm.folder())), texts).subject
    opened = time.perf_counter() - start
    made, told = within(subject, bytes_, seconds=seconds - opened, where=lambda layer: layer.kind == "linear")
    return made, told | {"seconds": told["seconds"] + opened}


def width_rows(width: int, sets: tuple[str, ...], python: Path, seconds: float, judge: Judge, model: Any) -> list[dict]:
    from smidgen.compress.layers import find
    from smidgen.nets import minilm

    names = [f"{a.name}.weight" for a in find(model) if a.kind == "linear"]
    with tempfile.TemporaryDirectory() as folder:
        rows = judged(others(python, [width], Path(str(minilm.folder())), names, Path(folder)), model, judge)
    best = max((r for r in rows if "cosine" in r), key=lambda r: r["cosine"])
    small, told = own(calibration(sets), best["bytes"], seconds)
    rows.append({"tool": "smidgen", "width": width, "beside": best["tool"], **told, **judge(small)})
    print(rows[-1], flush=True)
    return rows


def size_row(sets: tuple[str, ...], seconds: float, judge: Judge) -> dict:
    """The whole folder within the megabytes, by the verb itself."""
    import smidgen
    from smidgen.nets import minilm

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "small"
        found = smidgen.compress(  # type: ignore[operator]
            minilm.folder(), size=f"{MEGABYTES}MB", calibration=calibration(sets), time=seconds, out=out
        )
        small = smidgen.from_pretrained(out)
        told = {k: found[k] for k in ("bytes", "bytes_before", "bits_per_weight", "loss_after", "seconds", "tried")}
        return {"tool": "smidgen", "width": f"{MEGABYTES} MB", **told, **judge(small)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "size", "develop"))
    parser.add_argument("--widths", default="2,3,4,8")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--peers", type=Path, default=PEERS)
    args = parser.parse_args()
    sets = DEVELOPMENT if args.what == "develop" else SETS
    stored = args.what != "develop"
    there = {r["width"] for r in kept_rows(RESULTS)} if stored else set()
    model = encoder()
    judge = Judge(model, sets)
    meta = {"machine": machine(), "versions": versions(("torch", "transformers")), "date": str(date.today())}
    found: list[dict] = []
    if 32 not in there:
        found.append({"tool": "float32", "width": 32, "cosine": 1.0, "accuracy": judge.accuracies(judge.float)})
    if args.what == "size":
        found += [size_row(sets, args.seconds, judge)] if f"{MEGABYTES} MB" not in there else []
        keep(RESULTS, found, meta, stored)
        return
    keep(RESULTS, found, meta, stored)
    for width in map(int, args.widths.split(",")):
        if width not in there:
            keep(RESULTS, width_rows(width, sets, args.peers, args.seconds, judge, model), meta, stored)


if __name__ == "__main__":
    main()

"""A language model made small: smidgen beside other quantizers at equal bytes, in bits a byte of books.

    python benchmarks/compress_language.py run [--model FOLDER] [--widths 2,3,4,8] [--seconds 300] [--peers PYTHON]
    python benchmarks/compress_language.py develop ...      # the same on other books; printed only
    python benchmarks/compress_language.py develop --size 1M --updates 100 --seconds 30     # to see that it runs

The model has 10 M parameters and is trained here on the training part of books_lm as `smidgen lm train` does it, with a
fixed seed, rate and number of updates (a quarter of an hour on one core); it stays in FOLDER, where a training that was
stopped goes on. Its linear layers alone are quantized, groups of 64 (`peers/run_quantizer.py`); embeddings, which the
last layer shares, stay as they are, as the others do it. smidgen has as many bytes as the best of them at that width,
300,000 characters of the training part, and the seconds given. Judged on books of the test part (development: on those
of the validation part): bits a byte over pieces of a thousand characters. `run` measures what
results/compress_language.jsonl still lacks.
"""

import argparse
import gzip
import json
import math
import os
import sys
import tempfile
import time
from dataclasses import replace
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
from smidgen.kit.seeds import derive_seed  # noqa: E402

RESULTS = HERE / "results" / "compress_language.jsonl"
CACHE = HERE / ".cache"
SIZE, UPDATES, ROWS, RATE = "10M", 400, 8, 0.01  # ROWS: windows of 256 tokens an update
LETTERS, CALIBRATION, JUDGED = 1000, 300, 150  # of a piece; pieces to calibrate and to judge by
AT_ONCE = 8


def model_of(folder: Path, size: str, updates: int) -> Path:
    """The trained model's folder; trains what is not there yet."""
    from smidgen.lm.job import begin, corpora_of, tokens_of
    from smidgen.lm.train import train_model
    from smidgen.lm.wish import Wish
    from smidgen.lm.work import working

    if (folder / "config.json").is_file():
        return folder
    corpora = corpora_of([DATA / "books_lm" / "train.jsonl.gz"])
    wish = Wish.of(size=size, rate=RATE, batch=ROWS, precision="fp32", seed=0)
    resume = (folder / ".train" / "setup.json").is_file()
    with working(folder, resume) as work:
        setup, surveys = begin(corpora, wish, work, resume)
        plan = setup.plan
        tokens = updates * plan.rows * plan.accumulate * plan.context
        setup = replace(setup, plan=replace(plan, tokens=tokens))
        setup, prepared = tokens_of(setup, corpora, surveys, work, "refuse", print)
        found = train_model(setup, prepared, folder)
    print({k: found[k] for k in ("steps", "tokens", "seconds", "bits_per_byte")}, flush=True)
    return folder


def pieces(part: str, count: int) -> list[str]:
    """So many pieces of the books of a part, begun at random places."""
    with gzip.open(DATA / "books_lm" / f"{part}.jsonl.gz", "rt", encoding="utf-8") as lines:
        books = [json.loads(line)["text"] for line in lines]
    rng = np.random.default_rng(derive_seed(20261129, part))
    shares = np.array([len(b) for b in books]) / sum(len(b) for b in books)
    chosen = rng.choice(len(books), count, p=shares)
    starts = [int(rng.integers(0, len(books[b]) - LETTERS)) for b in chosen]
    return [books[b][at : at + LETTERS] for b, at in zip(chosen, starts, strict=True)]


class Judge:
    """Bits a byte that a causal model of transformers needs for fixed texts."""

    def __init__(self, folder: Path, texts: list[str]) -> None:
        from smidgen.lm import tokenizer
        from smidgen.lm.evaluate import windows

        words = tokenizer.load(folder)
        context = int(json.loads((folder / "config.json").read_text())["max_position_embeddings"])
        self.bytes = sum(len(t.encode()) for t in texts)
        rows = [w for t in texts for w in windows(words.encode_document(t).tolist(), context)]
        rows.sort(key=lambda row: len(row[0]))
        self.batches = [self._padded(rows[i : i + AT_ONCE], words.end) for i in range(0, len(rows), AT_ONCE)]

    @staticmethod
    def _padded(rows: list[tuple[list[int], int]], end: int) -> tuple[torch.Tensor, torch.Tensor]:
        """What is padded comes last, where no token sees it, and does not count."""
        length = max(len(ids) for ids, _ in rows) - 1
        ids_BT, targets_BT = torch.full((len(rows), length), end), torch.full((len(rows), length), -100)
        for r, (ids, skip) in enumerate(rows):
            ids_BT[r, : len(ids) - 1] = torch.tensor(ids[:-1])
            targets_BT[r, skip : len(ids) - 1] = torch.tensor(ids[1 + skip :])
        return ids_BT, targets_BT

    @torch.no_grad()
    def __call__(self, model: Any) -> dict[str, float]:
        import torch.nn.functional as F

        nats = 0.0
        for ids, targets in self.batches:
            logits = model(input_ids=ids, use_cache=False).logits
            nats += float(F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum"))
        return {"bits_per_byte": nats / math.log(2) / self.bytes}


def own(folder: Path, bytes_: int, seconds: float) -> tuple[Any, dict]:
    """smidgen within so many bytes of the linear layers."""
    from smidgen.studies.compress_pretrained import open_pretrained

    start = time.perf_counter()
    subject = open_pretrained(folder, pieces("train", CALIBRATION)).subject
    opened = time.perf_counter() - start
    made, told = within(subject, bytes_, seconds=seconds - opened, where=lambda layer: layer.kind == "linear")
    return made, told | {"seconds": told["seconds"] + opened}


def width_rows(width: int, model: Any, folder: Path, judge: Judge, args: argparse.Namespace) -> list[dict]:
    from smidgen.compress.layers import find

    names = [f"{a.name}.weight" for a in find(model) if a.kind == "linear"]
    with tempfile.TemporaryDirectory() as place:
        rows = judged(others(args.peers, [width], folder, names, Path(place)), model, judge)
    best = min((r for r in rows if "bits_per_byte" in r), key=lambda r: r["bits_per_byte"])
    small, told = own(folder, best["bytes"], args.seconds)
    rows.append({"tool": "smidgen", "width": width, "beside": best["tool"], **told, **judge(small)})
    print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "develop"))
    parser.add_argument("--model", type=Path, help="folder of the model; default: one in .cache")
    parser.add_argument("--widths", default="2,3,4,8")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--peers", type=Path, default=PEERS)
    parser.add_argument("--size", default=SIZE, help="of another model (develop)")
    parser.add_argument("--updates", type=int, default=UPDATES, help="of another training (develop)")
    args = parser.parse_args()
    stored = args.what == "run"
    if stored and (args.size, args.updates) != (SIZE, UPDATES):
        parser.error("--size and --updates are for develop")

    from smidgen.nets.packed_pretrained import from_pretrained

    place = args.model or CACHE / f"compress-language-{args.size}-{args.updates}"
    folder = model_of(place, args.size, args.updates)
    model = from_pretrained(folder).float().eval()
    judge = Judge(folder, pieces("test" if stored else "val", JUDGED))
    about = {"parameters": sum(p.numel() for p in model.parameters()), "updates": args.updates}
    meta = {"machine": machine(), "versions": versions(("torch", "transformers")), "date": str(date.today())}
    there = {r["width"] for r in kept_rows(RESULTS)} if stored else set()
    if 32 not in there:
        keep(RESULTS, [{"tool": "float32", "width": 32, **about, **judge(model)}], meta, stored)
    for width in map(int, args.widths.split(",")):
        if width not in there:
            keep(RESULTS, width_rows(width, model, folder, judge, args), meta, stored)


if __name__ == "__main__":
    main()

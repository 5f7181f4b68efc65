"""A network of convolutions made small: smidgen beside other quantizers at equal bytes, on handwritten digits.

    python benchmarks/compress_pictures.py run [--widths 2,3,4,8] [--seeds 3] [--steps 200] [--peers PYTHON]
    python benchmarks/compress_pictures.py develop ...      # other digits, other seeds; printed only

A ConvNet of 0.11 M parameters is trained on mnist10k, once for each seed (half a minute). All its convolutions and the
linear layer are quantized, groups of 64, a whole row where 64 does not divide it; the others need no data
(`peers/run_quantizer.py`). HQQ, torchao and bitsandbytes quantize linear layers only: what they are given here are
convolutions as matrices, a row for each output channel, as quanto takes them itself. Layers that one refuses stay in
float16, and count so. smidgen has as many bytes as the best of them at that width, 2,048 pictures of the training part
without labels, and so many steps of recovery. Judged on the test part: accuracy, the share of answers that are those
of float32, and the squared error of logits as a share of their mean square; the best of the others is that of the
least such error. `run` measures what results/compress_pictures.jsonl still lacks.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
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

RESULTS = HERE / "results" / "compress_pictures.jsonl"
CHANNELS = (64, 64, 128)
EPOCHS, BATCH, RATE = 6, 64, 3e-3
CALIBRATION, AT_ONCE = 2048, 32
HELD = 2000  # pictures of the training part that development is judged on
Part = tuple[torch.Tensor, torch.Tensor]


def parts(develop: bool) -> tuple[Part, Part]:
    """Pictures `[N, 1, 28, 28]` in 0 to 1 and classes: to train on, to judge by."""
    found = []
    for part in ("train", "test"):
        with np.load(DATA / "mnist10k" / f"{part}.npz") as file:
            x = torch.from_numpy(file["images"]).reshape(-1, 1, 28, 28).float() / 255
            found.append((x, torch.from_numpy(file["labels"].astype(np.int64))))
    if not develop:
        return found[0], found[1]
    x, y = found[0]
    return (x[:-HELD], y[:-HELD]), (x[-HELD:], y[-HELD:])


def trained(part: Part, seed: int, epochs: int) -> torch.nn.Module:
    """A ConvNet by the training engine: AdamW, half a cosine."""
    import torch.nn.functional as F

    from smidgen.nets.small_convnet import ConvNet, with_head
    from smidgen.train.loop import LoopConfig, Run, train
    from smidgen.train.schedules import Cosine

    x, y = part
    net = with_head(ConvNet(CHANNELS, seed=derive_seed(seed, "net")), CHANNELS[-1], 10, seed=derive_seed(seed, "head"))
    each = len(x) // BATCH
    orders = [
        torch.randperm(len(x), generator=torch.Generator().manual_seed(derive_seed(seed, "order", e)))
        for e in range(epochs)
    ]

    def batch(number: int) -> Part:
        epoch, place = divmod(number, each)
        at = orders[epoch][place * BATCH : (place + 1) * BATCH]
        return x[at], y[at]

    def loss(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, int]:
        return F.cross_entropy(model(x), y, reduction="sum"), len(y)

    run = Run(net, torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.01))
    steps = epochs * each
    train(run, batch, loss, Cosine(steps=steps, warmup=steps // 20), LoopConfig(), steps=steps)
    return net.eval()


class Judge:
    """What a network's answers to the test pictures are worth."""

    def __init__(self, model: torch.nn.Module, part: Part) -> None:
        self.x, self.y = part
        self.float = self.logits(model)

    @torch.no_grad()
    def logits(self, model: torch.nn.Module) -> torch.Tensor:
        return torch.cat([model(x) for x in self.x.split(250)])

    def __call__(self, model: torch.nn.Module) -> dict[str, float]:
        said = self.logits(model)
        same = float((said.argmax(1) == self.float.argmax(1)).float().mean())
        error = float((said - self.float).square().mean() / self.float.square().mean())
        return {"accuracy": self.accuracy(said), "same": same, "error": error}

    def accuracy(self, said: torch.Tensor) -> float:
        return float((said.argmax(1) == self.y).float().mean())


def own(model: torch.nn.Module, part: Part, bytes_: int, steps: int, seed: int) -> tuple[Any, dict]:
    from smidgen.studies.compress_module import subject_of

    order = torch.randperm(len(part[0]), generator=torch.Generator().manual_seed(derive_seed(seed, "calibration")))
    subject = subject_of(model, list(part[0][order[:CALIBRATION]].split(AT_ONCE)), None)
    return within(subject, bytes_, steps=steps)


def seed_rows(seed: int, widths: list[int], args: argparse.Namespace) -> Iterator[list[dict]]:
    """All tools on the network of one seed, one width after the other (32: as it is)."""
    from safetensors.torch import save_file

    from smidgen.compress.layers import find

    train, test = parts(args.what == "develop")
    model = trained(train, seed, args.epochs)
    judge = Judge(model, test)
    if 32 in widths:
        known = {"accuracy": judge.accuracy(judge.float), "same": 1.0, "error": 0.0}
        yield [{"seed": seed, "tool": "float32", "width": 32, **known}]
    widths = [w for w in widths if w != 32]
    names = [f"{a.name}.weight" for a in find(model)]
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "net.safetensors"
        save_file({k: v.contiguous() for k, v in model.state_dict().items() if k in names}, file)
        made = others(args.peers, widths, file, names, Path(place)) if widths else []
        for width in widths:
            rows = judged([one for one in made if one[2]["bits"] == width], model, judge)
            best = min((r for r in rows if "error" in r), key=lambda r: r["error"])
            small, told = own(model, train, best["bytes"], args.steps, seed)
            rows.append({"tool": "smidgen", "width": width, "beside": best["tool"], **told, **judge(small)})
            print(rows[-1], flush=True)
            yield [{"seed": seed, **row} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "develop"))
    parser.add_argument("--widths", default="2,3,4,8")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="fewer only to see that it runs (develop)")
    parser.add_argument("--peers", type=Path, default=PEERS)
    args = parser.parse_args()
    stored = args.what == "run"
    if stored and args.epochs != EPOCHS:
        parser.error("--epochs is for develop")
    meta = {
        "machine": machine(),
        "versions": versions(("torch",)),
        "date": str(date.today()),
        "steps_asked": args.steps,
    }
    there = {(r["seed"], r["width"]) for r in kept_rows(RESULTS)} if stored else set()
    for seed in range(args.seeds) if stored else range(100, 100 + args.seeds):
        lacking = [w for w in (32, *map(int, args.widths.split(","))) if (seed, w) not in there]
        for rows in seed_rows(seed, lacking, args) if lacking else ():
            keep(RESULTS, rows, meta, stored)


if __name__ == "__main__":
    main()

"""The loss of Barlow Twins, forward and backward, beside the three matrix products that it cannot do without.

    python benchmarks/barlow.py run      # a minute; writes results/barlow.json

Bar: at most 10 % more time than the products alone. Ways in turn in one process on one core, the least processor time
of several rounds, since a busy machine only ever adds; memory of each way in a process of its own, beyond inputs and
gradients. All matrices are float32, multiplied as torch does by default.
"""

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from smidgen.kit.machine import machine, versions
from smidgen.learn.barlow_twins import barlow_twins_loss

RESULTS = Path(__file__).resolve().parent / "results" / "barlow.json"
SIZES = ((256, 512), (256, 2048), (1024, 2048), (1024, 4096))  # views of a batch, width
SECONDS, BAR = 4.0, 1.10  # seconds a size and way


def products(a: Tensor, b: Tensor) -> None:
    """The correlation, and the gradient of either side, into new matrices."""
    with torch.no_grad():
        corr = a.T @ b
        a.grad, b.grad = b @ corr.T, a @ corr


def ours(a: Tensor, b: Tensor) -> None:
    a.grad = b.grad = None
    barlow_twins_loss(a, b).backward()


def autograd(a: Tensor, b: Tensor) -> None:
    """The same loss, written plainly."""
    a.grad = b.grad = None
    x, y = ((z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt() for z in (a, b))
    corr = x.T @ y / len(x)
    agree = corr.diagonal()
    off = corr.square().sum() - agree.square().sum()
    ((1 - agree).square().sum() + 5e-3 * off).backward()


WAYS: dict[str, Callable[[Tensor, Tensor], None]] = {"products": products, "ours": ours, "autograd": autograd}


def pair(rows: int, width: int) -> list[Tensor]:
    random = torch.Generator().manual_seed(0)
    return [torch.randn(rows, width, generator=random).requires_grad_() for _ in range(2)]


def timed(rows: int, width: int) -> dict[str, float]:
    """Least seconds of processor time of each way; at least 5 rounds."""
    a, b = pair(rows, width)
    seconds = dict.fromkeys(WAYS, float("inf"))
    begun, rounds = time.process_time(), 0
    while rounds < 5 or time.process_time() - begun < SECONDS * len(WAYS):
        for name, way in WAYS.items():
            start = time.process_time()
            way(a, b)
            seconds[name] = min(seconds[name], time.process_time() - start)
        rounds += 1
    return seconds


def peak(way: str, rows: int, width: int, out: Any) -> None:
    """Bytes that the way needed at most beyond inputs and gradients, which it is given room for before."""
    torch.set_num_threads(1)
    small = pair(8, 8)
    WAYS[way](*small)  # what the library itself takes
    a, b = pair(rows, width)
    a.grad, b.grad = torch.ones_like(a), torch.ones_like(b)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = resident("VmRSS")
    WAYS[way](a, b)
    out.put(resident("VmHWM") - before)


def resident(what: str) -> int:
    """Bytes of memory of this process, now (`VmRSS`) or at most (`VmHWM`)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(what))


def memory(way: str, rows: int, width: int) -> int:
    spawn = multiprocessing.get_context("spawn")
    out = spawn.Queue()
    child = spawn.Process(target=peak, args=(way, rows, width, out))
    child.start()
    found = out.get()
    child.join()
    return found


def run() -> None:
    torch.set_num_threads(1)
    found = []
    for rows, width in SIZES:
        seconds = timed(rows, width)
        ratio = {name: s / seconds["products"] for name, s in seconds.items()}
        held = {name: memory(name, rows, width) for name in WAYS} if width > 1000 else {}
        found.append(
            {"rows": rows, "width": width, "cpu seconds": seconds, "times the products": ratio, "peak bytes": held}
            | {"bytes of the correlation": 4 * width * width, "bytes of one view": 4 * rows * width}
        )
        shown = {k: round(v / 1e6, 1) for k, v in held.items()}
        print(f"{rows} x {width}: " + ", ".join(f"{k} {1e3 * v:.2f} ms" for k, v in seconds.items()), end="; ")
        told = "within" if ratio["ours"] <= BAR else "MISSED"
        print(f"ours {ratio['ours']:.3f} times the products ({told}); MB {shown}", flush=True)
    out = {"found": found, "bar": BAR, "cores": 1, "date": date.today().isoformat()}
    RESULTS.write_text(json.dumps({**out, "machine": machine(), "versions": versions()}, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run",))
    parser.parse_args()
    run()

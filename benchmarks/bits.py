"""Small measurements whose pictures go with the laws of bits: which of the six inputs of a layer's products costs what,
and how far quantized models part from their float parent at each temperature.

    SMIDGEN_DATA=... python benchmarks/bits.py run     # -> results/bits.json, two minutes or three
    python benchmarks/bits.py show                     # -> docs/pictures/bits-*.svg, and prints what was measured

Decoders of bytes on books_lm. Inputs: one layer of width 32, 300 updates of 512 bytes, each input alone in E1M1 (scales
of 16 numbers), three seeds; nats a byte on held-out text more than in float32 from the same weights and batches.
Temperatures: two layers of width 64 after 400,000 bytes; 24 prompts of 48 bytes go on for 48, three draws from the same
uniform numbers for all variants; bits a byte of the samples under the float model, less those of its own samples, with
intervals (90 %) from prompts and draws taken anew. Losses along a training are drawn from the evidence of claim 042.
"""

import argparse
import functools
import json
from datetime import date
from pathlib import Path
from typing import Any

from smidgen.kit.machine import machine, versions

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "bits.json"
PICTURES = ROOT / "docs" / "pictures"
SEEDS = (0, 1, 2)
STEPS, RATE = 300, 1e-2
VARIANTS = ("float", "int8", "nf4", "nf4-double", "fp4", "int4")
TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0)


def inputs() -> dict[str, list[float]]:
    """By input, what it costs at each seed."""
    from smidgen.compress.float_training import float_format, loss_gaps, train_in
    from smidgen.papers.byte_bits import Bytes, fallen, shape

    found: dict[str, list[float]] = {}
    for seed in SEEDS:
        text = Bytes(seed)

        def loss_with(targets: tuple, text: Any = text) -> float:
            change = functools.partial(train_in, format=float_format(1, 1, 16), targets=targets) if targets else None
            return fallen(lambda: text.run(shape(32, 1, 96), RATE, change), text, [STEPS], 30)[STEPS]

        for name, gap in loss_gaps(loss_with).items():
            found.setdefault(name, []).append(gap)
    return found


def temperatures() -> list[dict[str, Any]]:
    """Rows of `decoding_statistics.curves`."""
    from smidgen.nets.decoder import Decoder
    from smidgen.papers import byte_models
    from smidgen.studies import decoding_statistics
    from smidgen.studies.decoding_sensitivity import DecodingStudy
    from smidgen.studies.decoding_variants import variants

    length = 96
    model = Decoder(byte_models.config(64, 2, length), 1)
    byte_models.fit(model, 4e5, 4e-3, 16 * length, 2, False, length)
    windows = byte_models.held_windows(24, length, 3)
    study = DecodingStudy(
        variants(model.eval(), VARIANTS), windows[:, :48], temperatures=TEMPERATURES, top_k=(0,), max_new_tokens=(48,),
        seeds=(0, 1, 2), rounds=0,
    )  # fmt: skip
    return decoding_statistics.curves(study.run().samples).to_dict("records")


def show(found: dict[str, Any]) -> None:
    from smidgen.web.bits import alone, loss_bars, of_evidence
    from smidgen.web.decoding import decoding_curves

    runs = json.loads((ROOT / "docs" / "evidence" / "042.json").read_text())["runs"]
    drawn = {
        "bits-rounding.svg": of_evidence("042", runs)[0][1],
        "bits-inputs.svg": loss_bars(found["inputs"]),
        "bits-temperature.svg": decoding_curves(found["temperatures"], "bits a byte"),
    }
    for name, picture in drawn.items():
        (PICTURES / name).write_text(alone(picture or "<svg></svg>"), encoding="utf-8")
    for name, gaps in found["inputs"].items():
        print(f"{name:24s}", " ".join(f"{gap:+.4f}" for gap in gaps))
    for row in found["temperatures"]:
        ends = f"{row['low']:+.4f} to {row['high']:+.4f}"
        print(f"{row['variant']:12s} {row['temperature']:.1f} {row['difference']:+.4f} ({ends})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["run", "show"])
    if parser.parse_args().verb == "run":
        import torch

        torch.set_num_threads(1)
        here = versions(("torch", "numpy"))
        made = {"inputs": inputs(), "temperatures": temperatures(), "date": date.today().isoformat()}
        made["machine"] = {**machine(), "python": here.pop("python"), "versions": here}
        RESULTS.write_text(json.dumps(made, indent=1) + "\n")
    show(json.loads(RESULTS.read_text()))


if __name__ == "__main__":
    main()

"""A small claim for the tests: seeds 0 to 2 gain 1, 2 and 3; seed 7 fails, seed 8 dies, seed 9 never ends."""

import os
import time

from smidgen.papers.claim import Claim, Part, Published, Scale

CLAIM = Claim(
    title="Toy",
    year=2000,
    gives="Nothing.",
    room="learn",
    implements=("learn.constant",),
    says="A beats B.",
    experiment="Made up.",
    published=(Published(value=1.0, metric="gain", data="none", where="nowhere"),),
    parts=(Part(name="gain", says="A beats B", gain=("a", "b"), margin=2.5),),
    seeds=3,
)


def run(scale: Scale, seed: int) -> dict[str, float]:
    print("noise on standard output")
    if seed == 7:
        raise ZeroDivisionError("seed seven")
    if seed == 8:
        os._exit(9)
    if seed == 9:
        time.sleep(600)
    return {"a": 1.0 + seed, "b": 0.0, "none": float("nan")}

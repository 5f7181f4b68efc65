"""Times of products on this machine by format and batch size: what rooflines are calibrated with (`budget.serving`)."""

import math
import time
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from smidgen.budget.serving import Roofline, calibrate
from smidgen.formats.format import Format
from smidgen.kit.errors import bad
from smidgen.nets.packed import PackedLinear, PackedWeight
from smidgen.nets.packed_activations import Int8Linear


def product_ways(size: int, seed: int = 0) -> dict[str, nn.Module]:
    """One square product as float32, as int8 with inputs rounded each time, and with packed 4-bit weights."""
    weight = torch.randn(size, size, generator=torch.Generator().manual_seed(seed))
    plain = nn.Linear(size, size, bias=False)
    plain.weight = nn.Parameter(weight, requires_grad=False)
    int8, int4 = (
        PackedWeight.of(Format.parse(name).quantize(weight, search="absmax"))
        for name in ("int8/channel/float32", "int4/128")
    )
    return {"float32": plain, "int8": Int8Linear(int8), "int4": PackedLinear(int4)}


@torch.no_grad()
def product_times(
    ways: Mapping[str, nn.Module], width: int, batches: Sequence[int], rounds: int = 5
) -> dict[str, list[float]]:
    """Seconds by way and batch size, the best of some rounds (one more before is not counted); ways take turns, so that
    a busy moment meets all."""
    if rounds < 1:
        raise bad("rounds", "at least 1", rounds)
    best: dict[str, list[float]] = {name: [math.inf] * len(batches) for name in ways}
    for k, batch in enumerate(batches):
        x = torch.randn(batch, width, generator=torch.Generator().manual_seed(batch))
        for r in range(rounds + 1):
            for name, way in ways.items():
                start = time.perf_counter()
                way(x)
                if r:
                    best[name][k] = min(best[name][k], time.perf_counter() - start)
    return best


def rooflines(times: Mapping[str, Sequence[float]], batches: Sequence[int]) -> dict[str, Roofline]:
    """Of each way."""
    return {name: calibrate(batches, own) for name, own in times.items()}

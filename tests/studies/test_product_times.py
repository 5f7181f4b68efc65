"""Products by format: the same numbers, and times that a roofline fits."""

import math

import torch

from smidgen.studies.product_times import product_times, product_ways, rooflines


def test_all_ways_multiply_the_same_matrix_and_are_timed():
    ways = product_ways(128)
    x = torch.randn(9, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = ways["float32"](x)
        lost = {n: float((w(x) - whole).square().mean() / whole.square().mean()) for n, w in ways.items()}
    assert lost["float32"] == 0 < lost["int8"] < 1e-3 < lost["int4"] < 0.03
    times = product_times(ways, 128, (1, 16, 64, 256), rounds=2)
    assert times.keys() == ways.keys() and all(len(t) == 4 and all(0 < v < math.inf for v in t) for t in times.values())
    assert rooflines(times, (1, 16, 64, 256))["float32"].seconds(1) > 0

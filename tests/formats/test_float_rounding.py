"""Rounding by arithmetic is rounding by the table, ties, subnormals and what is beyond included."""

import pytest
import torch

from smidgen.formats.float_rounding import round_float
from smidgen.formats.grid import grid
from smidgen.formats.rounding import round_to


@pytest.mark.parametrize("total", range(1, 16))
def test_all_splits_meet_their_table_to_the_bit(total):
    rng = torch.Generator().manual_seed(total)
    for e in range(min(total, 8) + 1):
        g = grid(f"e{e}m{total - e}")
        levels = torch.from_numpy(g.levels[:: max(1, len(g.levels) // 500)]).float()
        few = torch.from_numpy(g.borders[:: max(1, len(g.borders) // 500)]).float()
        spread = torch.randn(500, generator=rng) * 2.0 ** torch.randint(-4, 5, (500,), generator=rng)
        ends = torch.tensor([0.0, 1.5, -1.5]) * g.largest
        x = torch.cat([levels, few, spread * float(min(g.largest, 1e4)) / 8, ends])
        x = x[torch.isfinite(x)]
        assert torch.equal(round_float(x, e, total - e) + 0.0, round_to(x, g) + 0.0), (e, total - e)

"""A network made to fit a limit: exact about bytes, never worse than a uniform width, judged on other data."""

from dataclasses import replace

import pytest
import torch
from small_subject import subject
from torch import nn

from smidgen.compress import fitting
from smidgen.compress.allocate import Infeasible
from smidgen.compress.fitting import Limit, best_uniform, fit, mix_within, outlook
from smidgen.compress.layers import find
from smidgen.compress.options import KEPT, bytes_of
from smidgen.kit.errors import BadInput

BESIDE = 100


@pytest.fixture(scope="module")
def seen():
    s = subject()
    layers = {layer.name: layer for layer in find(s.model)}

    def size(mixture: dict[str, str]) -> int:
        return BESIDE + sum(bytes_of(layers[name], option) for name, option in mixture.items())

    return s, outlook(s, size), size


@pytest.mark.parametrize("most", [1000, 1200, 1500, 2400])
def test_the_mix_fits_and_is_no_worse_than_a_uniform_width(seen, most: int) -> None:
    s, known, size = seen
    made = fit(s, Limit(bytes=most), size, recovery_steps=0, seconds=0, seen=known)
    assert made.bytes == size(made.mixture) <= most
    uniform = [t for t in made.tried if t.name != "mixed"]
    chosen = [t for t in made.tried if t.mixture == made.mixture]
    assert [name for name, _ in best_uniform(known, most)] == [t.name for t in uniform]
    assert chosen[0].loss <= min(t.loss for t in made.tried)
    assert made.before == 0 and made.after == s.loss(made.model, s.check) > 0


def test_more_bytes_lose_less_and_the_forecast_orders_them(seen) -> None:
    s, known, size = seen
    found = [fit(s, Limit(bytes=b), size, recovery_steps=0, seconds=0, seen=known) for b in (1000, 1400, 2400)]
    assert found[0].after > found[1].after > found[2].after
    assert found[0].forecast > found[1].forecast > found[2].forecast


def test_a_limit_of_loss_is_met_where_it_was_measured(seen) -> None:
    s, known, size = seen
    made = fit(s, Limit(loss=0.01), size, recovery_steps=0, seconds=30, seen=known)
    chosen = next(t for t in made.tried if t.mixture == made.mixture)
    assert chosen.loss <= 0.01
    smaller = [t for t in made.tried if t.bytes < chosen.bytes]
    assert smaller and all(t.loss > 0.01 for t in smaller)


def test_a_uniform_width_is_taken_where_the_forecast_misled_a_limit_of_loss(seen) -> None:
    s, known, size = seen
    few = replace(known, choices=[c for c in known.choices if c.option == KEPT or c.option.startswith("int2")])
    made = fit(s, Limit(loss=0.001), size, recovery_steps=0, seconds=30, seen=few)
    mixed = [t for t in made.tried if t.name.startswith("mixed") and t.loss <= 0.001]
    chosen = next(t for t in made.tried if t.mixture == made.mixture)
    assert mixed and chosen.name.startswith("8 bits") and chosen.loss <= 0.001
    assert chosen.bytes < min(t.bytes for t in mixed)
    blind = replace(s, learn=[], choose=[], check=[])
    with pytest.raises(BadInput, match="needs calibration data"):
        fit(blind, Limit(loss=0.01), size, seen=known)


def test_below_the_smallest_it_says_what_can_be_reached(seen) -> None:
    s, known, size = seen
    with pytest.raises(Infeasible, match=f"{known.smallest:,} bytes") as error:
        mix_within(known, known.smallest - 1)
    assert error.value.smallest == size(mix_within(known, known.smallest)) == known.smallest


def test_bits_count_scales(seen) -> None:
    s, known, size = seen
    made = fit(s, Limit(bits=4.0), size, recovery_steps=0, seconds=0, seen=known)
    numbers = sum(layer.numbers for layer in known.layers)
    assert 3.6 < 8 * (made.bytes - BESIDE) / numbers <= 4.0


def test_recovery_that_does_not_help_is_undone(seen) -> None:
    s, known, size = seen
    wild = fitting.RecoverySettings(rate=50.0)
    plain = fit(s, Limit(bytes=1200), size, recovery_steps=0, seconds=0, seen=known)
    made = fit(s, Limit(bytes=1200), size, recovery_steps=12, settings=wild, seen=known)
    assert made.after == plain.after and "undone" in " ".join(made.notes)


def test_what_cannot_be_quantized_is_an_error_and_one_limit_is_asked() -> None:
    with pytest.raises(BadInput, match="one of size, bits and max-loss"):
        Limit(bytes=10, bits=3)
    s = subject()
    bare = nn.Sequential(nn.LayerNorm(4))
    with pytest.raises(BadInput, match="no layer that can be quantized"):
        outlook(type(s)(bare, [torch.zeros(1, 4)], [], [], s.answer, s.distance, s.loss, ""), lambda m: 0)

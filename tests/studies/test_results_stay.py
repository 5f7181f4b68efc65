"""What a study found, or was asked, is not changed by those who read it."""

from dataclasses import FrozenInstanceError, fields
from typing import Any

import numpy as np
import pytest

from smidgen.studies import (
    compress_pretrained,
    compress_weighing,
    decoding_measures,
    decoding_sensitivity,
    gradual,
    losses,
    precision_map,
    precision_members,
    precision_noise,
    shortening,
    size_ladder,
)

KINDS = [
    compress_pretrained.Pretrained, compress_weighing.Array, decoding_sensitivity.DecodingResult, gradual.BestConfig,
    losses.Scale, precision_map.PrecisionGrid, precision_map.PrecisionMap, precision_members.EachMember,
    precision_members.Ensemble, precision_noise.Noise, shortening.Draw, shortening.ShorteningResult, size_ladder.Rung,
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_fields_cannot_be_set(kind: Any) -> None:
    made = object.__new__(kind)
    for field in fields(kind):
        with pytest.raises(FrozenInstanceError):
            setattr(made, field.name, None)


def test_likeness_is_the_same_each_time_and_of_its_seed() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 120, 3))
    plain = decoding_measures.Likeness(x)
    assert plain(y) == decoding_measures.Likeness(x, 16, 0, 5.0)(y) != decoding_measures.Likeness(x, seed=1)(y)
    assert (plain.clusters, plain.scale) == (16, 5.0) and decoding_measures.Likeness(x, clusters=40).clusters == 30
    assert decoding_measures.Likeness(x[:3]).clusters == 1 and 0 < plain(y) < plain(x)

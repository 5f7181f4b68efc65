"""Guesses in closed form: left-out ones are those of a fit without the row, and each family finds what it is for."""

import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

from smidgen.nets import guesses as ours
from smidgen.nets.cell_inputs import CellInputs, column_scales
from smidgen.nets.guesses import FAMILIES, guesses

N, M = 40, 30


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def table(seed=0, columns=3):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(1, N + M, columns, generator=random, dtype=torch.float64)
    none = torch.zeros(1, columns, dtype=torch.bool)
    return x, column_scales(x[:, :N], none, torch.ones(1, 2, columns, dtype=torch.long)).inputs(x)


def split(inputs):
    return inputs.rows(slice(N)), inputs.rows(slice(N, None))


def test_smooth_family_is_a_gaussian_process(monkeypatch):
    monkeypatch.setattr(ours, "LENGTHS", {"smooth": (0.7,)})
    monkeypatch.setattr(ours, "NOISES", (0.2,))
    x, inputs = table()
    y = torch.sin(x[:, :, :1]).float()
    known, asked = split(inputs)
    made = guesses(known, y[:, :N])
    k = FAMILIES.index("smooth")
    z, new = known.distance[0].numpy(), asked.distance[0].numpy()
    length = 0.7 * float(made.unit[0, k]) ** 0.5
    base = float(y[:, :N].mean())
    theirs = GaussianProcessRegressor(RBF(length), alpha=0.2, optimizer=None)
    mean, spread = theirs.fit(z, y[0, :N, 0].numpy() - base).predict(new, return_std=True)
    said = made.of(asked)
    assert np.allclose(said.mean[0, :, k, 0], mean + base, atol=1e-4)
    assert np.allclose(said.spread[0, :, k], np.sqrt(spread**2 + 0.2), atol=1e-4)
    for i in (0, 17):  # left out: the fit without the row, the mean of all targets still its base
        rest = np.arange(N) != i
        mean, spread = theirs.fit(z[rest], y[0, :N, 0].numpy()[rest] - base).predict(z[[i]], return_std=True)
        assert made.own.mean[0, i, k, 0] == pytest.approx(mean[0] + base, abs=1e-4)
        assert made.own.spread[0, i, k] == pytest.approx(np.sqrt(spread[0] ** 2 + 0.2), abs=1e-4)
    assert made.own.error[0, k] == pytest.approx(float((made.own.mean[0, :, k] - y[0, :N]).square().mean().sqrt()))


@pytest.mark.parametrize("family", FAMILIES)
def test_left_out_guesses_are_as_good_as_those_of_new_rows(family):
    """And much better than the mean, which a guess that saw its own row would not show."""
    k = FAMILIES.index(family)
    own, new = [], []
    for seed in range(12):
        x, inputs = table(seed, columns=2)
        y = (x[..., :1] + 0.5 * x[..., 1:2] + 0.3 * x.roll(7, 1).sum(-1, keepdim=True).sin()).float()
        known, asked = split(inputs)
        made = guesses(known, y[:, :N])
        own.append(float(made.own.error[0, k]))
        new.append(float((made.of(asked).mean[0, :, k] - y[0, N:]).square().mean().sqrt()))
    assert np.mean(own) == pytest.approx(np.mean(new), rel=0.15)
    assert np.mean(own) < 0.75


def test_each_family_finds_what_it_is_for():
    x, inputs = table(3, columns=4)
    known, asked = split(inputs)
    targets = {
        "linear": x.sum(-1),
        "additive": (x[..., 0] > 0.5).double() + 2 * (x[..., 1] > -0.5) - 2 * (x[..., 2].abs() < 0.5),
        "smooth": torch.sin(1.5 * x[..., 0]) * x[..., 1],
    }
    for family, y in targets.items():
        y = y.float()[..., None]
        said = guesses(known, y[:, :N]).of(asked)
        off = (said.mean - y[:, N:, None]).square().mean((0, 1, 3))
        assert FAMILIES[int(off.argmin())] == family


def test_codes_and_unknown_cells_count():
    x = torch.randn(1, N, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x[0, :, 1] = torch.arange(N) % 5
    y = torch.where(x[..., 1] == 3, 1.0, 0.0)[..., None].float()
    turn = torch.ones(1, 2, 2, dtype=torch.long)
    coded = column_scales(x, torch.tensor([[False, True]]), turn).inputs(x)
    plain = column_scales(x, torch.tensor([[False, False]]), turn).inputs(x)
    k = FAMILIES.index("linear")
    assert guesses(coded, y).own.error[0, k] < 0.1 < guesses(plain, y).own.error[0, k]
    x[0, ::2, 0] = torch.nan
    holes = column_scales(x, torch.tensor([[False, True]]), turn).inputs(x)
    assert guesses(holes, holes.unknown[..., :1].float()).own.error[0, k] < 0.1


def test_rows_alike_and_no_columns_at_all():
    """Nothing to tell rows by: everyone guesses about the mean, and nothing breaks."""
    zero = torch.zeros(1, N, 1)
    inputs = CellInputs(zero, zero, zero.bool(), torch.full((1, N, 1), 32))
    y = torch.arange(N).float()[None, :, None] / N
    said = guesses(inputs, y).of(inputs)
    assert torch.allclose(said.mean, y.mean().expand_as(said.mean), atol=0.02)
    assert said.spread.isfinite().all()

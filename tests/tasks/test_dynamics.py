"""The simulations: as other solvers have it, nothing lost, members their own."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from smidgen.kit.errors import BadInput
from smidgen.tasks.dynamics.ensemble import DoublePrecision, initial_normals, runge_kutta
from smidgen.tasks.dynamics.lorenz63 import Lorenz63
from smidgen.tasks.dynamics.shallow_water import ShallowWater1D, ShallowWater2D
from smidgen.tasks.dynamics.soil_heat import YEAR, SoilHeat

DOUBLE = DoublePrecision()
SMALL = [
    ShallowWater1D(places=16, time=20, spin_up=10),
    ShallowWater2D(height=8, width=12, time=16, spin_up=8, every=10),
    Lorenz63(time=4, spin_up=1),
    SoilHeat(years=0.2, spin_up=0.1),
]


def test_lorenz_follows_the_equations():
    model = Lorenz63(time=1.0, spin_up=0.0, every=100)
    start = 8 * initial_normals([5], 3)[:, 0] + [0, 0, 25]

    def slope(_, s):
        x, y, z = s
        return [10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z]

    want = solve_ivp(slope, (0, 1), start, rtol=1e-10, atol=1e-10).y[:, -1]
    assert np.allclose(model(DOUBLE, [5])[0, :, 0], want, atol=2e-3)
    long = Lorenz63(time=30)(DOUBLE, range(100))
    assert long.shape == (200, 3, 100) and abs(long[:, 2].mean() - 23.55) < 0.15  # the known mean of z


def test_heat_follows_the_wave_and_is_not_lost():
    deep = SoilHeat(layers=60, years=6, spin_up=5, dt=12 * 3600, every=1)  # too deep to feel its bottom
    heat = deep(DOUBLE, [0])[:, :, 0]
    for layer in (1, 5, 10):
        assert np.ptp(heat[:, layer - 1]) / 2 == pytest.approx(deep.amplitude(layer), rel=0.01)
    model = SoilHeat(layers=4)
    state = np.array([[280.0], [290.0], [285.0], [300.0]])
    after, top = model.step(DOUBLE, state, 100), model.surface(100 * model.dt)
    assert after.sum() - state.sum() == pytest.approx(model.share * (top - 280.0))  # all came from above
    assert model.surface(YEAR / 4) == pytest.approx(298.0)


@pytest.mark.parametrize("model", SMALL[:2], ids=["1-D", "2-D"])
def test_water_keeps_still_and_keeps_its_mass(model):
    still = type(model)(**{**vars(model), "force": 0.0, "noise": 0.0, "ridge": 0.6})
    assert not still(DOUBLE, [0]).any()
    moved = model(DOUBLE, [1, 2])
    assert abs(moved[:, model.variables["height"]].sum(1)).max() < 1e-13 and abs(moved).max() > 1e-3
    assert [moved[:, s].shape[1] for s in model.variables.values()] == [moved.shape[1] // len(model.variables)] * len(
        model.variables
    )


def test_moving_water_keeps_its_energy():
    """Without drag, viscosity and force, the equations between places keep kinetic and potential energy."""
    rng = np.random.default_rng(0)
    own = {"drag": 0.0, "viscosity": 0.0}
    for model, shape in ((ShallowWater1D(**own), (2, 16, 1)), (ShallowWater2D(**own), (3, 12, 10, 1))):
        state, depth = 0.1 * rng.standard_normal(shape), 1 - 0.4 * rng.random(shape[1:])

        def energy(state, depth=depth):
            water = depth + state[-1]
            axes = (0,) if len(state) == 2 else (1, 0)
            kinetic = [0.5 * (water + np.roll(water, 1, axis)) * u**2 for u, axis in zip(state[:-1], axes, strict=True)]
            return 0.5 * (sum(kinetic) + state[-1] ** 2).sum()

        first, speed = energy(state), state[0].copy()
        for _ in range(100):
            state = runge_kutta(lambda s, m=model, d=depth: m.tendency(s, d, 0.0), state, 0.05)
        assert energy(state) == pytest.approx(first, rel=1e-6) and abs(state[0] - speed).max() > 0.05


@pytest.mark.parametrize("model", SMALL, ids=lambda m: type(m).__name__)
def test_a_member_is_the_same_beside_others(model):
    together = model(DOUBLE, [3, 4])
    assert np.array_equal(together[:, :, :1], model(DOUBLE, [3])) and np.isfinite(together).all()
    assert not np.array_equal(together[:, :, 0], together[:, :, 1])


def test_errors_say_what_to_do():
    with pytest.raises(BadInput, match="stable step"):
        SoilHeat(dt=86400.0)
    with pytest.raises(BadInput, match="spin-up"):
        Lorenz63(time=1, spin_up=2)(DOUBLE, [0])
    with pytest.raises(BadInput, match="dt"):
        ShallowWater2D(dt=1.5)

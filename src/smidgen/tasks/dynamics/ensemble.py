"""What the simulations share: arithmetic, initial states, a time step, samples in time."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from smidgen.kit.errors import bad
from smidgen.kit.seeds import derive_seed


class Arithmetic(Protocol):
    """Makes the arrays that a simulation computes with."""

    def array(self, x: Any) -> Any: ...


class DoublePrecision:
    """Plain numpy arrays."""

    def array(self, x: Any) -> np.ndarray:
        return np.array(x, np.float64)


def initial_normals(seeds: Sequence[int], *shape: int) -> np.ndarray:
    """Standard normal numbers `[*shape, members]`; what a member gets depends on its own seed alone."""
    drawn = [np.random.default_rng(derive_seed(seed, "initial state")).standard_normal(shape) for seed in seeds]
    return np.stack(drawn, axis=-1)


def runge_kutta(tendency: Callable[[Any], Any], state: Any, dt: float) -> Any:
    """The state a step later, by the classical method of fourth order."""
    k1 = tendency(state)
    k2 = tendency(state + (dt / 2) * k1)
    k3 = tendency(state + (dt / 2) * k2)
    k4 = tendency(state + dt * k3)
    return state + (dt / 6) * (k1 + 2 * (k2 + k3) + k4)


def sampled(
    step: Callable[[Any, int], Any], state: Any, steps: int, spin_up: int, every: int, read: Callable[[Any], Any]
) -> np.ndarray:
    """`read` of the state, `[points, members]`, after each `every` steps behind the spin-up: `[time, points, members]`.

    Args:
        step: (state, number) to the state after step `number`, counted from 0.

    Raises:
        BadInput: nothing would be sampled.
    """
    if not 0 <= spin_up < steps or not 1 <= every <= steps - spin_up:
        raise bad("steps", "some behind the spin-up, and a sample within these", f"{steps}, {spin_up}, {every}")
    out = []
    for number in range(steps):
        state = step(state, number)
        if number >= spin_up and (number + 1 - spin_up) % every == 0:
            out.append(np.array(read(state), np.float64))
    return np.stack(out)


def ahead(x: Any, axis: int) -> Any:
    """The neighbour at the next place, on a ring."""
    return np.roll(x, -1, axis)


def behind(x: Any, axis: int) -> Any:
    """The neighbour at the place before, on a ring."""
    return np.roll(x, 1, axis)

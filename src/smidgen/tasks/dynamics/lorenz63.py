"""The chaotic convection of Lorenz (1963): three numbers that never settle, on an attractor of two wings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from smidgen.kit.errors import bad
from smidgen.tasks.dynamics.ensemble import Arithmetic, initial_normals, runge_kutta, sampled


@dataclass(frozen=True, kw_only=True)
class Lorenz63:
    """x' = sigma (y - x), y' = x (rho - z) - y, z' = x y - beta z, by Runge and Kutta's method.

    Attributes:
        dt: a step, in time units. time, spin_up: of a member, in time units. every: steps between samples.
    """

    variables: ClassVar[Mapping[str, slice]] = {name: slice(i, i + 1) for i, name in enumerate("xyz")}

    sigma: float = 10.0
    rho: float = 28.0
    beta: float = 8 / 3
    dt: float = 0.01
    time: float = 60.0
    spin_up: float = 10.0
    every: int = 10

    def __post_init__(self) -> None:
        if not self.dt > 0:
            raise bad("dt", "above 0", self.dt)

    def __call__(self, arithmetic: Arithmetic, seeds: Sequence[int]) -> np.ndarray:
        """`[time, 3, members]`. Members begin at normal deviations of 8 from (0, 0, 25): far apart on the attractor's
        scale, and distinct in few bits."""
        state = arithmetic.array(8 * initial_normals(seeds, 3) + np.array([0.0, 0.0, 25.0])[:, None])
        steps, spin_up = round(self.time / self.dt), round(self.spin_up / self.dt)
        return sampled(
            lambda s, _: runge_kutta(self.tendency, s, self.dt), state, steps, spin_up, self.every, lambda s: s
        )

    def tendency(self, state: Any) -> Any:
        x, y, z = state[0], state[1], state[2]
        return np.stack([self.sigma * (y - x), x * (self.rho - z) - y, x * y - self.beta * z])

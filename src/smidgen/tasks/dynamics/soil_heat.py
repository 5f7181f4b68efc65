"""Heat in a column of soil under a yearly cycle: slow, so that a step changes little, and short numbers lose it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from smidgen.kit.errors import bad
from smidgen.tasks.dynamics.ensemble import Arithmetic, initial_normals, sampled

YEAR = 365.25 * 86400.0  # seconds


@dataclass(frozen=True, kw_only=True)
class SoilHeat:
    """T' = kappa T'', explicit steps, temperature given above the first layer, no flux below the last.

    Attributes:
        layers, thickness: of the column, metres. diffusivity: m2/s. dt: a step, seconds.
        mean, swing: of the temperature one thickness above the middle of the first layer, kelvin.
        spread: deviation of the members' initial temperatures from the mean, kelvin, the same in all layers.
        years, spin_up: of a run. every: steps between samples.
    """

    layers: int = 20
    thickness: float = 0.25
    diffusivity: float = 7e-7
    dt: float = 6 * 3600.0
    mean: float = 288.0
    swing: float = 10.0
    spread: float = 0.5
    years: float = 30.0
    spin_up: float = 15.0
    every: int = 20

    def __post_init__(self) -> None:
        if not 0 < self.share <= 0.5:
            raise bad("dt", "a stable step: diffusivity dt / thickness2 in (0, 0.5]", self.share, "Shorten it.")

    @property
    def share(self) -> float:
        """What a step takes of the curvature; no unit."""
        return self.diffusivity * self.dt / self.thickness**2

    def __call__(self, arithmetic: Arithmetic, seeds: Sequence[int]) -> np.ndarray:
        """Temperatures `[time, layers, members]`, kelvin, from the top down."""
        start = self.mean + self.spread * initial_normals(seeds, 1)
        state = arithmetic.array(np.repeat(start, self.layers, axis=0))
        steps, spin_up = (round(years * YEAR / self.dt) for years in (self.years, self.spin_up))
        return sampled(lambda s, n: self.step(arithmetic, s, n), state, steps, spin_up, self.every, lambda s: s)

    def surface(self, time: float) -> float:
        """Kelvin, after so many seconds."""
        return self.mean + self.swing * math.sin(2 * math.pi * time / YEAR)

    def step(self, arithmetic: Arithmetic, state: Any, number: int) -> Any:
        top = arithmetic.array(np.full((1, state.shape[1]), self.surface(number * self.dt)))
        drops = np.concatenate([top, state[:-1]]) - state  # from the layer above; below the last there is none
        return state + self.share * (drops - np.concatenate([drops[1:], np.zeros((1, state.shape[1]))]))

    def amplitude(self, layer: int) -> float:
        """Of the yearly wave in the middle of a layer, counted from 1, in a column without end: for comparison."""
        return self.swing * math.exp(-layer * self.thickness * math.sqrt(math.pi / (YEAR * self.diffusivity)))

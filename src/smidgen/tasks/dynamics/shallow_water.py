"""Shallow water over a ridge, on a ring (1-D) and on a torus (2-D): waves, and turbulence.

Both step surface height and velocity by Runge and Kutta's method on staggered places, so that water at rest over the
ridge stays at rest, and no water is lost but by rounding. Lengths are in grid cells; gravity and mean depth are 1, so
that long waves run a cell a time unit. Dims: x and y places, M members; a field is `[x, M]` or `[y, x, M]`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from smidgen.kit.errors import bad
from smidgen.tasks.dynamics.ensemble import Arithmetic, ahead, behind, initial_normals, runge_kutta, sampled


@dataclass(frozen=True, kw_only=True)
class ShallowWater1D:
    """Waves driven over a ridge by two travelling forces, with a phase of each member's own.

    Attributes:
        places: on the ring. ridge: its height, of the mean depth. force: its greatest acceleration.
        drag: share of the velocity lost in a time unit. viscosity: of neighbours' differences.
        noise: deviation of the initial velocities. dt, time, spin_up: time units. every: steps between samples.
    """

    places: int = 64
    ridge: float = 0.3
    force: float = 0.004
    drag: float = 0.01
    viscosity: float = 0.2
    noise: float = 0.02
    dt: float = 0.25
    time: float = 1000.0
    spin_up: float = 400.0
    every: int = 16

    def __post_init__(self) -> None:
        _check(self.places, self.ridge, self.dt)

    @property
    def variables(self) -> Mapping[str, slice]:
        return _names(("u", "height"), self.places)

    def __call__(self, arithmetic: Arithmetic, seeds: Sequence[int]) -> np.ndarray:
        """`[time, 2 places, members]`: velocities between places, then heights of the surface."""
        drawn = initial_normals(seeds, self.places + 2)
        start = np.stack([self.noise * drawn[2:], np.zeros_like(drawn[2:])])
        turn = 2 * np.pi * np.arange(self.places)[:, None] / self.places
        # Two waves that travel at frequencies without common measure; a member's phases are its own.
        waves = [
            (arithmetic.array(np.sin(k * turn + phase)), arithmetic.array(np.cos(k * turn + phase)), frequency)
            for k, phase, frequency in zip((1, 2), np.pi * drawn[:2], (0.07, 0.07 * 2**0.5), strict=True)
        ]
        depth = arithmetic.array(1 - np.broadcast_to(self._ground(), drawn[2:].shape))

        def step(state: Any, number: int) -> Any:
            angles = [frequency * number * self.dt for _, _, frequency in waves]
            parts = [s * np.cos(a) - c * np.sin(a) for (s, c, _), a in zip(waves, angles, strict=True)]
            push = (self.force / 2) * (parts[0] + parts[1])
            return runge_kutta(lambda s: self.tendency(s, depth, push), state, self.dt)

        return _run(self, step, arithmetic.array(start))

    def tendency(self, state: Any, depth: Any, push: Any) -> Any:
        """Args: depth: of the ground below the mean surface. push: the force between places."""
        u, height = state[0], state[1]  # u[i] between places i - 1 and i
        water = depth + height
        flow = u * (0.5 * (water + behind(water, 0)))
        head = height + 0.25 * (u * u + ahead(u * u, 0))  # what is pushed down: surface and mean of u2 / 2
        spread = self.viscosity * (ahead(u, 0) - 2 * u + behind(u, 0))
        return np.stack([push - (head - behind(head, 0)) - self.drag * u + spread, flow - ahead(flow, 0)])

    def _ground(self) -> np.ndarray:
        x = np.arange(self.places)
        return self.ridge * np.exp(-(((x - self.places / 2) / (self.places / 12)) ** 2))[:, None]


@dataclass(frozen=True, kw_only=True)
class ShallowWater2D:
    """Turbulence of opposite streams along x over a ridge that crosses them. A small difference grows e-fold in about
    100 time units.

    Velocities lie on the cells' sides (Arakawa's C grid); the advection is Sadourny's, which keeps energy but for drag
    and viscosity.

    Attributes:
        height, width: cells. ridge: its height, of the mean depth.
        streams: pairs of opposite ones. force: their greatest acceleration.
        drag: share of the velocity lost in a time unit. viscosity: of neighbours' differences.
        noise: deviation of the initial velocities. dt, time, spin_up: time units. every: steps between samples.
    """

    height: int = 24
    width: int = 48
    ridge: float = 0.3
    streams: int = 2
    force: float = 0.01
    drag: float = 0.005
    viscosity: float = 0.01
    noise: float = 0.05
    dt: float = 0.4
    time: float = 1500.0
    spin_up: float = 500.0
    every: int = 40

    def __post_init__(self) -> None:
        _check(min(self.height, self.width), self.ridge, self.dt)

    @property
    def variables(self) -> Mapping[str, slice]:
        return _names(("u", "v", "height"), self.height * self.width)

    def __call__(self, arithmetic: Arithmetic, seeds: Sequence[int]) -> np.ndarray:
        """`[time, 3 height width, members]`: velocities along x, along y, and heights of the surface."""
        speeds = self.noise * initial_normals(seeds, 2, self.height, self.width)
        state = arithmetic.array(np.concatenate([speeds, np.zeros_like(speeds[:1])]))
        x, y = np.arange(self.width), np.arange(self.height)
        ground = self.ridge * np.exp(-(((x - self.width / 2) / (self.width / 12)) ** 2))
        force_y = self.force * np.sin(2 * np.pi * self.streams * (y + 0.5) / self.height)
        like = speeds[0]
        depth = arithmetic.array(1 - np.broadcast_to(ground[None, :, None], like.shape))
        push = arithmetic.array(np.broadcast_to(force_y[:, None, None], like.shape))
        return _run(self, lambda s, _: runge_kutta(lambda t: self.tendency(t, depth, push), s, self.dt), state)

    def tendency(self, state: Any, depth: Any, push: Any) -> Any:
        """Args: depth: of the ground below the mean surface. push: acceleration along x."""
        u, v, height = state[0], state[1], state[2]  # u on west sides, v on south sides
        water = depth + height
        west = 0.5 * (water + behind(water, 1))  # depth on the west sides
        flow_x, flow_y = u * west, v * (0.5 * (water + behind(water, 0)))
        corner = 0.5 * (west + behind(west, 0))
        spin = ((v - behind(v, 1)) - (u - behind(u, 0))) / corner  # potential vorticity at south-west corners
        twist_x, twist_y = spin * (0.5 * (flow_y + behind(flow_y, 1))), spin * (0.5 * (flow_x + behind(flow_x, 0)))
        head = height + 0.25 * ((u * u + ahead(u * u, 1)) + (v * v + ahead(v * v, 0)))
        du = 0.5 * (twist_x + ahead(twist_x, 0)) - (head - behind(head, 1)) + push
        dv = -0.5 * (twist_y + ahead(twist_y, 1)) - (head - behind(head, 0))
        inflow = (flow_x - ahead(flow_x, 1)) + (flow_y - ahead(flow_y, 0))
        return np.stack([du + self._friction(u), dv + self._friction(v), inflow])

    def _friction(self, u: Any) -> Any:
        around = (ahead(u, 0) + behind(u, 0)) + (ahead(u, 1) + behind(u, 1))
        return self.viscosity * (around - 4 * u) - self.drag * u


def _check(places: int, ridge: float, dt: float) -> None:
    if places < 8:
        raise bad("places", "at least 8 along each axis", places)
    if not 0 <= ridge < 0.9:
        raise bad("ridge", "0 to 0.9 of the mean depth", ridge)
    if not 0 < dt <= 1:
        raise bad("dt", "above 0, and at most the 1 that a wave needs to cross a cell", dt)


def _names(names: Sequence[str], points: int) -> dict[str, slice]:
    return {name: slice(i * points, (i + 1) * points) for i, name in enumerate(names)}


def _run(model: Any, step: Any, state: Any) -> np.ndarray:
    steps, spin_up = round(model.time / model.dt), round(model.spin_up / model.dt)
    return sampled(step, state, steps, spin_up, model.every, lambda s: np.asarray(s).reshape(-1, s.shape[-1]))

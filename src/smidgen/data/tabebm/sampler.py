"""Langevin sampling of an energy from given starts: many chains side by side, none of which sees another.

    x <- x - step E'(x) + noise z,   z normal

With noise = sqrt(2 step) and small steps this samples exp(-E). TabEBM's published noise of 0.01 at a step of 0.1 is far
below that: chains go down to the next valley and stay there, at a temperature of noise^2 / (2 step) = 0.0005. Few
steps, and starts at real rows, are what keeps them apart.

Dims: N chains, T steps, D features.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from smidgen.data.tabebm.energy import Energy
from smidgen.kit.errors import BadInput, bad


@dataclass(frozen=True)
class Chains:
    """Where the chains ended, `x_ND`, and their energies on the way, `energy_TN` `[T + 1, N]`, the start first."""

    x_ND: np.ndarray
    energy_TN: np.ndarray


@dataclass(frozen=True, kw_only=True)
class SGLDSampler:
    """Published settings of TabEBM.

    Attributes:
        step_size: > 0. noise_std: >= 0, of each step. n_steps: >= 0.
        reduction: "sum": each chain goes down its own energy. "mean": down the mean energy of all, as the published
            code does, so that the step is divided by the number of chains and little but noise is left.
        limit: how far a chain may get from its start; None: any finite distance.
    """

    step_size: float = 0.1
    noise_std: float = 0.01
    n_steps: int = 200
    reduction: Literal["sum", "mean"] = "sum"
    limit: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.step_size < np.inf:
            raise bad("step_size", "above 0", self.step_size)
        if not 0 <= self.noise_std < np.inf:
            raise bad("noise_std", "0 or more", self.noise_std)
        if self.n_steps < 0:
            raise bad("n_steps", "0 or more", self.n_steps)
        if self.reduction not in ("sum", "mean"):
            raise bad("reduction", "sum or mean", self.reduction)

    def run(self, energy: Energy, start_ND: np.ndarray, seed: int) -> Chains:
        """All chains, one from each row of `start_ND`.

        Raises:
            BadInput: starts are no matrix, or a chain ran off (beyond `limit`, or to numbers that are not finite).
        """
        start_ND = np.asarray(start_ND, float)
        if start_ND.ndim != 2 or not len(start_ND):
            raise bad("start", "a matrix with at least one row", str(start_ND.shape))
        rng = np.random.default_rng(seed)
        step = self.step_size / (len(start_ND) if self.reduction == "mean" else 1)
        x_ND, trace = start_ND, []
        for t in range(self.n_steps):
            e_N, slope_ND = energy.value_and_gradient(x_ND)
            trace.append(e_N)
            x_ND = x_ND - step * slope_ND + self.noise_std * rng.standard_normal(x_ND.shape)
            self._guard(x_ND, start_ND, t + 1)
        trace.append(energy.value(x_ND))
        return Chains(x_ND, np.array(trace))

    def _guard(self, x_ND: np.ndarray, start_ND: np.ndarray, step: int) -> None:
        far_N = np.linalg.norm(x_ND - start_ND, axis=1)
        lost = int((~(far_N <= (np.finfo(float).max if self.limit is None else self.limit))).sum())
        if lost:
            raise BadInput(
                f"After {step} steps {lost} of {len(x_ND)} chains ran off: the energy falls away from the rows, or the "
                f"step is too long for it. Take a step_size below {self.step_size:g}, or another backbone."
            )

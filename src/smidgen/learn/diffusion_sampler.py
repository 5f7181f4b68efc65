"""Images from a diffusion model: the deterministic sampler of second order of Karras et al. (2022, arXiv 2206.00364,
algorithm 1, without added noise), and its early stop for models that never saw a clean image.

Noise of the highest level is led along dx/dt = (x - D(x, t)) / t, D the guess of the clean row, to the lowest level,
and then replaced by that guess. A model of rows of noise level s knows nothing below s (`learn.diffusion`): there the
walk ends at s exactly, and what comes out is the mean of all rows that x may be, smoother than any of them.

Dims: B rows; `...` is any shape of a row.
"""

import math

import torch
from torch import Tensor

from smidgen.kit.errors import bad
from smidgen.learn.diffusion import Net


def noise_levels(
    steps: int = 18, sigma_min: float = 2e-3, sigma_max: float = 80.0, rho: float = 7.0, stop_variance: float = 0.0
) -> list[float]:
    """Falling levels of which the sampler asks its model: `steps` of them, evenly spaced as roots of order `rho`
    (equation 5); with `stop_variance` those above its root, and that root.

    Raises:
        BadInput: fewer than 2 steps, levels that do not fall, a variance at or above that of the highest level.
    """
    if steps < 2:
        raise bad("steps", "at least 2", steps)
    if not 0 < sigma_min < sigma_max:
        raise bad("sigma_min and sigma_max", "0 < sigma_min < sigma_max", f"{sigma_min:g} and {sigma_max:g}")
    if not rho > 0:
        raise bad("rho", "above 0", rho)
    if not 0 <= stop_variance < sigma_max**2:
        raise bad("stop_variance", f"from 0 to below sigma_max^2 = {sigma_max**2:g}", stop_variance)
    first, last = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    levels = [(first + i / (steps - 1) * (last - first)) ** rho for i in range(steps)]
    stop = math.sqrt(stop_variance)
    return levels if stop <= sigma_min else [*(t for t in levels if t > stop * (1 + 1e-9)), stop]


@torch.no_grad()
def edm_sampler(
    net: Net,
    latents: Tensor,
    steps: int = 18,
    sigma_min: float = 2e-3,
    sigma_max: float = 80.0,
    rho: float = 7.0,
    stop_variance: float = 0.0,
    labels: Tensor | None = None,
) -> Tensor:
    """A sample for each row of standard normal numbers.

    Args:
        net: guesses clean rows, as `EDMPrecond`; in `eval` mode. latents: `[B, ...]`. labels: classes `[B]`.
        stop_variance: s^2 of the cleanest rows that the model was trained on; 0 where these were clean.
    Returns:
        `[B, ...]`, after 2 steps - 1 calls of the net, fewer with a stop. Nothing is clipped.
    Raises:
        BadInput: as `noise_levels`.
    """
    levels = noise_levels(steps, sigma_min, sigma_max, rho, stop_variance)

    def guess(x: Tensor, level: float) -> Tensor:
        return net(x.to(latents.dtype), torch.full((len(x),), level).to(latents), labels).double()

    x = latents.double() * levels[0]  # small steps are added to numbers of the size of sigma_max
    for now, then in zip(levels, levels[1:], strict=False):
        slope = (x - guess(x, now)) / now
        ahead = x + (then - now) * slope
        x = x + (then - now) * 0.5 * (slope + (ahead - guess(ahead, then)) / then)
    return guess(x, levels[-1]).to(latents.dtype)

"""One fitter for all laws: robust non-linear least squares of logarithms, many problems in one batch.

Levenberg and Marquardt's method with the exact slopes of the form, bounds kept by projection, and weights that are
renewed at each step for the Huber loss (Huber, 1964). Many starts, and a thousand bootstrap draws, are one batch: each
step is one call of numpy's for all of them.

Dims: K problems, R rows, P parameters.
"""

from dataclasses import dataclass

import numpy as np

from smidgen.laws.form import Form, bounds, priors

STEPS = 200
STILL = 1e-9  # a problem whose cost falls by less, relative to it, has settled


@dataclass(frozen=True)
class Solved:
    """`theta_KP`; `cost_K`: half the sum of squares (Huber) in units of the noise, priors included."""

    theta_KP: np.ndarray
    cost_K: np.ndarray


def solve(
    form: Form,
    x_RI: np.ndarray,
    log_y: np.ndarray,
    sd: np.ndarray,
    starts_KP: np.ndarray,
    weights: np.ndarray | None = None,
    huber: float = np.inf,
    steps: int = STEPS,
) -> Solved:
    """The least cost near each start.

    Args:
        log_y, sd, weights: `[R]`, or `[K, R]` where problems have their own; sd of log_y; weights count rows.
        huber: residuals beyond so many sd count linearly.
    """
    low_P, high_P = bounds(form)
    mean_P, precision_P = priors(form)
    count, rows = len(starts_KP), len(x_RI)
    theta_KP = np.clip(starts_KP.astype(float), low_P, high_P)
    log_y_KR, sd_KR = (np.broadcast_to(v, (count, rows)) for v in (log_y, sd))
    weights_KR = np.ones((count, rows)) if weights is None else np.broadcast_to(weights, (count, rows))

    def residuals(theta: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, slope = form.log_value(theta, x_RI)
        return (value - log_y_KR[at]) / sd_KR[at], slope / sd_KR[at][..., None]

    def costs(theta: np.ndarray, z: np.ndarray, at: np.ndarray) -> np.ndarray:
        size = np.abs(z)
        each = 0.5 * z**2 if np.isinf(huber) else np.where(size <= huber, 0.5 * z**2, huber * (size - 0.5 * huber))
        return (weights_KR[at] * each).sum(1) + 0.5 * (precision_P * (theta - mean_P) ** 2).sum(1)

    active = np.arange(count)
    z, slope = residuals(theta_KP, active)
    cost_K = costs(theta_KP, z, active)
    damping_K, quiet_K = np.full(count, 1e-2), np.zeros(count, int)
    for _ in range(steps):
        theta = theta_KP[active]
        pull = weights_KR[active] * np.minimum(1.0, huber / np.maximum(np.abs(z), 1e-300))
        gradient = np.einsum("krp,kr->kp", slope, pull * z) + precision_P * (theta - mean_P)
        hessian = np.matmul((slope * pull[..., None]).transpose(0, 2, 1), slope)
        diagonal = np.einsum("kpp->kp", hessian)
        diagonal += precision_P
        stuck = ((theta <= low_P) & (gradient > 0)) | ((theta >= high_P) & (gradient < 0))
        step = _step(hessian, gradient, damping_K[active], stuck)
        tried = np.clip(theta - step, low_P, high_P)
        z_new, slope_new = residuals(tried, active)
        new = costs(tried, z_new, active)
        better = new <= cost_K[active]  # False where it is not a number
        gain = np.where(better, cost_K[active] - new, 0.0)
        settled = better & (gain <= STILL * (1.0 + cost_K[active]))
        theta_KP[active[better]], cost_K[active[better]] = tried[better], new[better]
        z, slope = np.where(better[:, None], z_new, z), np.where(better[:, None, None], slope_new, slope)
        damping_K[active] = np.where(better, np.maximum(damping_K[active] * 0.2, 1e-12), damping_K[active] * 5)
        quiet_K[active] = np.where(settled, quiet_K[active] + 1, 0)
        on = (quiet_K[active] < 2) & (damping_K[active] < 1e10)
        if not on.all():
            active, z, slope = active[on], z[on], slope[on]
        if not len(active):
            break
    return Solved(theta_KP, cost_K)


def _step(hessian: np.ndarray, gradient: np.ndarray, damping: np.ndarray, stuck: np.ndarray) -> np.ndarray:
    """Damped Gauss-Newton steps; parameters that push against a bound stay out."""
    many = gradient.shape[1]
    free = ~stuck
    hessian = hessian * (free[:, :, None] & free[:, None, :])
    diagonal = np.einsum("kpp->kp", hessian)
    hessian[:, np.arange(many), np.arange(many)] += damping[:, None] * diagonal + np.where(stuck, 1.0, 1e-12)
    return np.linalg.solve(hessian, (gradient * free)[..., None])[..., 0]

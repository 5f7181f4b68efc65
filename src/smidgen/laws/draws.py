"""Plausible parameters of a fitted law: bootstrap, Laplace's approximation, or a short chain of the posterior.

Dims: K draws, R rows, P parameters, W walkers.
"""

import numpy as np

from smidgen.laws.form import bounds, priors
from smidgen.laws.law import HUBER, Law
from smidgen.laws.solver import solve

DRAWS = 1000


def bootstrap(law: Law, draws: int = DRAWS, *, seed: int = 0) -> Law:
    """Refits to the law's values with its own residuals drawn with replacement (Efron, 1979): the inputs stay, so that
    no draw loses the few points that tell parameters apart. Residuals are widened by the degrees of freedom spent."""
    rng = np.random.default_rng(seed)
    rows = len(law.points)
    fitted_R = law.form.log_value(law.theta_P[None], law.points.x_RI)[0][0]
    free = sum(p.prior is None for p in law.form.parameters)
    sd_R = _sd(law)
    scaled_R = (np.log(law.points.y_R) - fitted_R) / sd_R
    scaled_R = (scaled_R - scaled_R.mean()) * np.sqrt(rows / max(rows - free, 1))
    log_y_KR = fitted_R + scaled_R[rng.integers(0, rows, (draws, rows))] * sd_R
    starts_KP = np.repeat(law.theta_P[None], draws, 0)
    return law.with_draws(solve(law.form, law.points.x_RI, log_y_KR, sd_R, starts_KP, huber=HUBER, steps=60).theta_KP)


def laplace(law: Law, draws: int = DRAWS, *, seed: int = 0) -> Law:
    """A normal distribution around the fit, with its curvature; draws out of bounds are moved to them."""
    rng = np.random.default_rng(seed)
    low_P, high_P = bounds(law.form)
    values, vectors = np.linalg.eigh(hessian(law))
    spread_P = 1 / np.sqrt(np.maximum(values, 1e-8))
    draws_KP = law.theta_P + (rng.normal(size=(draws, len(values))) * spread_P) @ vectors.T
    return law.with_draws(np.clip(draws_KP, low_P, high_P))


def posterior(law: Law, draws: int = DRAWS, *, seed: int = 0, walkers: int = 64, burn: int = 300) -> Law:
    """A chain of the posterior by walkers that stretch towards each other (Goodman and Weare, 2010): flat priors
    within bounds, normal ones as the form has them, normal noise of log y."""
    rng = np.random.default_rng(seed)
    low_P, high_P = bounds(law.form)
    many = len(low_P)
    at_WP = laplace(law, walkers, seed=seed + 1).draws_KP
    assert at_WP is not None
    at_WP = np.clip(at_WP + 1e-6 * rng.normal(size=at_WP.shape), low_P, high_P)
    cost_W, kept = _cost(law, at_WP), []
    thin = 3
    for step in range(burn + thin * -(-draws // walkers)):
        for half in (slice(0, walkers, 2), slice(1, walkers, 2)):
            others = np.r_[at_WP[1::2]] if half.start == 0 else np.r_[at_WP[0::2]]
            own = at_WP[half]
            stretch = (1 + rng.random(len(own))) ** 2 / 2
            tried = others[rng.integers(0, len(others), len(own))]
            tried = tried + stretch[:, None] * (own - tried)
            inside = ((tried >= low_P) & (tried <= high_P)).all(1)
            new = np.where(inside, _cost(law, np.clip(tried, low_P, high_P)), np.inf)
            taken = np.log(rng.random(len(own))) < (many - 1) * np.log(stretch) - new + cost_W[half]
            at_WP[half] = np.where(taken[:, None], tried, own)
            cost_W[half] = np.where(taken, new, cost_W[half])
        if step >= burn and (step - burn) % thin == 0:
            kept.append(at_WP.copy())
    return law.with_draws(np.concatenate(kept)[:draws])


def hessian(law: Law) -> np.ndarray:
    """Curvature of the cost at the fit `[P, P]` (Gauss-Newton), the priors' included."""
    slope_RP = law.form.log_value(law.theta_P[None], law.points.x_RI)[1][0] / _sd(law)[:, None]
    return slope_RP.T @ slope_RP + np.diag(priors(law.form)[1])


def _sd(law: Law) -> np.ndarray:
    return np.full(len(law.points), law.sd) if law.points.sd_R is None else law.points.sd_R


def _cost(law: Law, theta_KP: np.ndarray) -> np.ndarray:
    mean_P, precision_P = priors(law.form)
    z_KR = (law.form.log_value(theta_KP, law.points.x_RI)[0] - np.log(law.points.y_R)) / _sd(law)
    more = getattr(law.form, "more_cost", None)  # what a form knows beside its points
    extra_K = more(theta_KP) if more else 0.0
    return 0.5 * (z_KR**2).sum(1) + 0.5 * (precision_P * (theta_KP - mean_P) ** 2).sum(1) + extra_K

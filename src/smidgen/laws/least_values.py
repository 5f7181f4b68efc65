"""Least squares of values themselves, by the fitter of logarithms: each point's weight is renewed until a small error
of a small value counts as little as it does when values are subtracted.

With f the fit and y the value, a weight of f (f - y) / (log f - log y) makes both problems have the same slope, so
that where the rounds settle the sum of (f - y)^2 is stationary.
"""

import math

import numpy as np

from smidgen.laws.form import Form
from smidgen.laws.law import Law, fit
from smidgen.laws.points import Points
from smidgen.laws.solver import solve

ROUNDS = 30


def fit_values(form: Form, points: Points) -> Law:
    """The law with the least sum of squares of the values. Raises as `law.fit`."""
    law = fit(form, points, huber=math.inf)
    y_R, theta_P, sd_R = points.y_R, law.theta_P, np.ones(len(points))
    for _ in range(ROUNDS):
        f_R = np.exp(form.log_value(theta_P[None], points.x_RI)[0][0])
        free = max(len(y_R) - sum(p.prior is None for p in form.parameters), 1)
        off = max(math.sqrt(float((f_R - y_R) @ (f_R - y_R)) / free), 1e-9 * float(y_R.mean()))
        sd_R = off / np.sqrt(f_R * _between(f_R, y_R))
        moved_P = solve(form, points.x_RI, np.log(y_R), sd_R, theta_P[None]).theta_KP[0]
        still = np.allclose(moved_P, theta_P, rtol=1e-9, atol=1e-10)
        theta_P = moved_P
        if still:
            break
    solved = solve(form, points.x_RI, np.log(y_R), sd_R, theta_P[None])
    return Law(form, Points(points.inputs, points.x_RI, y_R, sd_R), solved.theta_KP[0], float(np.median(sd_R)),
               float(solved.cost_K[0]))  # fmt: skip


def _between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The logarithmic mean of two numbers above 0."""
    apart = np.log(a / b)
    small = np.abs(apart) < 1e-6
    return np.where(small, (a + b) / 2, (a - b) / np.where(small, 1.0, apart))

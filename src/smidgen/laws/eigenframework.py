"""How kernel or random-feature ridge regression will err, from the kernel's spectrum alone, before anything is trained
(Simon et al., 2023, "More is better in modern machine learning", arXiv 2311.14646).

    spectrum = estimate_spectrum(K, Y)                       # of laws.random_features
    risk = ridge_risk(*spectrum, n=[100, 1000], k=512, ridge=0.1)
    ridge, best = optimal_ridge(*spectrum, n=1000)

A kernel has eigenvalues lambda_i (those of K / n for many points: `ridge` is added to K itself, which is not divided by
n) and the target has coefficients v_i in its eigenfunctions; labels carry noise of a given variance. The effective
ridges kappa, gamma >= 0 solve

    n = z + ridge / kappa,   k = z + k kappa / gamma,   with z = sum_i lambda_i / (lambda_i + gamma),

that is gamma (k - z) (n - z) = k ridge, whose left side rises with gamma: one bisection, and ridge is explicit where
gamma is given. With q = sum_i (lambda_i / (lambda_i + gamma))^2, t_i = gamma / (lambda_i + gamma) and the share
w = (k - z) / (k - q), which is 1 for infinite width,

    test = n / (n - z + w (z - q)) * (sum_i (t_i - w t_i (1 - t_i)) v_i^2 + noise),   train = (1 - z / n)^2 test.

This is the paper's formula arranged so that nothing cancels where ridge is small. With the best ridge more samples and
more features never harm; without, the error has a peak at n = k.
Dims: M eigenvalues, O outputs, R settings (n, k, ridge, noise broadcast against each other), G places of a search.
"""

import math
import warnings
from dataclasses import dataclass

import numpy as np

from smidgen.kit.errors import bad
from smidgen.laws.points import Numbers

_CELLS = 4_000_000  # settings times eigenvalues that are held at once
_STEPS = 100  # halvings: from any bracket down to neighbouring numbers
_PLACES = 96  # of the search for the best ridge
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Risk:
    """Mean squared errors, summed over outputs, in the shape of the settings.

    Attributes:
        test: on new labels, their noise included. train: on the labels that were fitted.
        kappa, gamma: effective ridges. z: eigenfunctions that are learnt, as a sum of parts; q: of their squares.
    """

    test: np.ndarray
    train: np.ndarray
    kappa: np.ndarray
    gamma: np.ndarray
    z: np.ndarray
    q: np.ndarray

    @property
    def fitting_ratio(self) -> np.ndarray:
        """Train over test error: 0 where training labels are met exactly."""
        return self.train / self.test


def ridge_risk(
    eigenvalues: Numbers,
    coefficients2: Numbers,
    n: Numbers | float,
    k: Numbers | float = math.inf,
    ridge: Numbers | float = 0.0,
    noise: Numbers | float = 0.0,
    *,
    whole: bool = False,
) -> Risk:
    """The expected errors of each setting.

    Args:
        eigenvalues: `[M]`, >= 0, in any order. coefficients2: squares `[M]`, or `[M, O]` for several outputs.
        n: samples. k: random features; infinite: the kernel itself. ridge: added to the diagonal of the n x n matrix.
        noise: variance of the labels' noise, summed over outputs.
        whole: the spectrum is all there is. Otherwise a warning says where more samples or features than half its
            length are asked for: what was cut off acts like a ridge, which is then missing.
    Raises:
        BadInput: n or k below 1, a negative or infinite ridge or noise, or no ridge just where samples are as many as
            features (or as all eigenvalues): the error has no bound there.
    """
    values_M, power_M, lost = _spectrum(eigenvalues, coefficients2)
    n, k, ridge, noise = np.broadcast_arrays(*(np.asarray(v, float) for v in (n, k, ridge, noise)))
    _check(n, k, noise)
    if not (np.isfinite(ridge) & (ridge >= 0)).all():
        raise bad("ridge", "finite and >= 0", ridge.tolist())
    many = len(values_M)
    peak = (ridge == 0) & (((n == k) & (n <= many)) | ((n == many) & (n <= k)))
    if peak.any():
        at = f"{n[peak].flat[0]:g} samples for as many features"
        raise bad("ridge", f"above 0 at the peak of the error, {at}", 0.0, "Any small ridge will do.")
    if not whole:
        _warn_if_cut(np.size(eigenvalues), n, k)
    shape = n.shape
    n, k, ridge, noise = (v.ravel() for v in (n, k, ridge, noise + lost))
    parts, rows = [], max(1, _CELLS // many)
    for start in range(0, len(n), rows):
        r = slice(start, start + rows)
        gamma_R = _gamma(values_M, n[r], k[r], ridge[r])
        parts.append(_errors(values_M, power_M, gamma_R, n[r], k[r], noise[r], ridge[r] == 0))
    return Risk(*(np.concatenate(column).reshape(shape) for column in zip(*parts, strict=True)))


def optimal_ridge(
    eigenvalues: Numbers,
    coefficients2: Numbers,
    n: Numbers | float,
    k: Numbers | float = math.inf,
    noise: Numbers | float = 0.0,
    *,
    whole: bool = False,
) -> tuple[np.ndarray, Risk]:
    """(the ridge of least test error, the errors with it), one for each setting; 0 where interpolation is best.

    A grid in log gamma, then golden sections: gamma rises with ridge, and ridge follows from it without a solver.
    Raises:
        BadInput: as in `ridge_risk`.
    """
    values_M, power_M, lost = _spectrum(eigenvalues, coefficients2)
    n, k, noise = np.broadcast_arrays(*(np.asarray(v, float) for v in (n, k, noise)))
    _check(n, k, noise)
    if not whole:
        _warn_if_cut(np.size(eigenvalues), n, k)
    settings = zip(n.flat, k.flat, (noise + lost).flat, strict=True)
    found = [_best(values_M, power_M, *setting) for setting in settings]
    columns = [np.concatenate(column).reshape(n.shape) for column in zip(*found, strict=True)]
    return columns[0], Risk(*columns[1:])


def optimal_fitting_ratio(alpha: float, beta: float, relative_noise: float = 0.0) -> float:
    """Train over test error at the best ridge, for eigenvalues i^-alpha, squared coefficients i^-beta, infinite width,
    in the limit of many samples; 0: interpolate. Hundreds of samples are still some way from the limit.

    Args:
        alpha: above 1. beta: between 1 and 2 alpha + 1.
        relative_noise: noise variance over the error without noise and ridge at as many samples.
    Raises:
        BadInput: an exponent out of its range, or negative noise.
    """
    from scipy.optimize import brentq

    if overfitting_obligatory(alpha, beta, relative_noise):
        return 0.0
    a, b = (alpha - 1) * beta, alpha * (alpha - 1) * relative_noise
    s = brentq(lambda s: a * s + b * s**beta - alpha * (beta - 1), 0.0, 1.0, xtol=1e-14)
    return (1 - float(s)) ** 2  # type: ignore[arg-type]


def overfitting_obligatory(alpha: float, beta: float, relative_noise: float = 0.0) -> bool:
    """Whether the best ridge is 0 in the limit of many samples, so that not to interpolate costs a fixed factor.
    Arguments and errors as in `optimal_fitting_ratio`."""
    if not 1 < alpha < math.inf:
        raise bad("alpha", "finite and above 1", alpha)
    if not 1 < beta < 2 * alpha + 1:
        raise bad("beta", f"between 1 and 2 alpha + 1 = {2 * alpha + 1:g}", beta)
    if not 0 <= relative_noise < math.inf:
        raise bad("relative_noise", "finite and >= 0", relative_noise)
    return relative_noise <= (beta - alpha) / (alpha * (alpha - 1))


def _spectrum(eigenvalues: Numbers, coefficients2: Numbers) -> tuple[np.ndarray, np.ndarray, float]:
    """(eigenvalues above 0, their power, the power of the others: it is never learnt, so it counts as noise)."""
    values, power = np.asarray(eigenvalues, float), np.asarray(coefficients2, float)
    if values.ndim != 1 or not (values > 0).any() or not (np.isfinite(values) & (values >= 0)).all():
        raise bad("eigenvalues", "a list of finite numbers >= 0, one above 0", f"an array of shape {values.shape}")
    if power.ndim not in (1, 2) or len(power) != len(values) or not (np.isfinite(power) & (power >= 0)).all():
        raise bad("coefficients2", f"{len(values)} rows of finite squares", f"an array of shape {power.shape}")
    power, learnt = power.reshape(len(power), -1).sum(1), values > 0
    return values[learnt], power[learnt], float(power[~learnt].sum())


def _check(n: np.ndarray, k: np.ndarray, noise: np.ndarray) -> None:
    if not (np.isfinite(n) & (n >= 1)).all():
        raise bad("n", "finite and at least 1", n.tolist())
    if not (k >= 1).all():
        raise bad("k", "at least 1, or infinite", k.tolist())
    if not (np.isfinite(noise) & (noise >= 0)).all():
        raise bad("noise", "finite and >= 0", noise.tolist())


def _warn_if_cut(many: int, n: np.ndarray, k: np.ndarray) -> None:
    largest = float(max(n.max(), np.where(np.isfinite(k), k, 0.0).max()))
    if many < 2 * largest:
        warnings.warn(
            f"{many} eigenvalues are few for {largest:g} samples or features: errors come out too small where the "
            "spectrum goes on. Estimate it from more points, or say whole=True.",
            UserWarning, stacklevel=3,
        )  # fmt: skip


def _gamma(values_M: np.ndarray, n_R: np.ndarray, k_R: np.ndarray, ridge_R: np.ndarray) -> np.ndarray:
    """The effective ridge `[R]`, by bisection of its logarithm; 0 where there is no ridge and samples and features
    suffice for all eigenfunctions."""
    many = len(values_M)
    few_R = np.minimum(n_R, k_R)
    free_R = (ridge_R == 0) & (few_R >= many)
    low_R = np.log(np.where(ridge_R > 0, ridge_R / n_R, values_M.min() * 1e-3 / many))
    high_R = np.log(np.maximum(2 * values_M.sum() / np.minimum(few_R, many), 4 * ridge_R / n_R))
    assert (low_R < high_R).all()
    for _ in range(_STEPS):
        middle_R = (low_R + high_R) / 2
        gamma_R = np.exp(middle_R)
        z_R = (values_M / (values_M + gamma_R[:, None])).sum(1)
        below_R = (z_R >= few_R) | (gamma_R * (1 - z_R / k_R) * (n_R - z_R) < ridge_R)
        low_R, high_R = np.where(below_R, middle_R, low_R), np.where(below_R, high_R, middle_R)
        if (high_R - low_R <= 4e-16 * np.maximum(np.abs(high_R), 1.0)).all():
            break
    return np.where(free_R, 0.0, np.exp(high_R))


def _errors(
    values_M: np.ndarray,
    power_M: np.ndarray,
    gamma_R: np.ndarray,
    n_R: np.ndarray,
    k_R: np.ndarray,
    noise_R: np.ndarray,
    ridgeless_R: np.ndarray,
) -> tuple[np.ndarray, ...]:
    """The columns of `Risk`, each `[R]`; infinite, and not a number for train, at the peak."""
    t_RM = gamma_R[:, None] / (values_M + gamma_R[:, None])
    over_R = (t_RM * (1 - t_RM)).sum(1)  # z - q
    z_R = np.where(ridgeless_R & (gamma_R > 0), np.minimum(n_R, k_R), (1 - t_RM).sum(1))
    left_R, spare_R, wide_R = np.maximum(n_R - z_R, 0.0), np.maximum(k_R - z_R, 0.0), np.isinf(k_R)
    share_R = np.ones_like(z_R)
    np.divide(spare_R, spare_R + over_R, out=share_R, where=~wide_R & (spare_R + over_R > 0))
    missed_R = t_RM @ power_M - share_R * ((t_RM * (1 - t_RM)) @ power_M)
    with np.errstate(divide="ignore", invalid="ignore"):
        test_R = n_R / (left_R + share_R * over_R) * (missed_R + noise_R)
        train_R = (left_R / n_R) ** 2 * test_R
        kappa_R = np.where(wide_R, gamma_R, gamma_R * (spare_R / k_R))
    return test_R, train_R, kappa_R, gamma_R, z_R, z_R - over_R


def _best(values_M: np.ndarray, power_M: np.ndarray, n: float, k: float, noise: float) -> tuple[np.ndarray, ...]:
    """(ridge, columns of `Risk`), each `[1]`."""

    def at(gamma_G: np.ndarray, ridgeless: bool = False) -> tuple[np.ndarray, ...]:
        ones_G = np.ones(len(gamma_G))
        return _errors(
            values_M, power_M, gamma_G, n * ones_G, k * ones_G, noise * ones_G, np.full(len(gamma_G), ridgeless)
        )

    least = _gamma(values_M, np.array([n]), np.array([k]), np.zeros(1))
    start = float(least[0]) or float(values_M.min()) * 1e-6 / len(values_M)
    grid_G = np.linspace(math.log(start), math.log(1e3 * max(float(values_M.sum()), start)), _PLACES)
    test_G = np.concatenate([at(np.exp(part))[0] for part in np.array_split(grid_G, 8)])
    best = int(np.argmin(test_G))
    low, high = grid_G[max(best - 1, 0)], grid_G[min(best + 1, _PLACES - 1)]
    while high - low > 1e-7:
        inner = np.array([high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)])
        first, second = at(np.exp(inner))[0]
        low, high = (low, inner[1]) if first <= second else (inner[0], high)
    columns, none = at(np.exp([(low + high) / 2])), at(least, ridgeless=True)
    if columns[0][0] < none[0][0] * (1 - 1e-12):
        return columns[2] * (n - columns[4]), *columns
    return np.zeros(1), *none

"""Random-feature ridge regression, the kernels that its maps have on average, and what `eigenframework` needs of a
kernel: its spectrum, and its exponents (Simon et al., 2023, arXiv 2311.14646).

Exponents are not read off a spectrum of finite size, whose end is bent, but from how two quantities fall with samples:
1 / trace(K_n^-1), an estimate of the effective ridge, as n^-alpha, and the error without ridge as n^-(beta - 1).

Dims: N samples, D inputs, K features, O outputs, M eigenvalues, R ridges.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import linalg

from smidgen.kit.errors import bad
from smidgen.laws.draws import bootstrap
from smidgen.laws.form import Parameter, PowerSum, Term
from smidgen.laws.law import Law, fit
from smidgen.laws.points import Points

MAPS = ("relu", "gaussian", "rff")


@dataclass(frozen=True)
class FeatureMap:
    """K random features of D inputs.

    Attributes:
        name: "relu": sqrt(2) max(0, x w); "gaussian": x w; "rff": sqrt(2) cos(x w / length + shift), with w normal.
        weights_DK, shift_K: as drawn. length: of "rff".
    """

    name: str
    weights_DK: np.ndarray = field(repr=False)
    shift_K: np.ndarray = field(repr=False)
    length: float = 1.0

    def __call__(self, x_ND: np.ndarray) -> np.ndarray:
        """Features over sqrt(K) `[N, K]`: their products are the kernel, on average."""
        out_NK = np.asarray(x_ND, float) @ self.weights_DK
        scale = math.sqrt(1 / self.weights_DK.shape[1])
        if self.name == "relu":
            return math.sqrt(2) * scale * np.maximum(out_NK, 0.0)
        if self.name == "rff":
            return math.sqrt(2) * scale * np.cos(out_NK / self.length + self.shift_K)
        return scale * out_NK


def draw_features(name: str, inputs: int, features: int, rng: np.random.Generator, length: float = 1.0) -> FeatureMap:
    """Raises BadInput: an unknown map, no inputs, no features, or a length not above 0."""
    _check_map(name, length)
    for what, value in (("inputs", inputs), ("features", features)):
        if value < 1:
            raise bad(what, "at least 1", value)
    weights_DK = rng.standard_normal((inputs, features))
    return FeatureMap(name, weights_DK, rng.uniform(0, 2 * math.pi, features), length)


def expected_kernel(name: str, x_ND: np.ndarray, z_ED: np.ndarray, length: float = 1.0) -> np.ndarray:
    """The kernel that a map has with infinitely many features `[N, E]`: of "relu" the arc-cosine kernel of order 1
    (Cho and Saul, 2009), of "gaussian" the product, of "rff" exp(-|x - z|^2 / (2 length^2)).

    Raises:
        BadInput: an unknown map, or a length not above 0.
    """
    _check_map(name, length)
    x_ND, z_ED = np.asarray(x_ND, float), np.asarray(z_ED, float)
    product_NE = x_ND @ z_ED.T
    if name == "gaussian":
        return product_NE
    x2_N1, z2_E = (x_ND**2).sum(1)[:, None], (z_ED**2).sum(1)
    if name == "rff":
        return np.exp(np.minimum(2 * product_NE - x2_N1 - z2_E, 0.0) / (2 * length**2))
    size_NE = np.sqrt(x2_N1 * z2_E)
    cosine_NE = np.clip(np.divide(product_NE, size_NE, out=np.zeros_like(size_NE), where=size_NE > 0), -1, 1)
    angle_NE = np.arccos(cosine_NE)
    return size_NE / math.pi * (np.sqrt(1 - cosine_NE**2) + (math.pi - angle_NE) * cosine_NE)


@dataclass(frozen=True)
class FeatureRidge:
    """A fitted ridge regression on random features. `coefficients_KO`: of the features over sqrt(K)."""

    features: FeatureMap
    coefficients_KO: np.ndarray = field(repr=False)
    flat: bool = False

    def predict(self, x_ND: np.ndarray) -> np.ndarray:
        """`[N, O]`; `[N]` where it was fitted to one list of numbers."""
        out_NO = self.features(x_ND) @ self.coefficients_KO
        return out_NO[:, 0] if self.flat else out_NO


def fit_feature_ridge(x_ND: np.ndarray, y: np.ndarray, features: FeatureMap, ridge: float) -> FeatureRidge:
    """Ridge regression on given features, no constant, `ridge` added to the N x N matrix of their products.

    Without ridge, of all best fits the smallest. Directions are dropped only where they are nought to float64.
    Raises:
        BadInput: numbers that are not finite, other rows in x than in y, or a negative ridge.
    """
    x_ND, y_NO = np.asarray(x_ND, float), np.asarray(y, float)
    if x_ND.ndim != 2 or y_NO.ndim not in (1, 2) or len(x_ND) != len(y_NO) or not len(x_ND):
        raise bad("x and y", "a matrix and as many rows of targets", f"shapes {x_ND.shape} and {y_NO.shape}")
    if not (np.isfinite(x_ND).all() and np.isfinite(y_NO).all()):
        raise bad("x and y", "finite numbers", "some that are not")
    if not 0 <= ridge < math.inf:
        raise bad("ridge", "finite and >= 0", ridge)
    flat = y_NO.ndim == 1
    coefficients_KO = _ridge(features(x_ND), y_NO[:, None] if flat else y_NO, ridge)
    return FeatureRidge(features, coefficients_KO, flat)


def estimate_spectrum(kernel_NN: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(eigenvalues `[M]`, falling; squared coefficients `[M]`, summed over outputs) from M = N points; those of the
    largest few hundredths are the surest. The noise of labels is in the coefficients of small eigenvalues.

    Raises:
        BadInput: a matrix that is not square, symmetric and finite, or other rows than targets.
    """
    kernel_NN, y_NO = _kernel(kernel_NN, y)
    values_M, vectors_NM = linalg.eigh(kernel_NN, driver="evd")
    weights_MO = vectors_NM.T @ y_NO
    return np.maximum(values_M[::-1], 0.0) / len(y_NO), (weights_MO[::-1] ** 2).sum(1) / len(y_NO)


def kernel_errors(
    kernel_NN: np.ndarray, y: np.ndarray, across_EN: np.ndarray, new_y: np.ndarray, ridges: Sequence[float] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(test, train) mean squared errors of kernel ridge regression, summed over outputs, `[R]` each.

    Args:
        across_EN: the kernel of E new points with those that are fitted. ridges: >= 0, added to the kernel's diagonal;
            with 0, directions are dropped only where they are nought to float64.
    Raises:
        BadInput: shapes that do not go together, a kernel as in `estimate_spectrum`, or a negative ridge.
    """
    kernel_NN, y_NO = _kernel(kernel_NN, y)
    new_EO = np.asarray(new_y, float).reshape(len(new_y), -1)
    if across_EN.shape != (len(new_EO), len(y_NO)) or new_EO.shape[1] != y_NO.shape[1]:
        raise bad("across_EN", f"shape {(len(new_EO), len(y_NO))} and as many outputs", across_EN.shape)
    ridges_R = np.asarray(ridges, float)
    if not (np.isfinite(ridges_R) & (ridges_R >= 0)).all():
        raise bad("ridges", "finite and >= 0", ridges_R.tolist())
    values_N, vectors_NN = linalg.eigh(kernel_NN, driver="evd")
    turned_NO, turned_EN = vectors_NN.T @ y_NO, across_EN @ vectors_NN
    sure_N = values_N > values_N.max() * len(values_N) * np.finfo(float).eps
    test, train = [], []
    for ridge in ridges_R:
        inverse_N = np.divide(1.0, values_N + ridge, out=np.zeros_like(values_N), where=sure_N)
        test.append(((new_EO - turned_EN @ (inverse_N[:, None] * turned_NO)) ** 2).sum() / len(new_EO))
        train.append((((1 - values_N * inverse_N)[:, None] * turned_NO) ** 2).sum() / len(y_NO))
    return np.array(test), np.array(train)


@dataclass(frozen=True)
class Exponents:
    """Of eigenvalues i^-alpha and squared coefficients i^-beta, with 90 % intervals of the two fits (what the sizes are
    too small for is not in them). `ridge_law`, `error_law`: what they were read from, by "n"."""

    alpha: float
    beta: float
    alpha_interval: tuple[float, float]
    beta_interval: tuple[float, float]
    ridge_law: Law = field(repr=False)
    error_law: Law = field(repr=False)


def powerlaw_exponents(
    kernel_NN: np.ndarray, y: np.ndarray, *, sizes: Sequence[int] | None = None, repeats: int = 4, seed: int = 0
) -> Exponents:
    """The exponents of a task, from subsets of its points: each size, `repeats` times.

    Args:
        sizes: of the subsets; by default seven from N / 32 (at least 8) to N / 4. The other points are the test.
    Raises:
        BadInput: fewer than 3 sizes, or one that leaves no test point; a kernel without an inverse.
    """
    kernel_NN, y_NO = _kernel(kernel_NN, y)
    rows = len(y_NO)
    low, high = max(8.0, rows / 32), max(8.0, rows / 4)
    several = sorted({int(n) for n in (np.geomspace(low, high, 7) if sizes is None else sizes)})
    if len(several) < 3 or several[0] < 2 or several[-1] >= rows:
        raise bad("sizes", f"at least 3 from 2 to {rows - 1}", several, "Give the kernel of more points.")
    rng, found = np.random.default_rng(seed), []
    for n in several:
        for _ in range(repeats):
            order = rng.permutation(rows)
            own, new = order[:n], order[n:]
            values = linalg.eigvalsh(kernel_NN[np.ix_(own, own)])
            if values[0] <= values[-1] * n * np.finfo(float).eps:
                raise bad("kernel", "an inverse", f"none for {n} points", "Drop points that are alike.")
            parts = kernel_NN[np.ix_(own, own)], y_NO[own], kernel_NN[np.ix_(new, own)], y_NO[new]
            found.append((float(n), 1 / (1 / values).sum(), kernel_errors(*parts, [0.0])[0][0]))
    n_R, kappa_R, error_R = np.array(found).T
    laws = [bootstrap(fit(_power(n_R), Points.of({"n": n_R}, y_R)), seed=seed) for y_R in (kappa_R, error_R)]
    ends = []
    for law in laws:
        assert law.draws_KP is not None
        ends.append(np.quantile(law.draws_KP[:, 1], (0.05, 0.95)))
    (a, b), (c, d) = ends
    slopes = [law.values["b"] for law in laws]
    return Exponents(
        slopes[0], 1 + slopes[1], (float(a), float(b)), (1 + float(c), 1 + float(d)), laws[0], laws[1]
    )  # fmt: skip


def _power(n_R: np.ndarray) -> PowerSum:
    return PowerSum(
        "power", ("n",), (Parameter(name="a", log=True), Parameter(name="b")), (Term("a", {"n": ("b", 1.0)}),),
        {"n": float(np.exp(np.log(n_R).mean()))},
    )  # fmt: skip


def _ridge(features_NK: np.ndarray, y_NO: np.ndarray, ridge: float) -> np.ndarray:
    """Coefficients `[K, O]`: normal equations of the smaller side where the ridge keeps them well, else singular
    values."""
    rows, many = features_NK.shape
    if ridge > 1e-9 * float((features_NK**2).sum()):
        if rows <= many:
            gram = features_NK @ features_NK.T + ridge * np.eye(rows)
            return features_NK.T @ linalg.solve(gram, y_NO, assume_a="pos")
        gram = features_NK.T @ features_NK + ridge * np.eye(many)
        return linalg.solve(gram, features_NK.T @ y_NO, assume_a="pos")
    left, sizes, right = linalg.svd(features_NK, full_matrices=False)
    sure = sizes > sizes.max() * max(rows, many) * np.finfo(float).eps
    inverse = np.divide(sizes, sizes**2 + ridge, out=np.zeros_like(sizes), where=sure)
    return right.T @ (inverse[:, None] * (left.T @ y_NO))


def _kernel(kernel_NN: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    kernel_NN, y_NO = np.asarray(kernel_NN, float), np.asarray(y, float)
    shape = kernel_NN.shape
    if len(shape) != 2 or shape[0] != shape[1] or not shape[0] or not np.isfinite(kernel_NN).all():
        raise bad("kernel", "a square matrix of finite numbers", f"one of shape {shape}")
    if np.abs(kernel_NN - kernel_NN.T).max() > 1e-8 * np.abs(kernel_NN).max():
        raise bad("kernel", "a symmetric matrix", "one that is not")
    if len(y_NO) != len(kernel_NN) or y_NO.ndim not in (1, 2) or not np.isfinite(y_NO).all():
        raise bad("y", f"{len(kernel_NN)} rows of finite targets", f"an array of shape {y_NO.shape}")
    return kernel_NN, y_NO.reshape(len(y_NO), -1)


def _check_map(name: str, length: float) -> None:
    if name not in MAPS:
        raise bad("map", ", ".join(MAPS), name)
    if not 0 < length < math.inf:
        raise bad("length", "finite and above 0", length)

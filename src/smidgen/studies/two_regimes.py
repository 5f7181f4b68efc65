"""Two regimes (Zheng et al., 2023; paper 035): from how many labels logistic regression beats naive Bayes.

Naive Bayes comes near its own best with few labels; the best of logistic regression is at least as good, but takes
more labels to reach. Paired learning curves show where they cross, a mixture of Gaussians shows how the labels needed
grow with the features. Dims: m rows to learn from, n features, K classes, as in the paper.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtr, stdtrit
from sklearn.base import clone

from smidgen.kit.errors import bad
from smidgen.kit.seeds import derive_seed
from smidgen.learn.logistic import LogisticClassifier
from smidgen.learn.naive_bayes import SharedVarianceGaussianNB


def few_shot(y: Any, m: int, balanced: bool = True, seed: int = 0) -> np.ndarray:
    """Rows of a draw of m labels in which every class occurs.

    Args:
        y: labels `[rows]`. m: from K to all rows.
        balanced: as many rows of each class as can be (a class with fewer gives all); draws of one seed are nested, the
            smaller in the larger. Else rows at random, where a class that would be missing gives one row all the same
            (the paper draws again, which may go on for ever where a class is rare).
    """
    codes = np.unique(np.asarray(y), return_inverse=True)[1]
    K = codes.max() + 1
    if K < 2:
        raise bad("y", "at least 2 classes", int(K))
    if not K <= m <= len(codes):
        raise bad("m", f"{K} (one row a class) to {len(codes)} (all rows)", m)
    rng = np.random.default_rng(derive_seed(seed, "few shot"))
    order = rng.permutation(len(codes))
    by_class = np.argsort(codes[order], kind="stable")
    counts = np.bincount(codes)
    turn = np.empty(len(codes), int)  # 0 for the first row of its class, 1 for the second, ...
    turn[by_class] = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[np.argsort(turn if balanced else np.minimum(turn, 1), kind="stable")][:m]


def learning_curve_pair(
    X: Any,
    y: Any,
    X_test: Any,
    y_test: Any,
    sizes: list[int],
    repeats: int = 5,
    scale: str = "minmax",
    balanced: bool = True,
    *,
    probes: tuple[Any, Any] | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Test errors of both probes on the same draws: a table m, repeat, err_nb, err_lr.

    Args:
        X, y: rows to draw from, `[rows, n]`. X_test, y_test: rows to be judged on; none of them in X.
        sizes: numbers of labels m, each at least K.
        scale: "minmax": each feature to [0, 1] over the draw, test rows by the same measure and not cut; or "none".
        balanced: see `few_shot`.
        probes: (naive Bayes, logistic regression), unfitted; None: as published, with C = 1.
        progress: called with (fits done, fits in all).

    Raises:
        BadInput: fewer than 2 classes, another width of X_test, a size out of range. ValueError: not finite.
    """
    X, X_test, y, y_test = np.asarray(X, float), np.asarray(X_test, float), np.asarray(y), np.asarray(y_test)
    if X.ndim != 2 or X_test.ndim != 2 or X.shape[1] != X_test.shape[1]:
        raise bad("X_test", f"rows like those of X, {X.shape}", X_test.shape)
    if scale not in ("minmax", "none"):
        raise bad("scale", "'minmax' or 'none'", scale)
    pair = probes or (SharedVarianceGaussianNB(), LogisticClassifier(strength=1.0))
    found, total = [], repeats * len(sizes)
    for repeat in range(repeats):
        for m in sizes:
            rows = few_shot(y, m, balanced, derive_seed(seed, "repeat", repeat))
            part, test = X[rows], X_test
            if scale == "minmax":
                low, span = part.min(0), np.ptp(part, axis=0)
                span[span == 0] = 1.0
                part, test = (part - low) / span, (test - low) / span
            nb, lr = (_error(probe, part, y[rows], test, y_test) for probe in pair)
            found.append((m, repeat, nb, lr))
            if progress:
                progress(len(found), total)
    return pd.DataFrame(found, columns=pd.Index(["m", "repeat", "err_nb", "err_lr"]))


def mean_curves(table: pd.DataFrame, level: float = 0.9) -> pd.DataFrame:
    """Mean errors by m, each with a Student interval over the repeats: err_nb, err_nb_low, err_nb_high, err_lr, ...

    Bounds are NaN where there is one repeat. They tell how sure each curve is; which is lower, `crossing_point` tells.
    """
    rows = []
    for m, part in table.groupby("m", sort=True):
        row: dict[str, Any] = {"m": m}
        for name in ("err_nb", "err_lr"):
            errors, R = part[name].to_numpy(), len(part)
            half = stdtrit(R - 1, (1 + level) / 2) * errors.std(ddof=1) / math.sqrt(R) if R > 1 else math.nan
            row |= {name: errors.mean(), f"{name}_low": errors.mean() - half, f"{name}_high": errors.mean() + half}
        rows.append(row)
    return pd.DataFrame(rows)


def crossing_point(
    table: pd.DataFrame, level: float = 0.05, lasting: bool = True, resamples: int = 2000, seed: int = 0
) -> tuple[int, tuple[float, float]] | None:
    """The switch: the first m where logistic regression has the lower mean error, and a paired test agrees.

    The test is Student's over the repeats, one-sided, its level shared among the sizes: where there is no crossing, the
    chance to see one is at most `level`.

    Args:
        lasting: its mean error is also lower at all larger m. Curves may cross more than once: with two labels a class,
            variances are poor guesses, and naive Bayes may lose what it wins back with five. False: the first anywhere.

    Returns:
        (m, 90 % interval by bootstrap over the repeats; an end is infinite where so many resamples do not cross), or
        None: no crossing.

    Raises:
        BadInput: fewer than 2 repeats, or a repeat that lacks a size.
    """
    gaps = table.assign(gap=table["err_nb"] - table["err_lr"]).pivot(index="repeat", columns="m", values="gap")
    gaps = gaps.sort_index(axis=1)
    gap = gaps.to_numpy()
    if len(gap) < 2 or np.isnan(gap).any():
        raise bad("table", "at least 2 repeats, each with all sizes", f"{len(gap)} repeats, {np.isnan(gap).sum()} gaps")
    sizes = np.append(gaps.columns.to_numpy(float), np.inf)
    found = sizes[_first_lower(gap[None], level, lasting)[0]]
    if np.isinf(found):
        return None
    rows = np.random.default_rng(derive_seed(seed, "crossing")).integers(len(gap), size=(resamples, len(gap)))
    low, high = np.quantile(_first_lower(gap[rows], level, lasting), (0.05, 0.95), method="inverted_cdf")
    return int(found), (float(sizes[low]), float(sizes[high]))


def _first_lower(gap: np.ndarray, level: float, lasting: bool) -> np.ndarray:
    """Of each table `[resamples, repeats, sizes]`: the first size whose gaps are surely positive, else `sizes`."""
    (_, R, sizes), mean = gap.shape, gap.mean(1)
    sure = mean > stdtrit(R - 1, 1 - level / sizes) * gap.std(1, ddof=1) / math.sqrt(R)
    if lasting:
        sure &= np.minimum.accumulate((mean > 0)[:, ::-1], axis=1)[:, ::-1]
    return np.where(sure.any(1), sure.argmax(1), sizes)


def make_gaussian_mixture(K: int, n: int, m: int, mode: str = "easy", seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """X `[m, n]` and classes `[m]`, equally many of each, in random order: the paper's simulation.

    Every coordinate of class 0 has mean -1, of class k mean 2^(k-1); variances are n in the first n // 2 coordinates
    and 1 in the others. "easy": independent. "hard": other entries of the covariance are those of A'A, A uniform in
    [-1, 1], the same A for every seed. That matrix has negative eigenvalues; their absolute values count, which is
    what `numpy.random.multivariate_normal` makes of it in the authors' code.
    """
    levels, root = _levels(K), _root(n, mode)
    rng = np.random.default_rng(derive_seed(seed, "mixture"))
    return _draw(rng.permutation(np.arange(m) % K), levels, root, rng)


def mixture_bayes_error(K: int, n: int, mode: str = "easy") -> float:
    """The least error there is on the mixture: its means lie on a line, so it is a sum over neighbours."""
    levels, root = _levels(K), _root(n, mode)
    ones = np.ones(n)
    whitened = ones / root if root.ndim == 1 else np.linalg.solve(root, ones)
    return float(2 / K * ndtr(-np.diff(levels) * np.linalg.norm(whitened) / 2).sum())


def samples_to_reach(
    probe: Any,
    K: int,
    n: int,
    mode: str = "easy",
    slack: float = 0.01,
    seed: int = 0,
    test: int = 10_000,
    limit: int | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> int | None:
    """m* of the simulation: the first m whose test error is below the Bayes error + slack. None: not up to `limit`.

    m grows from 2 K in steps of ceil(log n); rows are drawn anew for each m, again where a class is missing. Of one
    chain of draws m* is noisy, and rather low: take several seeds. One seed gives every probe the same rows.

    Args:
        probe: unfitted; it learns from features in raw units. limit: by default 100 n, the authors' pool.
        progress: called with (m, test error).
    """
    levels, root = _levels(K), _root(n, mode)
    X_test, y_test = make_gaussian_mixture(K, n, test, mode, derive_seed(seed, "test", n))
    goal = mixture_bayes_error(K, n, mode) + slack
    for m in range(2 * K, (limit or 100 * n) + 1, math.ceil(math.log(n))):
        rng = np.random.default_rng(derive_seed(seed, "train", n, m))
        y = rng.integers(K, size=m)
        while len(np.unique(y)) < K:
            y = rng.integers(K, size=m)
        X, y = _draw(y, levels, root, rng)
        error = _error(probe, X, y, X_test, y_test)
        if progress:
            progress(m, error)
        if error < goal:
            return m
    return None


def _error(probe: Any, X: np.ndarray, y: np.ndarray, X_test: np.ndarray, y_test: np.ndarray) -> float:
    fresh: Any = clone(probe)
    return float((fresh.fit(X, y).predict(X_test) != y_test).mean())


def _levels(K: int) -> np.ndarray:
    if K < 2:
        raise bad("K", "at least 2 classes", K)
    return np.append(-1.0, 2.0 ** np.arange(K - 1))


def _root(n: int, mode: str) -> np.ndarray:
    """Square root of the covariance: `[n]` where it is diagonal, else `[n, n]`."""
    if n < 2:
        raise bad("n", "at least 2 features", n)
    variances = np.where(np.arange(n) < n // 2, float(n), 1.0)
    if mode == "easy":
        return np.sqrt(variances)
    if mode != "hard":
        raise bad("mode", "'easy' or 'hard'", mode)
    A = np.random.default_rng(derive_seed(0, "hard", n)).uniform(-1, 1, (n, n))
    covariance = A.T @ A
    np.fill_diagonal(covariance, variances)
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.abs(values))) @ vectors.T


def _draw(
    y: np.ndarray, levels: np.ndarray, root: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    noise = rng.normal(size=(len(y), len(root)))
    return levels[y][:, None] + (noise * root if root.ndim == 1 else noise @ root), y

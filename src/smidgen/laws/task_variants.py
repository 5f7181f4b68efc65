"""What changes the slope of a learning curve, and what does not: coarser classes, noise on the inputs (Bahri et al.,
2021, arXiv 2102.06701, beside the four regimes in `regimes`).

Classes that are merged leave the data as they are, and the exponent nearly so; noise on the inputs gives the data more
dimensions, and the exponent falls. Measured without training, by kernel ridge regression of the classes on a kernel of
infinitely many random rectified features, solved exactly, on nested draws of real rows: all variants of a draw see the
same rows.

On 10,000 digits of MNIST (100 principal components, 64 to 1,024 rows, 4 draws) the exponent was 0.365; with pairs of
digits for classes 0.013 more (-0.002 to 0.027), odd against even 0.002 less (-0.012 to 0.016); with noise of 0.5, 1 and
2 standard deviations 0.075, 0.152 and 0.250 less, each surely.

Dims: N rows, D inputs, C classes, T training rows, E held rows, K draws, R sizes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import linalg
from scipy.stats import t

from smidgen.kit.errors import bad
from smidgen.laws.random_features import expected_kernel
from smidgen.laws.regimes import FEWEST, LEVEL, fit_power_law

AS_IS = "as it is"
RIDGE = 1e-6  # of the mean eigenvalue


@dataclass(frozen=True)
class Variant:
    """One task. `losses_KR`: mean squared error on held rows of each draw and size, in units of the targets' variance;
    `exponents_K`: of each draw's curve; `change`, `interval`: of the exponent from that of the task as it is, mean and
    90 % interval over paired draws (of the task as it is: of the exponent itself)."""

    name: str
    rows: tuple[int, ...]
    losses_KR: np.ndarray = field(repr=False)
    exponents_K: np.ndarray
    change: float
    interval: tuple[float, float]

    @property
    def exponent(self) -> float:
        return float(self.exponents_K.mean())


def variants(
    X: np.ndarray, y: np.ndarray, rows: Sequence[int], *, merged: Mapping[str, Sequence[int]] | None = None,
    noises: Sequence[float] = (), held: int = 1000, draws: int = 4, ridge: float = RIDGE, seed: int = 0,
) -> list[Variant]:  # fmt: skip
    """The learning curves of a task and of its variants, the task as it is first.

    Args:
        X: inputs `[N, D]`. y: class codes `[N]`. rows: sizes to learn from, at least 4.
        merged: by name, of each class code the coarser class that it goes into.
        noises: standard deviations of normal noise on all inputs, in units of the inputs' own (over all of them).
        held: rows that losses are measured on. ridge: of the mean eigenvalue.
    Raises:
        BadInput: too few sizes, rows or draws, a class without a coarser one, or one coarser class in all.
    """
    X_ND, y_N, sizes = np.asarray(X, float), np.asarray(y, int), tuple(sorted({int(r) for r in rows}))
    if len(sizes) < FEWEST:
        raise bad("sizes", f"at least {FEWEST} different ones", len(sizes))
    if sizes[0] < 1 or sizes[-1] + held > len(X_ND):
        raise bad("rows", f"1 to {len(X_ND) - held}, beside those held out", sizes[-1])
    if draws < 2:
        raise bad("draws", "at least 2, for an interval", draws)
    targets = {AS_IS: _one_hot(y_N)}
    for name, to in (merged or {}).items():
        if len(to) <= y_N.max():
            raise bad(f"coarser classes of {name}", f"one for each of {y_N.max() + 1} classes", len(to))
        targets[name] = _one_hot(np.unique(np.asarray(to)[y_N], return_inverse=True)[1])
    names = [*targets, *(f"noise {noise:g}" for noise in noises)]
    losses: dict[str, list[list[float]]] = {name: [] for name in names}
    for draw in range(draws):
        rng = np.random.default_rng([seed, draw])
        order = rng.permutation(len(X_ND))[: sizes[-1] + held]
        noise_ND, scale = rng.standard_normal((len(order), X_ND.shape[1])), float(X_ND.std())
        for name, part in zip(targets, _curves(X_ND[order], [v[order] for v in targets.values()], sizes, ridge),
                              strict=True):  # fmt: skip
            losses[name].append(part)
        for noise in noises:
            noisy_ND = X_ND[order] + noise * scale * noise_ND
            losses[f"noise {noise:g}"] += _curves(noisy_ND, [targets[AS_IS][order]], sizes, ridge)
    found = {name: np.array(losses[name]) for name in names}
    exponents = {n: np.array([fit_power_law(sizes, row).exponent for row in v]) for n, v in found.items()}
    out = []
    for name in names:
        change_K = exponents[name] - (exponents[AS_IS] if name != AS_IS else 0.0)
        middle, half = float(change_K.mean()), _half(change_K)
        out.append(Variant(name, sizes, found[name], exponents[name], middle, (middle - half, middle + half)))
    return out


def _curves(X_ND: np.ndarray, targets: list[np.ndarray], sizes: tuple[int, ...], ridge: float) -> list[list[float]]:
    """Of each target the losses at all sizes: one factorization a size for all of them. The last rows are held."""
    most = sizes[-1]
    kernel_NT = expected_kernel("relu", X_ND, X_ND[:most])
    out: list[list[float]] = [[] for _ in targets]
    y_NC = np.concatenate(targets, 1)
    ends = np.cumsum([v.shape[1] for v in targets])[:-1]
    for size in sizes:
        K_TT = kernel_NT[:size, :size].copy()
        K_TT[np.diag_indices(size)] += ridge * float(np.trace(K_TT)) / size
        weights_TC = linalg.cho_solve(linalg.cho_factor(K_TT, overwrite_a=True), y_NC[:size])
        off_EC = kernel_NT[most:, :size] @ weights_TC - y_NC[most:]
        for i, (off, own) in enumerate(zip(np.split(off_EC, ends, 1), np.split(y_NC[most:], ends, 1), strict=True)):
            out[i].append(float((off**2).sum() / (own**2).sum()))
    return out


def _one_hot(y_N: np.ndarray) -> np.ndarray:
    """Centred `[N, C]`."""
    hot_NC = np.eye(int(y_N.max()) + 1)[y_N]
    if hot_NC.shape[1] < 2:
        raise bad("classes", "at least 2", hot_NC.shape[1])
    return hot_NC - hot_NC.mean(0)


def _half(values_K: np.ndarray) -> float:
    """Half of Student's interval of the mean."""
    spread = float(values_K.std(ddof=1)) / len(values_K) ** 0.5
    return float(t.ppf(0.5 + LEVEL / 2, len(values_K) - 1)) * spread

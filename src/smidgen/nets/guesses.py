"""What four regressions in closed form guess of each row: advice that the cell transformer weighs, row by row.

Kernel ridge regressions of the targets (of classes: of their indicators), which need no training of their own: linear;
additive (a function of each column's rank, summed); smooth (Gaussian kernel); rough (exponential of the summed
distances of ranks, much like a forest of random cuts, Balog et al., 2016, arXiv 1606.05241). Each takes the length and
the strength of shrinkage with the least left-out error. What is said of a labelled row is its left-out guess (Rasmussen
and Williams, 2006, equation 5.12), so that labelled rows and queries see guesses of one kind, and the network how good
they are. No gradient passes.

Dims: B tables, R rows, N labelled rows, F columns, C classes (or 1, the number), K families.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from smidgen.nets.cell_inputs import SIGNS, CellInputs

FAMILIES = ("linear", "additive", "smooth", "rough")
SUMS = ("linear", "additive")  # kernels that are sums over columns, as they come; of the others distances come
LENGTHS = {"smooth": (0.5, 1.0, 2.0), "rough": (1.0,)}  # times the root mean (or mean) distance
NOISES = (0.03, 0.3, 3.0)  # added to the kernel's diagonal, which is about 1
NEAR = 0.6  # ranks (of standard deviation 1) over which the function of a column changes


@dataclass(frozen=True)
class Guess:
    """Of each family: mean `[B, R, K, C]`; spread `[B, R, K]`, how unsure the family is of the row before it knows the
    scale of the target; error, usual `[B, K]`, root mean squared left-out error and spread over labelled rows."""

    mean: Tensor
    spread: Tensor
    error: Tensor
    usual: Tensor

    def followed_by(self, other: "Guess") -> "Guess":
        """Of these rows and then those, of the same tables."""
        mean, spread = torch.cat([self.mean, other.mean], 1), torch.cat([self.spread, other.spread], 1)
        return Guess(mean, spread, self.error, self.usual)

    def reordered(self, order_C: Tensor) -> "Guess":
        """The same with the targets' columns in this order."""
        return replace(self, mean=self.mean[..., order_C])


@dataclass(frozen=True)
class Guesses:
    """Regressions on labelled rows.

    Attributes:
        inputs: of labelled rows. base: `[B, 1, C]`, means of targets. unit: `[B, K]`: mean distances, or of sums the
            mean over rows of what a row has with itself. length, noise: `[B, K]`, chosen.
        inverse: `[B, K, N, N]` of kernel plus noise. weights: `[B, K, N, C]`.
        own: what is said of the labelled rows themselves.
    """

    inputs: CellInputs
    base: Tensor
    unit: Tensor
    length: Tensor
    noise: Tensor
    inverse: Tensor
    weights: Tensor
    own: Guess

    def again(self, inputs: CellInputs, order_C: Tensor) -> "Guesses":
        """The same regressions, of the same rows with their columns in another order and other signs, and with the
        targets' columns in this order. Nothing is solved anew."""
        base, weights, own = self.base[..., order_C], self.weights[..., order_C], self.own.reordered(order_C)
        return replace(self, inputs=inputs, base=base, weights=weights, own=own)

    def of(self, inputs: CellInputs) -> Guess:
        """What is said of other rows."""
        means, spreads = [], []
        apart, self_sums = _apart(inputs, self.inputs), _with_itself(inputs)
        for k, name in enumerate(FAMILIES):
            kernel_BRN = _kernel(name, apart[k], self.unit[:, k, None, None], self.length[:, k, None, None])
            means.append(kernel_BRN @ self.weights[:, k] + self.base)
            explained_BR = ((kernel_BRN @ self.inverse[:, k]) * kernel_BRN).sum(-1)
            own_BR = self_sums[k] / self.unit[:, k, None] if name in SUMS else torch.ones_like(explained_BR)
            spreads.append((own_BR - explained_BR).clamp_min(0) + self.noise[:, k, None])
        return Guess(torch.stack(means, 2), torch.stack(spreads, 2).sqrt(), self.own.error, self.own.usual)


@torch.no_grad()
def guesses(inputs: CellInputs, target_BNC: Tensor) -> Guesses:
    """Regressions of targets on labelled rows, all of `inputs`."""
    base = target_BNC.mean(1, keepdim=True)
    y = target_BNC - base
    apart = _apart(inputs, inputs)
    chosen: list[tuple[Tensor, ...]] = []
    for k, name in enumerate(FAMILIES):
        unit = _with_itself(inputs)[k].mean(1) if name in SUMS else apart[k].mean((1, 2))
        unit = torch.where(unit > 1e-6, unit, 1.0)
        best: tuple[Tensor, ...] | None = None
        for length in LENGTHS.get(name, (1.0,)):
            kernel_BNN = _kernel(name, apart[k], unit[:, None, None], torch.full_like(unit, length)[:, None, None])
            for noise in NOISES:
                found = _left_out(kernel_BNN, noise, y)
                found = (*found, torch.full_like(unit, length), torch.full_like(unit, noise))
                best = found if best is None else tuple(map(_better(found[0], best[0]), found, best))
        assert best is not None
        chosen.append((unit, *best))
    unit, error, mean, spread, inverse, weights, length, noise = (
        torch.stack(each, 1) for each in zip(*chosen, strict=True)
    )
    usual = spread.square().mean(2).sqrt()
    own = Guess(mean.transpose(1, 2) + base[:, :, None], spread.transpose(1, 2), error, usual)
    return Guesses(inputs, base, unit, length, noise, inverse, weights, own)


def _left_out(kernel_BNN: Tensor, noise: float, y_BNC: Tensor) -> tuple[Tensor, ...]:
    """(error `[B]`, left-out means `[B, N, C]`, left-out spreads `[B, N]`, inverse, weights) of one variant."""
    N = kernel_BNN.shape[1]
    eye = torch.eye(N, dtype=kernel_BNN.dtype, device=kernel_BNN.device)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(kernel_BNN + noise * eye))
    weights = inverse @ y_BNC
    own = inverse.diagonal(dim1=1, dim2=2).clamp_min(1e-6)
    residual = weights / own[..., None]
    error = residual.square().sum(-1).mean(1).sqrt()
    return error, y_BNC - residual, own.rsqrt(), inverse, weights


def _better(new: Tensor, old: Tensor):
    """Chooses, table by table, between two tensors by whose error is less."""
    wins = new < old
    return lambda a, b: torch.where(wins.view(-1, *[1] * (a.ndim - 1)), a, b)


def _kernel(name: str, apart: Tensor, unit: Tensor, length: Tensor) -> Tensor:
    if name in SUMS:
        return apart / unit
    return torch.exp(-apart / (unit * length**2) / 2) if name == "smooth" else torch.exp(-apart / (unit * length))


def _with_itself(inputs: CellInputs) -> tuple[Tensor, Tensor]:
    """What each row `[B, R]` has with itself in the two sums."""
    marks = _marks(inputs).sum(-1)
    return inputs.distance.square().sum(-1) + marks, inputs.rank.shape[-1] + marks


def _apart(a: CellInputs, b: CellInputs) -> tuple[Tensor, ...]:
    """Of rows of a and of b, `[B, R, N]` each, in the order of the families: products, summed nearness of ranks,
    squared distances, summed distances of ranks. Unknown cells and signs count as indicators in all four."""
    dots, marks_a, marks_b = a.distance @ b.distance.mT, _marks(a), _marks(b)
    same = marks_a @ marks_b.mT
    other = marks_a.sum(-1)[:, :, None] + marks_b.sum(-1)[:, None] - 2 * same
    long_a, long_b = (t.distance.square().sum(-1) for t in (a, b))
    squares = (long_a[:, :, None] + long_b[:, None] - 2 * dots).clamp_min(0)
    near, far = same.clone(), other.clone()
    for x, y in zip(a.rank.unbind(-1), b.rank.unbind(-1), strict=True):
        off = (x[:, :, None] - y[:, None]).abs_()
        far += off
        near += off.mul_(-1 / NEAR).exp_()
    return dots + same, near, squares + other, far


def _marks(inputs: CellInputs) -> Tensor:
    """Indicators of unknown cells and, where there are codes, of signs, `[B, R, F]` or `[B, R, F + F SIGNS]`."""
    unknown = inputs.unknown.float()
    if not bool((inputs.sign < SIGNS).any()):
        return unknown
    hot = torch.nn.functional.one_hot(torch.where(inputs.unknown, SIGNS, inputs.sign), SIGNS + 1)[..., :SIGNS]
    return torch.cat([unknown, hot.float().flatten(2)], -1)

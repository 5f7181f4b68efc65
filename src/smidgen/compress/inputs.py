"""What calibration data say of a layer's inputs, and the error that a rounded weight makes on them.

Dims: G groups (1 but for grouped convolutions), R rows of the weight (each group has R / G), C columns, V words.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from smidgen.formats.format import as_matrix
from smidgen.kit.errors import bad


@dataclass(frozen=True)
class Inputs:
    """
    Attributes:
        rows: how many inputs were seen.
        hessian: mean of x x', float32 `[G, C, C]`; None of an embedding.
        mean, magnitude, largest: mean of x, mean of |x| and largest |x| of each column, `[G, C]`.
        counts: how often each word of an embedding was seen, int64 `[V]`.
    """

    rows: int
    hessian: Tensor | None = None
    mean: Tensor | None = None
    magnitude: Tensor | None = None
    largest: Tensor | None = None
    counts: Tensor | None = None

    @property
    def covariance(self) -> Tensor:
        """`[G, C, C]`: the hessian where the mean error is taken out by the layer's bias (see `bias_shift`)."""
        assert self.hessian is not None and self.mean is not None
        return self.hessian - self.mean[:, :, None] * self.mean[:, None, :]


def by_group(matrix: Tensor, rows: int, columns: int) -> Tensor:
    """A hessian as `[G, C, C]`, float32.

    Raises:
        BadInput: it does not fit a weight of so many rows and columns, or holds NaN.
    """
    h = (matrix if matrix.dim() == 3 else matrix[None]).detach().float()
    if h.dim() != 3 or h.shape[1:] != (columns, columns) or rows % max(len(h), 1):
        raise bad("hessian", f"[{columns}, {columns}], or one for each group of rows", list(matrix.shape))
    if not bool(torch.isfinite(h).all()):
        raise bad("hessian", "finite numbers", "NaN or infinity", "Do the calibration inputs overflow?")
    return h


def squared_error(difference: Tensor, hessian: Tensor) -> Tensor:
    """E |d x|^2 of each row of d `[R, C]`: its d H d', `[R]`."""
    d = as_matrix(difference)
    h = by_group(hessian, *d.shape)
    d = d.reshape(len(h), -1, d.shape[1])
    return ((d @ h) * d).sum(-1).reshape(-1)


def layer_error(weight: Tensor, rounded: Tensor, hessian: Tensor) -> float:
    """tr((W - Q) H (W - Q)') / tr(W H W'): the share of a layer's output (its mean square) that rounding spoils.

    0 where nothing is lost; infinity where an output that is always 0 became another.
    """
    lost = float(squared_error(weight - rounded, hessian).sum())
    whole = float(squared_error(weight, hessian).sum())
    if whole <= 0:
        return 0.0 if lost <= 0 else float("inf")
    return max(lost, 0.0) / whole


def bias_shift(weight: Tensor, rounded: Tensor, mean: Tensor) -> Tensor:
    """What the bias must take over so that the layer's mean output stays: (W - Q) E[x], `[R]`."""
    d = as_matrix(weight - rounded)
    return torch.bmm(d.reshape(len(mean), -1, d.shape[1]), mean[:, :, None]).reshape(-1)

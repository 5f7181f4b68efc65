"""The low-rank subspace that a gradient is projected to (GaLore: Zhao et al., 2024, arXiv 2403.03507).

A basis is found in one gradient and kept for many steps. Pure functions first; `GaLoreProjector` keeps one matrix's
basis and its step. The optimizers (`train.galore`) use the functions and keep bases in their own state.

Dims: M, N rows and columns of a weight; R rank.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from smidgen.kit.errors import bad
from smidgen.kit.seeds import derive_seed

ProjType = Literal["std", "reverse_std", "right", "left", "full"]
Subspace = Literal["svd", "randomized"]
EXTRA, POWER = 8, 2  # of the randomized search: columns beyond the rank, power iterations


class Basis(NamedTuple):
    """Orthonormal columns; None where that side is not projected. The side is told by which one is there."""

    left_MR: Tensor | None
    right_NR: Tensor | None


def sides(rows: int, columns: int, proj_type: ProjType) -> tuple[bool, bool]:
    """Whether a matrix is projected from the left and from the right. "std" takes the short side."""
    short_is_left = rows <= columns
    left = {"std": short_is_left, "reverse_std": not short_is_left, "left": True, "right": False, "full": True}
    if proj_type not in left:
        raise bad("proj_type", " or ".join(get_args(ProjType)), proj_type)
    return left[proj_type], proj_type == "full" or not left[proj_type]


def check_rank(rank: int, shape: Sequence[int], name: str = "") -> None:
    """Raises BadInput (a ValueError) unless 1 <= rank <= the short side."""
    rows, columns = shape
    if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= min(rows, columns):
        raise bad(f"rank{' of ' + name if name else ''}", f"1 to {min(rows, columns)} for {rows} x {columns}", rank)


def low_shape(shape: Sequence[int], rank: int, proj_type: ProjType) -> tuple[int, int]:
    """Of a projected gradient."""
    left, right = sides(shape[0], shape[1], proj_type)
    return rank if left else shape[0], rank if right else shape[1]


def is_due(step: int, gap: int, offset: int = 0) -> bool:
    """Whether a basis is found anew at this step, the first being 0; `offset` moves all but the very first."""
    return step == 0 or (step > offset and (step - offset) % gap == 0)


def find_basis(
    grad_MN: Tensor,
    rank: int,
    proj_type: ProjType = "std",
    subspace: Subspace = "svd",
    seed: int = 0,
    name: str = "the gradient",
) -> Basis | None:
    """The leading singular vectors of a gradient, in its dtype (decomposed in float32 at least).

    Args:
        subspace: "svd", or "randomized": singular vectors of a random sketch (Halko et al., 2011, algorithm 5.1 with
            power iterations), for large matrices; drawn from `seed` alone, the same on every device.
    Returns:
        None for a gradient of zeros, which has no direction.
    Raises:
        FloatingPointError: NaN or infinity in the gradient; the message has `name`.
    """
    left, right = sides(len(grad_MN), grad_MN.shape[1], proj_type)
    check_finite(grad_MN, name)
    if not bool(grad_MN.any()):
        return None
    wide = grad_MN if grad_MN.dtype in (torch.float32, torch.float64) else grad_MN.float()
    wide = wide / wide.abs().max()  # far from overflow and underflow, whatever the loss's scale
    u_MR, v_NR = _sketched(wide, rank, seed) if subspace == "randomized" else _svd(wide, rank)
    dtype = grad_MN.dtype
    return Basis(
        u_MR.to(dtype).contiguous() if left else None,
        v_NR.to(dtype).contiguous() if right else None,
    )


def check_finite(grad: Tensor, name: str) -> None:
    """Raises FloatingPointError for NaN or infinity."""
    if not bool(torch.isfinite(grad).all()):
        raise FloatingPointError(f"{name}: the gradient is not finite, so that no subspace can be found in it.")


def _svd(wide_MN: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    try:
        u, _, vt = torch.linalg.svd(wide_MN, full_matrices=False)
    except RuntimeError:  # LinAlgError, did not converge, which is rare: with twice the digits it does
        u, _, vt = torch.linalg.svd(wide_MN.double(), full_matrices=False)
    return u[:, :rank].to(wide_MN.dtype), vt[:rank].T.to(wide_MN.dtype)


def _sketched(wide_MN: Tensor, rank: int, seed: int) -> tuple[Tensor, Tensor]:
    width = min(rank + EXTRA, *wide_MN.shape)
    draw = torch.randn(wide_MN.shape[1], width, generator=torch.Generator().manual_seed(seed), dtype=wide_MN.dtype)
    q = torch.linalg.qr(wide_MN @ draw.to(wide_MN.device)).Q
    for _ in range(POWER):
        q = torch.linalg.qr(wide_MN @ torch.linalg.qr(wide_MN.T @ q).Q).Q
    u, v = _svd(q.T @ wide_MN, rank)
    return q @ u, v


def project(grad_MN: Tensor, basis: Basis) -> Tensor:
    """P^T G, G Q or P^T G Q: [R, N], [M, R] or [R, R]."""
    left_MR, right_NR = (None if b is None else b.to(grad_MN.dtype) for b in basis)
    low = grad_MN if left_MR is None else left_MR.T @ grad_MN
    return low if right_NR is None else low @ right_NR


def project_back(low: Tensor, basis: Basis) -> Tensor:
    """The full-size matrix [M, N] of a projected one."""
    out = low if basis.right_NR is None else low @ basis.right_NR.T
    return out if basis.left_MR is None else basis.left_MR @ out


def add_back_(weight_MN: Tensor, low: Tensor, basis: Basis, alpha: float) -> None:
    """weight += alpha * project_back(low), in place and without a full-size temporary."""
    low = low.to(weight_MN.dtype)
    left, right = (None if b is None else b.to(weight_MN.dtype) for b in basis)
    if left is None:
        assert right is not None
        weight_MN.addmm_(low, right.T, alpha=alpha)
    else:
        weight_MN.addmm_(left, low if right is None else low @ right.T, alpha=alpha)


def rotated(moment: Tensor, old: Basis, new: Basis, power: int = 1) -> Tensor:
    """A moment that was kept in the old basis, in the new one.

    Args:
        power: 1: the first moment, C M with C = P_new^T P_old (on the right likewise). 2: second moments: entries of
            C squared, exact where C only swaps and flips axes, else as if axes were uncorrelated; what a new axis does
            not share with any old one takes the mean over the old ones, so that no divisor falls to zero.
    """
    if old.left_MR is not None and new.left_MR is not None:
        moment = _turned(moment, new.left_MR.T @ old.left_MR, power)
    if old.right_NR is not None and new.right_NR is not None:
        moment = _turned(moment.T, new.right_NR.T @ old.right_NR, power).T
    return moment.contiguous()


def _turned(moment_RX: Tensor, turn_RR: Tensor, power: int) -> Tensor:
    turn_RR = turn_RR.to(moment_RX.dtype)
    if power == 1:
        return turn_RR @ moment_RX
    shares_RR = turn_RR.square()
    rest_R1 = (1 - shares_RR.sum(1, keepdim=True)).clamp(min=0)
    return shares_RR @ moment_RX + rest_R1 * moment_RX.mean(0, keepdim=True)


class GaLoreProjector:
    """One matrix's subspace, found anew every `update_proj_gap` steps.

    Attributes:
        scale: factor of what comes back (alpha in the paper). With scale 1, `project_back(project(g, 0))` is the best
            approximation of g of that rank.
        offset: moves the later refreshes, so that those of many matrices do not fall in one step.
    """

    def __init__(
        self,
        rank: int,
        update_proj_gap: int = 200,
        scale: float = 0.25,
        proj_type: ProjType = "std",
        *,
        offset: int = 0,
        subspace: Subspace = "svd",
        seed: int = 0,
    ) -> None:
        check_settings({"update_proj_gap": update_proj_gap, "proj_type": proj_type, "subspace": subspace})
        self.rank, self.update_proj_gap, self.scale = rank, update_proj_gap, scale
        self.proj_type: ProjType = proj_type
        self.subspace: Subspace = subspace
        self.offset, self.seed = offset, seed
        self.basis: Basis | None = None

    def project(self, grad: Tensor, step: int) -> Tensor:
        """The gradient in the subspace; at a refresh step, or without one yet, the subspace is found in `grad`."""
        grad_MN = as_matrix(grad)
        check_rank(self.rank, grad_MN.shape)
        if self.basis is None or is_due(step, self.update_proj_gap, self.offset):
            seed = derive_seed(self.seed, step)
            self.basis = find_basis(grad_MN, self.rank, self.proj_type, self.subspace, seed) or self.basis
        return project(grad_MN, self.basis or unit_basis(grad_MN, self.rank, self.proj_type))

    def project_back(self, low: Tensor) -> Tensor:
        """scale * P low (or on the other side, or both)."""
        if self.basis is None:
            raise bad("project_back", "a gradient to be projected before", "none, or only zeros")
        return self.scale * project_back(low, self.basis)

    def state_dict(self) -> dict[str, Any]:
        """The basis, as tensors."""
        return {} if self.basis is None else basis_state(self.basis)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes what `state_dict` gave, with its dtype and device."""
        self.basis = state_basis(state)


def check_settings(group: Mapping[str, Any]) -> None:
    """Raises BadInput for a setting of a projected group that cannot be."""
    gap = group["update_proj_gap"]
    if isinstance(gap, bool) or not isinstance(gap, int) or gap < 1:
        raise bad("update_proj_gap", "a whole number of steps, at least 1", gap)
    sides(1, 1, group["proj_type"])
    if group["subspace"] not in get_args(Subspace):
        raise bad("subspace", " or ".join(get_args(Subspace)), group["subspace"])


def as_matrix(x: Tensor, name: str = "a projected parameter") -> Tensor:
    """A view [M, N]: as it is, or for the weight of a 2-D convolution [out, in, height, width] -> [out, rest]."""
    if x.ndim not in (2, 4):
        raise bad(name, "a matrix (or a 4-D convolution weight)", f"shape {tuple(x.shape)}")
    return x if x.ndim == 2 else x.reshape(len(x), -1)


def unit_basis(grad_MN: Tensor, rank: int, proj_type: ProjType) -> Basis:
    """The first axes: stands in while all gradients were zero."""
    made = [torch.eye(n, rank, dtype=grad_MN.dtype, device=grad_MN.device) for n in grad_MN.shape]
    left, right = sides(len(grad_MN), grad_MN.shape[1], proj_type)
    return Basis(made[0] if left else None, made[1] if right else None)


def basis_state(basis: Basis) -> dict[str, Tensor]:
    """A basis as entries of an optimizer's state."""
    named = {"projector_left": basis.left_MR, "projector_right": basis.right_NR}
    return {name: tensor for name, tensor in named.items() if tensor is not None}


def state_basis(state: Mapping[str, Any]) -> Basis | None:
    """The basis among the entries of a state."""
    basis = Basis(state.get("projector_left"), state.get("projector_right"))
    return None if basis == (None, None) else basis

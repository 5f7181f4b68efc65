"""The subspace alone: best approximation, sides, dtypes, determinism."""

import pytest

torch = pytest.importorskip("torch")

from smidgen.kit.errors import BadInput  # noqa: E402
from smidgen.train.subspace import (  # noqa: E402
    Basis,
    GaLoreProjector,
    find_basis,
    is_due,
    project,
    project_back,
    rotated,
    sides,
)


def gradient(m=12, n=30, seed=0):
    return torch.randn(m, n, generator=torch.Generator().manual_seed(seed)) * torch.logspace(0, -3, n)


def best(grad, rank):
    u, s, v = torch.linalg.svd(grad, full_matrices=False)
    return u[:, :rank] * s[:rank] @ v[:rank]


@pytest.mark.parametrize("shape", [(12, 30), (30, 12), (9, 9)])
@pytest.mark.parametrize("proj_type", ["std", "reverse_std", "left", "right", "full"])
def test_back_and_forth_is_the_best_approximation(shape, proj_type):
    grad = gradient(*shape)
    projector = GaLoreProjector(4, scale=1.0, proj_type=proj_type)
    low = projector.project(grad, 0)
    left, right = sides(*shape, proj_type)
    assert low.shape == (4 if left else shape[0], 4 if right else shape[1])
    assert torch.allclose(projector.project_back(low), best(grad, 4), atol=1e-5)
    assert torch.allclose(GaLoreProjector(4, proj_type=proj_type).project(grad, 0), low)
    half = GaLoreProjector(4, scale=0.5, proj_type=proj_type)
    assert torch.allclose(half.project_back(half.project(grad, 0)), best(grad, 4) / 2, atol=1e-5)


def test_short_side_by_default():
    assert sides(3, 5, "std") == (True, False) and sides(5, 3, "std") == (False, True)
    assert sides(3, 5, "reverse_std") == (False, True) and sides(5, 3, "reverse_std") == (True, False)


def test_randomized_is_near_the_svd_and_depends_on_its_seed_alone():
    grad = gradient(60, 90)
    exact, near = find_basis(grad, 6), find_basis(grad, 6, subspace="randomized", seed=1)
    lost = [torch.linalg.norm(grad - project_back(project(grad, b), b)) for b in (exact, near)]
    assert lost[1] < 1.01 * lost[0]
    assert torch.allclose(near.left_MR.T @ near.left_MR, torch.eye(6), atol=1e-5)
    torch.manual_seed(5)
    again = find_basis(grad, 6, subspace="randomized", seed=1)
    assert torch.equal(near.left_MR, again.left_MR)
    assert not torch.equal(near.left_MR, find_basis(grad, 6, subspace="randomized", seed=2).left_MR)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bits_are_decomposed_in_float32(dtype):
    grad = gradient().to(dtype)
    basis = find_basis(grad, 4)
    assert basis.left_MR.dtype == dtype
    exact = find_basis(grad.float(), 4).left_MR
    assert torch.allclose(basis.left_MR.float(), exact, atol=4e-3)


def test_tiny_and_huge_gradients():
    for scale in (1e-38, 1e38):
        for subspace in ("svd", "randomized"):
            basis = find_basis(gradient() * scale, 4, subspace=subspace)
            assert torch.allclose(basis.left_MR.T @ basis.left_MR, torch.eye(4), atol=1e-5)


def test_refresh_steps_and_offsets():
    assert [s for s in range(13) if is_due(s, 4)] == [0, 4, 8, 12]
    assert [s for s in range(13) if is_due(s, 4, 3)] == [0, 7, 11]


def test_projector_keeps_its_basis_and_its_state():
    projector = GaLoreProjector(4, update_proj_gap=3)
    a, b = gradient(seed=0), gradient(seed=1)
    projector.project(a, 0)
    kept = projector.basis.left_MR
    assert torch.equal(projector.project(b, 1), kept.T @ b)
    other = GaLoreProjector(4, update_proj_gap=3)
    other.load_state_dict(projector.state_dict())
    assert torch.equal(other.project(b, 2), kept.T @ b)
    assert not torch.allclose(other.project(b, 3), kept.T @ b, atol=1e-3)
    zero = GaLoreProjector(4)
    assert zero.state_dict() == {} and zero.project(torch.zeros(12, 30), 0).abs().sum() == 0
    zero.project(a, 1)
    assert zero.project(torch.zeros(12, 30), 200).shape == (4, 30) and torch.equal(zero.basis.left_MR, kept)
    with pytest.raises(BadInput, match="rank"):
        GaLoreProjector(13).project(a, 0)
    with pytest.raises(BadInput, match="subspace"):
        GaLoreProjector(4, subspace="qr")


def test_rotation_follows_a_moment():
    grad = gradient()
    old, new = find_basis(grad, 4), find_basis(grad + 0.01 * gradient(seed=3), 4)
    moment = project(grad, old)
    assert torch.allclose(rotated(moment, old, new), new.left_MR.T @ old.left_MR @ moment, atol=1e-6)
    order = torch.tensor([2, 0, 3, 1])
    flipped = Basis(old.left_MR[:, order] * torch.tensor([1.0, -1, 1, -1]), None)
    second = moment.square()
    assert torch.allclose(rotated(second, old, flipped, power=2), second[order], atol=1e-5)
    apart = Basis(torch.linalg.qr(old.left_MR, mode="complete").Q[:, 4:8], None)  # shares no axis with the old ones
    assert torch.allclose(rotated(second, old, apart, power=2), second.mean(0).expand(4, -1), atol=1e-5)

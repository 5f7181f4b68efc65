"""Coordinates of matrices go there and back; closed forms agree with SciPy's; samples come with their inverses."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from smidgen.kit.errors import BadInput
from smidgen.nets import lie_matrices as lm
from smidgen.nets.lie_groups import GL2, SL2, SO2, SPD2
from smidgen.nets.lie_spd import SPD

UNIFORM = SO2("uniform")
GROUPS = (GL2(spd=SPD2(bounds=1.0), so=UNIFORM), SL2(spd=SPD2(traceless=True, bounds=1.0), so=UNIFORM), UNIFORM)


def random(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("group", GROUPS)
def test_coordinates_lead_back_to_the_matrix(group):
    g, inverse = group.sample_pair(1000, random())
    v = group.xi_inv(g)
    assert v.shape == (1000, group.dim) and bool(group.belongs(g).all())
    assert float((group.xi(v) - g).abs().max()) < 1e-5
    assert float((group.xi_inv(group.xi(v)) - v).abs().max()) < 1e-4
    assert float((g @ inverse - torch.eye(2)).abs().max()) < 1e-5


def test_coordinates_reach_what_the_exponential_misses():
    g = torch.tensor([[-2.0, 0.0], [0.0, -0.5]])  # trace -2.5
    assert torch.allclose(SL2().xi(SL2().xi_inv(g)), g, atol=1e-6)
    with pytest.raises(BadInput, match="xi_inv"):
        SL2().logm(g)


def test_closed_forms_agree_with_scipy():
    rng = np.random.default_rng(0)
    for size in (1e-3, 0.3, 2.0):
        a = rng.normal(size=(20, 2, 2)) * size
        got = lm.matrix_exp(torch.from_numpy(a)).numpy()
        assert np.allclose(got, scipy.linalg.expm(a), rtol=1e-11, atol=0)
        near = scipy.linalg.expm(a * min(1, 0.5 / size))  # with a logarithm
        logs = np.stack([scipy.linalg.logm(m) for m in near])
        assert np.allclose(lm.matrix_log(torch.from_numpy(near)), logs, atol=1e-10)
        p = torch.from_numpy(scipy.linalg.expm((a + a.transpose(0, 2, 1)) / 2))
        assert np.allclose(lm.spd_log(p), (a + a.transpose(0, 2, 1)) / 2, atol=1e-10)
        assert np.allclose(lm.spd_sqrt(p), np.stack([scipy.linalg.sqrtm(m) for m in p.numpy()]), rtol=1e-10)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_polar_factors_agree_with_scipy(n):
    g = SPD(n, bounds=0.5).sample_pair(10, random()).g.double()
    p, r = lm.polar(g)
    for i in range(10):
        rotation, positive = scipy.linalg.polar(g[i].numpy(), side="left")
        assert np.allclose(p[i], positive, atol=1e-6) and np.allclose(r[i], rotation, atol=1e-6)


@pytest.mark.parametrize("traceless", [False, True])
@pytest.mark.parametrize("n", [2, 3, 5])
def test_symmetric_coordinates_of_any_size(n, traceless):
    spd = SPD(n, traceless, scale=0.7)
    v = torch.randn(6, spd.dim, generator=random(), dtype=torch.float64)
    x = spd.hat(v)
    inner = 0.7 * torch.einsum("aij,bij->ab", x, x)
    assert torch.allclose(inner, v @ v.T) and torch.allclose(spd.vee(x), v)
    p = spd.expm(v)
    assert np.allclose(p, scipy.linalg.expm(x.numpy()), rtol=1e-9) and torch.allclose(spd.logm(p), x)
    if traceless:
        assert torch.allclose(torch.linalg.det(p), torch.ones(6, dtype=torch.float64))
    if n == 2:
        same = SPD2(traceless, scale=0.7)
        assert torch.allclose(same.hat(v), x) or traceless
        assert torch.allclose(same.vee(same.hat(v)), v) and torch.allclose(same.expm(v), lm.spd_exp(same.hat(v)))
    pair = spd.sample_pair(20, random())
    assert float((pair.g @ pair.inverse - torch.eye(n)).abs().max()) < 1e-5


def test_group_coordinates_are_orthonormal():
    group = GL2(spd=SPD2(scale=2.0), so=SO2(scale=2.0))
    x = group.hat(torch.eye(4))
    assert torch.allclose(2 * torch.einsum("aij,bij->ab", x, x), torch.eye(4), atol=1e-6)
    assert torch.allclose(group.vee(x), torch.eye(4), atol=1e-6)


def test_gradients_are_finite_where_eigenvalues_meet():
    p = torch.eye(2, dtype=torch.float64).requires_grad_()
    symmetric = torch.tensor([[0.3, 0.2], [0.2, -0.4]], dtype=torch.float64)
    for function in (lm.spd_log, lm.matrix_exp, lm.matrix_log):
        at = p if function is not lm.matrix_exp else torch.zeros_like(p).requires_grad_()
        (gradient,) = torch.autograd.grad((function(at) * symmetric).sum(), at)
        assert torch.allclose(gradient, symmetric)  # the derivative of all three there is the identity


def test_half_a_turn_is_pi_and_not_minus_pi():
    for zero in (0.0, -0.0):
        g = torch.tensor([[-1.0, zero], [-zero, -1.0]])
        assert float(lm.polar_angle(g)) == pytest.approx(math.pi)


def test_equidistant_rotations_name_none_twice():
    g = SO2().sample_pair(5).g
    angles = lm.polar_angle(g).sort().values
    assert torch.allclose(angles.diff(), torch.full((4,), 2 * math.pi / 5), atol=1e-6)
    assert torch.allclose(g[0], torch.eye(2))
    shifted = lm.polar_angle(SO2("shifted").sample_pair(5, random()).g).sort().values
    assert torch.allclose(shifted.diff(), torch.full((4,), 2 * math.pi / 5), atol=1e-5)
    assert float((angles - shifted).abs().max()) > 1e-2


def test_samples_have_the_variance_that_is_asked_for():
    group = GL2(spd=SPD2(bounds=0.04), so=UNIFORM)
    v = group.xi_inv(group.sample_pair(4000, random()).g)[:, :3]
    assert torch.allclose((2 * v).var(0), torch.full((3,), 0.04), rtol=0.1)  # S^(1/2) has half the coordinates
    haar = lm.haar_rotations(2000, 3, random())
    assert torch.allclose(torch.linalg.det(haar), torch.ones(2000), atol=1e-5)
    assert float(haar.mean(0).abs().max()) < 0.06  # what no direction is preferred by


def test_autocast_does_not_round_coordinates():
    g = GL2(so=UNIFORM).sample_pair(50, random()).g
    with torch.autocast("cpu", torch.bfloat16):
        back = GL2().xi(GL2().xi_inv(g))
    assert back.dtype == torch.float32 and float((back - g).abs().max()) < 1e-5


def test_errors_name_the_matrix():
    for call in (
        lambda: GL2().xi_inv(torch.diag(torch.tensor([1.0, -1.0]))),
        lambda: SL2().xi_inv(2 * torch.eye(2)),
        lambda: SO2().logm(torch.tensor([[1.0, 0.5], [0.0, 1.0]])),
        lambda: SPD2().logm(torch.tensor([[1.0, 0.5], [0.0, 1.0]])),
        lambda: GL2(spd=SPD2(traceless=True)),
        lambda: SL2(spd=SPD2()),
        lambda: GL2().sample_pair(0),
        lambda: GL2().xi(torch.zeros(3)),
        lambda: SPD(3, traceless=True).left_polar(2 * torch.eye(3)),
    ):
        with pytest.raises(BadInput, match="expected"):
            call()

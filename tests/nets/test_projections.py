"""Random projections: the written formula, lengths, transposes, seeds."""

import math

import pytest
import torch
from scipy.linalg import hadamard as matrix

from smidgen.kit.errors import BadInput
from smidgen.nets import projections
from smidgen.nets.projections import KINDS, Projection, norm_check, projection


def columns(p: Projection) -> torch.Tensor:
    """P as a matrix `[D, d]`, float64."""
    return torch.stack([p(e) for e in torch.eye(p.dim, dtype=torch.float64)], 1)


def test_fastfood_is_the_written_formula():
    """H G Pi H B of the padded vector, over sqrt(L sum G^2) sqrt(D / L)."""
    p = projection("fastfood", 5, 50, seed=3)
    L, D = 64, 50
    h = torch.tensor(matrix(L), dtype=torch.float64)
    x = torch.randn(5, dtype=torch.float64)
    signs, places, gauss = (p.parts[k].double() for k in ("signs", "places", "gauss"))
    padded = torch.zeros(L, dtype=torch.float64)
    padded[:5] = x * signs[:5]
    # Any permutation that picks equal numbers is the same: H of the padded vector repeats after 8.
    full = (h @ padded)[places.long()]
    assert sorted(places.tolist()) == sorted(8 * list(range(8)))
    g = 7.0 * gauss  # of any size: it is divided by
    expected = (h @ (g * full))[:D] / (math.sqrt(L * float(g.square().sum())) * math.sqrt(D / L))
    torch.testing.assert_close(p(x), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dim", "size"), [(1, 300), (7, 300), (257, 300)])
def test_lengths_are_kept(kind, dim, size):
    check = norm_check(kind, dim, size, draws=60)
    assert check.kept, check


def test_a_map_that_changes_lengths_is_found(monkeypatch):
    for kind, cls in KINDS.items():
        inner = cls._project
        monkeypatch.setattr(cls, "_project", lambda self, x, inner=inner: 1.3 * inner(self, x))
        assert not norm_check(kind, 7, 300).kept


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_the_transpose(kind):
    p = projection(kind, 6, 45, seed=1)
    x, g = torch.randn(6, dtype=torch.float64, requires_grad=True), torch.randn(45, dtype=torch.float64)
    p(x).backward(g)
    torch.testing.assert_close(x.grad, columns(p).T @ g)


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_is_all(kind):
    x = torch.randn(6)
    torch.manual_seed(1)
    a = projection(kind, 6, 45, seed=1)
    torch.manual_seed(2)  # nothing outside counts
    b, other = projection(kind, 6, 45, seed=1), projection(kind, 6, 45, seed=2)
    assert torch.equal(a(x), b(x)) and a.probe() == b.probe() != other.probe()
    with torch.autocast("cpu", torch.bfloat16):
        assert a(x).dtype == torch.float32 and torch.equal(a(x), b(x))


def test_wrong_sizes(monkeypatch):
    for dim in (0, 46):
        with pytest.raises(ValueError, match="dim"):
            projection("fastfood", dim, 45)
    with pytest.raises(BadInput, match="or"):
        projection("fast", 3, 45)  # pyright: ignore[reportArgumentType]
    with pytest.raises(BadInput, match="6 numbers"):
        projection("dense", 6, 45)(torch.ones(7))
    monkeypatch.setattr(projections, "MOST_DENSE", 100)
    with pytest.raises(BadInput, match="fastfood"):
        projection("dense", 6, 45)

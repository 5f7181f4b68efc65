"""The Walsh-Hadamard transform against scipy's matrix; its derivatives; half precision."""

import numpy as np
import pytest
import torch
from scipy.linalg import hadamard as matrix

from smidgen.kit.errors import BadInput
from smidgen.nets.hadamard import hadamard, next_power


@pytest.mark.parametrize("length", [1, 2, 64, 128, 1024, 4096])
@pytest.mark.parametrize("chunk", [7, 100, 1 << 20])
def test_it_is_the_matrix_whatever_the_chunk(length, chunk):
    x = torch.randn(2, length, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    before = x.clone()
    np.testing.assert_allclose(hadamard(x, chunk=chunk).numpy(), x.numpy() @ matrix(length), atol=1e-9)
    assert torch.equal(x, before)


def test_normalized_it_is_its_own_inverse():
    x = torch.randn(3, 5, 256)
    once = hadamard(x, normalized=True)
    torch.testing.assert_close(hadamard(once, normalized=True), x, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(once.norm(dim=-1), x.norm(dim=-1))


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # torch's own, in its jvp
def test_derivatives_and_transforms():
    x = torch.randn(2, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: hadamard(t, normalized=True), x)
    assert torch.autograd.gradgradcheck(lambda t: hadamard(t).square(), x)
    y = x.detach()
    torch.testing.assert_close(torch.func.vmap(hadamard)(y), hadamard(y))
    torch.testing.assert_close(torch.func.jvp(hadamard, (y,), (2 * y,))[1], 2 * hadamard(y))


def test_half_precision_adds_up_in_float32():
    """A running sum in bfloat16 would stop at 256 ones, one in float16 of such numbers would overflow."""
    assert hadamard(torch.ones(4096, dtype=torch.bfloat16))[0] == 4096
    y = hadamard(torch.full((4096,), 900.0, dtype=torch.float16), normalized=True)
    assert y[0] == 57600 and not y[1:].any()
    with torch.autocast("cpu", torch.bfloat16):
        x = torch.randn(256)
        torch.testing.assert_close(hadamard(hadamard(x, normalized=True), normalized=True), x, atol=1e-5, rtol=1e-5)


def test_what_cannot_be_transformed():
    for wrong in (torch.ones(3), torch.ones(4, dtype=torch.int64), torch.tensor(1.0), torch.ones(2, 0)):
        with pytest.raises(BadInput):
            hadamard(wrong)
    assert [next_power(n) for n in (1, 2, 3, 64, 65)] == [1, 2, 4, 64, 128]

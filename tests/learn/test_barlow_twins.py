"""The loss against plain autograd, over two processes against one, its errors; the module; effective rank."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from barlow_ranks import embeddings, plain

from smidgen.kit.errors import BadInput
from smidgen.learn import barlow_twins as bt
from smidgen.nets.small_convnet import ConvNet


@pytest.mark.parametrize("lambd", [0.0, 5e-3, 0.4])
def test_loss_and_gradients_are_those_of_autograd(lambd):
    mine = [z.clone().requires_grad_() for z in embeddings()]
    theirs = [z.double().requires_grad_() for z in embeddings()]
    loss, expected = bt.barlow_twins_loss(*mine, lambd=lambd), plain(*theirs, lambd)
    (3 * loss).backward()
    (3 * expected).backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for a, b in zip(mine, theirs, strict=True):
        assert torch.allclose(a.grad.double(), b.grad, atol=1e-5 * float(b.grad.abs().max()))


def test_wide_embeddings_one_view_alone_and_half_precision():
    z1, z2 = embeddings(8, 600)  # rows of the correlation are summed some at a time
    fixed, moved = z1, z2.clone().requires_grad_()
    bt.barlow_twins_loss(fixed, moved, lambd=0.1).backward()
    other = z2.double().requires_grad_()
    plain(z1.double(), other, 0.1).backward()
    assert torch.allclose(moved.grad.double(), other.grad, atol=1e-5 * float(other.grad.abs().max()))
    half = [z.bfloat16().requires_grad_() for z in (z1, z2)]
    with torch.autocast("cpu", torch.bfloat16):
        loss = bt.barlow_twins_loss(*half)
        loss.backward()
    exact = plain(*(z.detach().double() for z in half), 5e-3)
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(exact.item(), rel=1e-4)
    assert half[0].grad.dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):  # nothing is rounded to bfloat16 between
        moved.grad = None
        bt.barlow_twins_loss(fixed, moved, lambd=0.1).backward()
    assert torch.allclose(moved.grad.double(), other.grad, atol=1e-5 * float(other.grad.abs().max()))


def test_a_constant_feature_is_no_trouble_and_views_that_agree_cost_nothing():
    z1, z2 = embeddings()
    z1[:, 3] = 7.0
    z1.requires_grad_()
    loss = bt.barlow_twins_loss(z1, z2)
    loss.backward()
    assert loss.isfinite() and z1.grad.isfinite().all()
    whole = torch.linalg.qr(torch.randn(50, 6, generator=torch.Generator().manual_seed(1)) - 0.0)[0]
    white = torch.linalg.qr(whole - whole.mean(0))[0]
    assert bt.barlow_twins_loss(white, white, lambd=1.0).item() == pytest.approx(0.0, abs=1e-5)
    stats = bt.barlow_twins_stats(white, -white)
    assert stats.on_diag == pytest.approx(24, abs=0.1) and stats.off_diag == pytest.approx(0, abs=1e-4)


def test_wrong_batches_are_told():
    z1, z2 = embeddings()
    with pytest.raises(ValueError, match="one shape"):
        bt.barlow_twins_loss(z1, z2[:-1])
    with pytest.raises(BadInput, match="last short batch"):
        bt.barlow_twins_loss(z1[:1], z2[:1])
    with pytest.raises(TypeError, match="floating point"):
        bt.barlow_twins_loss(z1.long(), z2.long())


def test_effective_rank_counts_directions():
    g = torch.Generator().manual_seed(0)
    base = torch.linalg.qr(torch.randn(100, 5, generator=g) - 0.0)[0]
    base = torch.linalg.qr(base - base.mean(0))[0]
    assert bt.effective_rank(base @ torch.randn(5, 5, generator=g)) < 5
    assert bt.effective_rank(base + 3.0) == pytest.approx(5)
    assert bt.effective_rank(base[:, :1].repeat(1, 9)) == pytest.approx(1)
    assert bt.effective_rank(torch.ones(4, 3)) == 0


def test_lambda_keeps_the_balance_of_the_parts():
    assert bt.balanced_lambda(8192) == pytest.approx(0.0051)
    assert bt.balanced_lambda(4096) * 4095 == pytest.approx(0.0051 * 8191)
    assert bt.balanced_lambda(64) == 0.05


def test_the_module_normalises_views_apart_and_embeds_by_its_backbone():
    net = bt.BarlowTwins(ConvNet((4, 6)), 6, (8, 8), scale=0.5)
    a, b = torch.rand(2, 10, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    z1, z2 = net.projector(net.backbone(a)), net.projector(net.backbone(b))
    assert net(a, b).item() == pytest.approx(0.5 * bt.barlow_twins_loss(z1, z2).item(), rel=1e-5)
    assert torch.equal(net.embed(a), net.backbone(a)) and net.embed(a).shape == (10, 6)
    loss, parts = net.training_loss(a, b)
    assert loss.item() == pytest.approx(0.5 * (parts["on_diag"] + 5e-3 * parts["off_diag"]).item(), rel=1e-5)
    assert any(isinstance(m, torch.nn.SyncBatchNorm) for m in net.synchronised().modules())
    with pytest.raises(BadInput, match="features"):
        bt.BarlowTwins(ConvNet((4, 6)), 7, (8, 8))(a, b)


def test_two_processes_have_the_loss_and_the_gradient_of_the_whole_batch(tmp_path):
    script = Path(__file__).with_name("barlow_ranks.py")
    done = subprocess.run(
        [sys.executable, "-W", "error", script, tmp_path],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]

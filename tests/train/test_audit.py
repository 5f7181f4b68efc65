"""The audit against closed forms: a quadratic whose curvature is known."""

import math

import pytest
import torch

from smidgen.kit.errors import BadInput
from smidgen.train.audit import CurveAudit, curvature_along, gradient_cosine
from smidgen.train.loop import LoopConfig, Run, Update, train

A = torch.tensor([4.0, 1.0])


class Bowl(torch.nn.Module):
    """Loss sum(a x^2) / 2, whose second derivatives are a."""

    def __init__(self):
        super().__init__()
        self.x = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self):
        return (A * self.x.square()).sum() / 2


def test_a_quadratic_gives_its_numbers():
    model = Bowl()
    audit = CurveAudit(model, lambda m: m())
    run = Run(model, torch.optim.SGD(model.parameters(), lr=0.1))
    train(
        run,
        lambda n: (),
        lambda m: (m(), 1),
        lambda s: 1.0,
        LoopConfig(clip=None),
        steps=2,
        on_update=audit.on_update,
        before_update=audit.before_update,
    )
    (look,) = audit.looks
    gradient, step = A * torch.tensor([1.0, 2.0]), -0.1 * A * torch.tensor([1.0, 2.0])
    after = A * (torch.tensor([1.0, 2.0]) + step)
    assert look.step_norm == pytest.approx(float(step.norm())) and look.largest == pytest.approx(0.4)
    assert look.curvature == pytest.approx(float(step @ (A * step) / (step @ step)), rel=1e-5)  # Rayleigh quotient
    assert look.slope == pytest.approx(float(gradient @ step / step.norm()))
    assert look.gradient_cosine == pytest.approx(float(torch.cosine_similarity(gradient, after, dim=0)))
    assert (look.step, look.lr, look.loss) == (1, 0.1, 4.0)


def test_looks_at_every_kth_and_never_at_a_skipped_one():
    model = Bowl()
    audit = CurveAudit(model, lambda m: m(), every=3)

    def update(step, action=None):
        audit.before_update()
        if action is None:
            with torch.no_grad():
                model.x.add_(0.1)
        audit.on_update(Update(step, 1.0, 1.0, 0.1, 1, 0.0, 0.0, action))

    for step in range(1, 9):
        update(step)
    assert [look.step for look in audit.looks] == [1, 4, 7]
    audit.on_update(Update(8, math.nan, 1.0, 0.1, 0, 0.0, 0.0, "skip"))
    assert len(audit.looks) == 3


def test_no_step_has_no_curvature():
    zero, one = torch.zeros(2), torch.ones(2)
    assert math.isnan(curvature_along(zero, one, one)) and math.isnan(gradient_cosine(zero, one))
    assert gradient_cosine(one, -one) == pytest.approx(-1)
    with pytest.raises(BadInput):
        CurveAudit(Bowl(), lambda m: m(), every=0)

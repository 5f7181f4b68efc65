"""GPTQ against its definition, refinement against every single change."""

import pytest
import torch

from smidgen.compress.gptq import damped, gptq, row_importance
from smidgen.compress.inputs import bias_shift, layer_error, squared_error
from smidgen.compress.refine import fit_scales, refine
from smidgen.formats.format import Format, Scaled
from smidgen.formats.scales import from_units
from smidgen.kit.errors import BadInput

FORMATS = ("int4/8", "int2+offset/8/double", "nf4/16", "e2m1/8/e8m0", "ternary/channel", "int3/tensor", "int3+offset/7")


def case(rows=12, columns=40, seed=0, groups=1):
    """A weight and the second moment of correlated inputs of very different sizes."""
    g = torch.Generator().manual_seed(seed)
    mix = torch.randn(groups, columns, columns, generator=g) * torch.rand(groups, 1, columns, generator=g).mul(3).exp()
    x = torch.randn(groups, 3 * columns, columns // 2, generator=g) @ mix[:, : columns // 2]
    x = x + 0.1 * torch.randn(x.shape, generator=g)
    h = x.transpose(1, 2) @ x / x.shape[1]
    return torch.randn(rows, columns, generator=g), h if groups > 1 else h[0]


def slow_codes(w, h, scaled: Scaled, order):
    """One column after the other by the inverse of what is left of H (Frantar et al., equations 2 and 3)."""
    w, inverse = w.double().clone(), torch.linalg.inv(h.double())
    out = torch.zeros(w.shape, dtype=torch.uint8)
    left = order.tolist()
    while left:
        j = left[0]
        quantized = scaled.format.levels, scaled.units(w.float())[:, j]
        at = (quantized[1][:, None] - torch.from_numpy(quantized[0].levels)).abs().argmin(1)
        out[:, j] = torch.from_numpy(quantized[0].codes)[at].to(torch.uint8)
        back = scaled.with_codes(out).dequantize()[:, j].double()
        w -= torch.outer((w[:, j] - back) / inverse[j, j], inverse[j])
        inverse = inverse - torch.outer(inverse[:, j], inverse[j]) / inverse[j, j]
        left = left[1:]
    return out


@pytest.mark.parametrize("name", ["int3/8", "nf4/16", "int2+offset/8"])
@pytest.mark.parametrize("order", ["given", "activations"])
def test_is_its_definition(name, order):
    w, h = case()
    made = gptq(w, h, Format.parse(name), order=order, block=16)
    h = damped(h[None], 0.01)[0]
    columns = torch.arange(40) if order == "given" else h.diagonal().argsort(descending=True)
    wanted = slow_codes(w, h, made.scaled, columns)
    assert (made.codes == wanted).float().mean() > 0.99  # ties and float32
    lost = [layer_error(w, made.scaled.with_codes(c).dequantize(), h) for c in (made.codes, wanted)]
    assert lost[0] == pytest.approx(lost[1], rel=0.02)


@pytest.mark.parametrize("name", FORMATS)
def test_beats_rounding_and_is_bettered(name):
    w, h = case()
    form = Format.parse(name)
    plain = form.quantize(w, importance=row_importance(damped(h[None], 0.01), len(w)))
    made = gptq(w, h, form)
    better = gptq(w, h, form, refine=2)
    h = damped(h[None], 0.01)
    errors = [layer_error(w, q.dequantize(), h) for q in (plain, made, better)]
    assert errors[1] < 0.9 * errors[0]
    assert errors[2] < errors[1]
    assert errors[2] <= layer_error(w, refine(w, h, plain).dequantize(), h) * 1.3  # from any start
    assert better.pack()["codes"].dtype == torch.uint8 and better.scaled.kept.keys() == plain.scaled.kept.keys()


def test_uncorrelated_inputs_leave_rounding():
    w, _ = case()
    h = torch.diag(torch.rand(40).mul(4).exp())
    for name in FORMATS:
        plain = Format.parse(name).quantize(w, importance=row_importance(damped(h[None], 0.01), len(w)))
        assert torch.equal(gptq(w, h, Format.parse(name), order="given").codes, plain.codes)


def test_groups_of_rows_are_layers_of_their_own():
    w, h = case(rows=12, groups=3)
    w = w.reshape(12, 10, 2, 2)
    made = gptq(w, h, Format("int3", 8), order="given", refine=2)
    apart = [gptq(a, b, Format("int3", 8), order="given", refine=2) for a, b in zip(w.split(4), h, strict=True)]
    assert made.shape == (12, 10, 2, 2)
    torch.testing.assert_close(made.dequantize(), torch.cat([q.dequantize() for q in apart]), rtol=1e-3, atol=1e-3)


def test_any_block_size_is_the_same():
    w, h = case()
    made = [gptq(w, h, Format("int4", 8), block=b, refine=1).codes for b in (1, 7, 128)]
    assert (made[0] == made[2]).float().mean() > 0.98 and (made[1] == made[2]).float().mean() > 0.98


def test_columns_without_inputs():
    w, h = case()
    dead = torch.zeros(40, dtype=torch.bool)
    dead[[3, 20]] = True
    h[dead], h[:, dead] = 0, 0
    made = gptq(w, h, Format("int4", 8), refine=1)
    assert torch.equal(made.dequantize()[:, dead], made.scaled.rounded(w)[:, dead])
    nothing = gptq(w, torch.zeros(40, 40), Format("int4", 8), refine=1)
    assert torch.equal(nothing.codes, Format("int4", 8).quantize(w).codes)
    rank_one = gptq(w, torch.ones(40, 40), Format("int4", 8), damping=0.0)  # damped until it can be factored
    assert bool(torch.isfinite(rank_one.dequantize()).all())


def test_bad_input():
    w, h = case()
    with pytest.raises(BadInput, match="finite"):
        gptq(w, h * float("nan"), Format("int4", 8))
    with pytest.raises(BadInput, match=r"hessian.*\[40, 40\]"):
        gptq(w, h[:3, :3], Format("int4", 8))
    with pytest.raises(BadInput, match="however much"):
        gptq(w, -h, Format("int4", 8))
    with pytest.raises(BadInput, match="order"):
        gptq(w, h, Format("int4", 8), order="random")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["int2/8/float32", "int3+offset/7/float32", "nf4/channel/float32", "int3+offset/tensor/float32"]
)
def test_scales_are_least_squares(name):
    """No small change of any scale or offset lowers the error."""
    w, h = case(rows=3)
    h = damped(h[None], 0.01).double().float()
    start = Format.parse(name).quantize(w)
    scaled = fit_scales(w, h, start)
    assert scaled is not None
    units = from_units(torch.from_numpy(start.format.levels.values)[start.codes.long()], torch.tensor(1.0), None)
    s = scaled.scales.double().requires_grad_()
    o = None if scaled.offsets is None else scaled.offsets.double().requires_grad_()
    at = scaled.group_of(None)
    e = w.double() - from_units(units.double(), s[:, at], None if o is None else o[:, at])
    lost = ((e @ h[0].double()) * e).sum()
    first = float(squared_error(w - start.dequantize(), h).sum())
    parts = [s] if o is None else [s, o]
    for part, slope in zip(parts, torch.autograd.grad(lost, parts), strict=True):
        assert float((slope * part.detach()).abs().max()) < 2e-3 * first
    assert float(lost.detach()) < first


def test_no_single_code_is_better():
    w, h = case(rows=4)
    h = damped(h[None], 0.01)
    made = refine(w, h, Format("int3", 8).quantize(w), rounds=0)
    for _ in range(20):
        made = refine(w, h, made, rounds=0)
    lost = squared_error(w - made.dequantize(), h)
    for step in (-1, 1):
        for j in range(40):
            codes = made.codes.clone().int()
            codes[:, j] = (codes[:, j] + step).clamp(0, 7)
            other = squared_error(w - made.scaled.with_codes(codes.to(torch.uint8)).dequantize(), h)
            assert bool((other >= lost * (1 - 1e-5)).all())


def test_bias_takes_the_mean_error():
    g = torch.Generator().manual_seed(0)
    x, w = torch.randn(50, 6, generator=g) + 2, torch.randn(4, 6, generator=g)
    q = Format("int2", 6).quantize(w).dequantize()
    y = x @ q.T + bias_shift(w, q, x.mean(0)[None])
    torch.testing.assert_close(y.mean(0), (x @ w.T).mean(0))
    assert layer_error(w, q, x.T @ x / 50) == pytest.approx(
        float((x @ (w - q).T).square().sum() / (x @ w.T).square().sum())
    )

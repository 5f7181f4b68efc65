"""Diffusion on clean and noisy rows, where all is known: normal data, whose denoiser, loss and samples are formulas."""

import copy
import math

import numpy as np
import pytest
import torch

from smidgen.data.mixed_noise import MixedNoiseDataset
from smidgen.kit import methods
from smidgen.kit.errors import BadInput
from smidgen.learn.diffusion import AmbientEDMLoss, DiffusionTraining, EDMPrecond, train_denoiser
from smidgen.learn.diffusion_sampler import edm_sampler, noise_levels
from smidgen.nets.denoiser import Denoiser, DenoiserConfig
from smidgen.train.ema import EMA

MEAN, SD = 0.3, 0.5  # of the data, in one dimension


def exact(x, sigma, labels=None):
    """E[x0 | x] of normal data."""
    sigma = torch.as_tensor(sigma, dtype=x.dtype).view(-1, *[1] * (x.ndim - 1))
    return MEAN + SD**2 / (SD**2 + sigma**2) * (x - MEAN)


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def rows(levels, each, seed=0):
    """y `[B, 1]` and sample_sigma `[B]`: so many rows of each level."""
    s = torch.tensor(levels, dtype=torch.float64).repeat_interleave(each)
    z = torch.randn(2, len(s), 1, generator=random(seed), dtype=torch.float64)
    return MEAN + SD * z[0] + s[:, None] * z[1], s


def pulls(loss, y, s, seed=1):
    """Gradients of each row's loss by a constant and a slope that are added to the exact guess, `[2, B]`."""
    off = torch.zeros(2, len(y), 1, dtype=y.dtype, requires_grad=True)

    def net(x, sigma, labels):
        return exact(x, sigma) + off[0] + off[1] * (x - MEAN) / sigma[:, None].clamp(min=1)

    each, _ = loss(net, y, s, generator=random(seed))
    return torch.autograd.grad(each.sum(), off)[0][..., 0]


def in_errors(values):
    """Means in units of their standard errors."""
    return values.mean(-1) / (values.std(-1) / math.sqrt(values.shape[-1]))


@pytest.mark.parametrize("draws", ["clamp", "truncate"])
def test_the_exact_denoiser_is_best_at_every_level_of_the_rows(draws):
    levels, each = (0.0, 0.2, 0.4, 1.0), 60_000
    y, s = rows(levels, each)
    loss = AmbientEDMLoss(draws=draws)
    for pull in pulls(loss, y, s).split(each, -1):  # level by level
        assert in_errors(pull).abs().max() < 4
    for pull, level in zip(pulls(loss, y, torch.zeros_like(s)).split(each, -1), levels, strict=True):
        wrong = in_errors(pull).abs().max()  # noisy rows that are taken for clean ones
        assert wrong > 5 if level else wrong < 4


def test_what_is_left_of_the_loss_is_what_cannot_be_known():
    """Variance of y given x_t, in EDM's weights: 1 for clean rows at every level."""
    loss = AmbientEDMLoss(draws="truncate", sigma_data=SD)
    for level in (0.0, 0.4):
        y, s = rows((level,), 100_000)
        sigma, weight = loss.levels(s, random(1))
        known = (SD**2 + s**2) * (sigma**2 - s**2) / (SD**2 + sigma**2) * (sigma**2 + SD**2) / (sigma * SD) ** 2
        each, _ = loss(exact, y, s, generator=random(1))
        assert in_errors(each[:, 0] - weight * known).abs() < 4
        assert level or known == pytest.approx(torch.ones(len(y)))


def test_two_ways_to_draw_levels_have_the_same_mean_gradient():
    level, many = 0.4, 100_000
    share = 0.5 * (1 + math.erf((math.log(level) + 1.2) / 1.2 / math.sqrt(2)))
    y, s = rows((level,), many)
    clamp, truncate = AmbientEDMLoss(), AmbientEDMLoss(draws="truncate")
    clamped, ones = clamp.levels(s, random(2))
    drawn, weights = truncate.levels(s, random(3))
    wasted = clamped == level
    assert float(wasted.double().mean()) == pytest.approx(share, abs=0.006) and (ones == 1).all()
    assert (drawn > level).all() and weights == pytest.approx(torch.full((many,), 1 - share))
    for q in (0.1, 0.5, 0.9):  # above the row's level both draw alike
        assert float(drawn.quantile(q)) == pytest.approx(float(clamped[~wasted].quantile(q)), rel=0.03)

    def push(loss, generator):  # by a guess that is off by 1
        guess = torch.ones(many, 1, dtype=torch.float64, requires_grad=True)
        each, _ = loss(lambda x, sigma, labels: exact(x, sigma) + guess, y, s, generator=random(generator))
        return torch.autograd.grad(each.sum(), guess)[0][:, 0]

    a, b = push(clamp, 2), push(truncate, 3)
    assert (a[wasted] == 0).all()
    error = math.hypot(float(a.std()), float(b.std())) / math.sqrt(many)
    assert abs(float(a.mean() - b.mean())) < 4 * error and b.std() < 0.8 * a.std()


def test_consistency_sees_a_model_that_is_wrong_below():
    def wrong(x, sigma, labels=None):
        return exact(x, sigma) + 0.5 * (sigma < 0.3)[:, None]

    y, s = rows((0.4,), 1000)
    plain = AmbientEDMLoss()
    term = AmbientEDMLoss(consistency_coeff=1.0, consistency_rows=500, num_primes=50, num_steps=12)
    extra = {}
    for name, net in (("exact", exact), ("wrong", wrong)):
        without, with_it = (loss(net, y, s, generator=random(4))[0] for loss in (plain, term))
        assert torch.equal(without[500:], with_it[500:])
        extra[name] = float((with_it - without).mean())
    assert 0 < extra["exact"] < 0.02 and extra["wrong"] > 5
    guess = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    each, _ = term(lambda x, sigma, labels: exact(x, sigma) + guess * sigma[:, None], y, s, generator=random(4))
    each.mean().backward()
    assert guess.grad is not None and torch.isfinite(guess.grad).all()


def test_consistency_samples_what_a_row_may_have_been():
    """Of two points the guess is no line in x: without the sampler's noise its mean would not stay."""
    x0 = torch.tensor([-1.0, 1.0], dtype=torch.float64).repeat(300)[:, None]
    y, s = x0 + torch.randn(600, 1, generator=random(), dtype=torch.float64), torch.ones(600, dtype=torch.float64)

    def net(x, sigma, labels=None):
        return torch.tanh(x / sigma[:, None] ** 2)

    term = AmbientEDMLoss(consistency_coeff=1.0, consistency_rows=600, num_primes=100, num_steps=40)
    without, with_it = (loss(net, y, s, generator=random(4))[0] for loss in (AmbientEDMLoss(), term))
    assert 0 < float((with_it - without).mean()) < 0.03


def test_preconditioning_gives_the_network_numbers_of_variance_1():
    seen = {}

    class Net(torch.nn.Module):
        def forward(self, x, noise, labels):
            seen.update(x=x, noise=noise, labels=labels)
            return torch.full_like(x, 2.0)

    sigma = torch.tensor([0.01, 0.7, 50.0], dtype=torch.float64).repeat_interleave(20_000)
    x0, z = torch.randn(2, len(sigma), 1, generator=random(), dtype=torch.float64)
    x0 = 0.5 * x0
    x = x0 + sigma[:, None] * z
    net, labels = EDMPrecond(Net()), torch.arange(len(x))
    out = net(x, sigma, labels)
    assert torch.equal(seen["labels"], labels) and torch.equal(seen["noise"], sigma.log() / 4)
    c_skip = 0.25 / (sigma**2 + 0.25)
    c_out = sigma * 0.5 / (sigma**2 + 0.25).sqrt()
    assert out[:, 0] == pytest.approx(c_skip * x[:, 0] + 2 * c_out)
    target = (x0[:, 0] - c_skip * x[:, 0]) / c_out  # what a perfect network would have to say
    for part in (*seen["x"][:, 0].split(20_000), *target.split(20_000)):
        assert float(part.var()) == pytest.approx(1, abs=0.05)
    with pytest.raises(BadInput, match="above 0"):
        net(x, 0.0)


def test_the_sampler_follows_the_exact_path_of_normal_data():
    z = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    asked = []

    def net(x, sigma, labels):
        asked.append(float(sigma[0]))
        return exact(x, sigma)

    def ends(stop=0.0):
        last = math.sqrt(stop) or 2e-3
        factor = math.sqrt((SD**2 + last**2) / (SD**2 + 80.0**2))
        return exact(MEAN + (80 * z - MEAN) * factor, torch.full((9,), last))

    errors = [float((edm_sampler(net, z, steps) - ends()).abs().max()) for steps in (18, 36, 72)]
    assert len(asked) == 35 + 71 + 143 and max(asked) == pytest.approx(80) and min(asked) == pytest.approx(2e-3)
    assert errors[0] < 0.06 and errors[0] > 3 * errors[1] > 9 * errors[2]  # of second order
    asked.clear()
    stopped = edm_sampler(net, z, 72, stop_variance=0.16)
    assert min(asked) == pytest.approx(0.4) and (stopped - ends(0.16)).abs().max() < 2e-3
    point = edm_sampler(lambda x, sigma, labels: torch.full_like(x, MEAN), z, 5)
    assert torch.equal(point, torch.full_like(z, MEAN))
    assert edm_sampler(net, z.float()).dtype == torch.float32


def test_levels_of_the_sampler():
    evenly = noise_levels(5, 1.0, 9.0, rho=1)
    assert evenly == pytest.approx([9, 7, 5, 3, 1])
    assert noise_levels(5, 1.0, 9.0, rho=1, stop_variance=16) == pytest.approx([9, 7, 5, 4])
    seventh = np.array(noise_levels()) ** (1 / 7)
    assert np.diff(seventh) == pytest.approx(np.diff(seventh)[0])
    for arguments, said in (
        ((1,), "at least 2"),
        ((18, 2.0, 1.0), "sigma_min <"),
        ((18, 0.1, 1.0, 7, 1.0), "below sigma"),
    ):
        with pytest.raises(BadInput, match=said):
            noise_levels(*arguments)


def classes(sigma):
    """Two classes, each a point; 5 % clean rows."""
    labels = np.arange(400) % 2
    x = np.where(labels[:, None, None, None] == 1, 0.5, -0.5) * np.ones((1, 1, 1, 4))
    return MixedNoiseDataset(x, 0.95, sigma, 0, labels)


def trained(rows, steps=200):
    model = EDMPrecond(Denoiser(DenoiserConfig(shape=(1, 1, 4), width=48, blocks=1, condition=32, classes=2)))
    training = DiffusionTraining(steps=steps, batch=128, rate=3e-3, warmup=20)
    run = training.new_run(model)
    train_denoiser(run, rows, AmbientEDMLoss(draws="truncate"), training).copy_to(model)
    return model.eval()


def test_noisy_rows_teach_a_model_of_clean_ones_by_class():
    rows = classes(sigma=0.4).arrays()
    label = torch.arange(200) % 2
    latents = torch.randn(200, 1, 1, 4, generator=random(5))
    off = {}
    for name, sigma in (("ambient", rows["sigma"]), ("naive", np.zeros_like(rows["sigma"]))):
        model = trained(rows | {"sigma": sigma})
        made = edm_sampler(model, latents, labels=label)
        off[name] = float((made - torch.where(label == 1, 0.5, -0.5).view(-1, 1, 1, 1)).square().mean().sqrt())
    assert off["ambient"] < 0.2 < 0.35 < off["naive"]  # the rows themselves are off by 0.39


def test_a_run_that_is_loaded_goes_on_to_the_same_bits():
    data = classes(sigma=np.linspace(0, 0.8, 400)).arrays()
    training, loss = DiffusionTraining(steps=16, batch=64), AmbientEDMLoss(draws="truncate")

    def new(seed):
        return training.new_run(EDMPrecond(Denoiser(DenoiserConfig(shape=(1, 1, 4), width=8, classes=2), seed)))

    whole = train_denoiser(new(0), data, loss, training)
    stopped, again = new(0), new(9)
    train_denoiser(stopped, data, loss, training, go_on=iter([True] * 11 + [False]).__next__)
    assert stopped.step == 11
    again.load_state_dict(copy.deepcopy(stopped.state_dict()))
    resumed = train_denoiser(again, data, loss, training)
    assert whole.seen == resumed.seen == 16 * 64
    assert all(torch.equal(value, resumed.weights[name]) for name, value in whole.weights.items())
    other = train_denoiser(new(0), data, loss, training, seed=1)
    assert not torch.equal(other.weights["net.enter.weight"], whole.weights["net.enter.weight"])


def test_averaged_weights():
    model = torch.nn.Linear(1, 1)
    torch.nn.init.zeros_(model.weight)
    even, soon = EMA(model, 100, ramp=None), EMA(model, 100)
    torch.nn.init.ones_(model.weight)
    for _ in range(10):
        even.update(model, 10)
        soon.update(model, 10)
    assert float(even.weights["weight"]) == pytest.approx(0.5)  # after one half-life
    assert float(soon.weights["weight"]) > 0.999  # the first weights are forgotten
    with even.within(model):
        assert float(model.weight.detach()) == pytest.approx(0.5)
    assert float(model.weight.detach()) == 1
    other = EMA(torch.nn.Linear(1, 1), 100)
    other.load_state_dict(even.state_dict())
    other.update(model, 10)
    assert float(even.weights["weight"]) == pytest.approx(0.5)  # a copy was loaded
    with pytest.raises(BadInput, match="those of this model"):
        other.load_state_dict(EMA(torch.nn.Bilinear(1, 1, 1), 1).state_dict() | {"weights": {}})


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_networks(kind):
    config = DenoiserConfig(shape=(2, 3, 4), kind=kind, width=8, blocks=2, condition=4, classes=3)
    net, again = Denoiser(config, seed=1), Denoiser(config, seed=1)
    x, noise = torch.randn(5, 2, 3, 4, generator=random()), torch.linspace(-1, 1, 5)
    assert torch.equal(net(x, noise), torch.zeros_like(x))
    with torch.no_grad():
        for p, q in zip(net.parameters(), again.parameters(), strict=True):
            assert torch.equal(p, q)
            p.add_(0.1 * torch.randn(p.shape, generator=random(2)))
    out = net(x, noise, torch.tensor([0, 1, 2, -1, -1]))
    assert torch.equal(out[3:], net(x, noise)[3:]) and not torch.allclose(out[:3], net(x, noise)[:3])
    assert not torch.allclose(out[0], net(x, noise + 0.1, torch.zeros(5, dtype=torch.int64))[0])
    assert torch.allclose(out[:1], net(x[:1], noise[:1], torch.tensor([0])), atol=1e-6)  # rows do not see each other
    for arguments, said in (
        ((x[:, :1], noise), "shape of the images"),
        ((x, noise, torch.full((5,), 3)), r"-1 \(none known\) to 2"),
    ):
        with pytest.raises(BadInput, match=said):
            net(*arguments)
    with pytest.raises(BadInput, match="no classes"):
        Denoiser(DenoiserConfig(shape=(1, 1, 4)))(torch.zeros(1, 1, 1, 4), noise[:1], torch.zeros(1, dtype=torch.int64))


def test_what_is_refused():
    y, s = rows((0.4,), 4)
    for wrong, said in (
        (None, "must be estimated first"),
        (-s, "from 0 to below"),
        (s + 80, "sigma_max = 80"),
        (s * math.nan, "from 0 to below"),
        (s[:3], r"\(4,\), a level for each row"),
        (s[:, None], r"\(4,\), a level for each row"),
    ):
        with pytest.raises(BadInput, match=said):
            AmbientEDMLoss()(exact, y, wrong)
    with pytest.raises(BadInput, match="no sigma"):
        trained({"x": np.zeros((4, 1, 1, 4))})


def test_it_is_no_method_of_fitting_a_task():
    assert "learn/logistic" in methods.names("learn")
    assert not [name for name in methods.names() if "diffusion" in name]


def test_consistency_weighs_the_same_whatever_share_of_the_rows_it_is_computed_of():
    def wrong(x, sigma, labels=None):
        return exact(x, sigma) + 0.5 * (sigma < 0.3)[:, None]

    y, s = rows((0.4,), 1200)
    means = []
    for count in (300, 1200):
        term = AmbientEDMLoss(consistency_coeff=1.0, consistency_rows=count, num_primes=8, num_steps=6)
        without, with_it = (f(wrong, y, s, generator=random(4))[0] for f in (AmbientEDMLoss(), term))
        means.append(float((with_it - without).mean()))
    assert means[0] == pytest.approx(means[1], rel=0.35)

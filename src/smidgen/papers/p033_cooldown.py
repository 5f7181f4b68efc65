"""Claim 033: small domains are drawn often at first and by their share later (Cooldown, 2024)."""

import functools
import math
from dataclasses import dataclass
from typing import Any

from smidgen.papers.claim import Claim, Part, Published, Scale

SIZES = {"0": 6400, "90": 1280, "180": 192, "270": 32}  # by degrees; the ratios of 8000 / 1600 / 240 / 40
VALIDATION = 500  # images a domain
TAU, STEPS, BATCH, EVERY, RATE, WARM_UP, PROBE = 5.0, 1500, 64, 10, 1e-3, 100, 150
DROPOUT = SMOOTHING = 0.1
SMALL, BIG = "270", "0"

CLAIM = Claim(
    title="Cooldown: fair training on very unequal sources",
    year=2024,
    gives="When one language, site or machine has thousands of times more rows than another, draw the small ones often "
    "at first and proportionally later, so they are learnt early without being memorised.",
    room="data",
    implements=("data.mix", "data.mix_schedules", "data.variance"),
    keywords="imbalanced data, multilingual, low-resource languages, machine translation, data mixing, sampling "
    "temperature, oversampling, reweighting, domains, long tail, batch sampler, multi-task, curriculum, overfitting "
    "small groups",
    says="Drawing domains at a temperature above 1 and weighting the losses of proportional draws have the same mean "
    "gradient, but draws at a temperature are less noisy and converge faster; they repeat the small domains and "
    "over-fit them. A high temperature at first and proportional draws later keep the speed without the over-fitting.",
    experiment="""
        Fashion-MNIST is not in our data; here MNIST digits (10,000 images, anew divided for each seed). Four domains
        are the digits turned by 0, 90, 180 and 270 degrees: 6400, 1280, 192 and 32 training images, all different,
        which are the ratios of 8000, 1600, 240 and 40, and 500 validation images each. A network of three convolutions
        and two linear layers (47,562 parameters), batches of 64, 1500 steps; as published, Adam (0.9, 0.98, 1e-6) with
        inverse square root decay, dropout 0.1 and label smoothing 0.1, here at 1e-3 after 100 steps of warm-up. (In
        development, without the last two all arms over-fitted 32 images from step 50 on.) Arms, from the same first
        weights: proportional draws; draws at temperature 5; proportional draws with losses weighted for temperature 5;
        Cooldown from 5 to 1 at half.

        Noise is the trace of the covariance of the gradient over 300 mini-batches, at the weights of the proportional
        arm after 150 steps, without dropout. Theory: the measured logarithm of the ratio must be within a factor of 2
        of the one that theorem 1 gives with the domains' measured gradient norms (shown: log 2 less the logarithm of
        that factor). Speed: steps until the validation loss of the smallest domain is first at the best that
        proportional draws ever reach (looked at every 10 steps; never counts as 1510). Adam rescales weighted
        gradients, so that "weighted" is not what it would be with SGD. Cooldown: final validation losses, in nats, of
        the smallest and the largest domain.

        Seeds draw from the same images: intervals are widened by 2000 / 8000.
        """,
    published=(
        Published(
            value="2.25 weighted, 0.62 drawn",
            metric="variance of the mini-batch gradient norm",
            data="translation from English to Czech and Romanian",
            where="arXiv 2410.04579",
        ),
        Published(
            value="28.1 / 32.4, against 28.3 / 30.4 at temperature 1 and 26.6 / 32.4 at 5",
            metric="BLEU, high-resource / low-resource languages",
            data="OPUS-100, one to many",
            where="arXiv 2410.04579",
        ),
        Published(
            value="2.75 / 2.94, against 2.67 / 4.09 at temperature 1 and 2.91 / 3.12 at 5",
            metric="validation loss, English / Swahili",
            data="mC4, four languages",
            where="arXiv 2410.04579",
        ),
    ),
    parts=(
        Part(
            name="noise",
            says="The gradient of draws at temperature 5 varies less than that of weighted proportional draws.",
            gain=("log noise ratio", 0.0),
            unit="log of the ratio",
            group="noise",
        ),
        Part(
            name="theory",
            says="The measured ratio is that of theorem 1 with measured norms, within a factor of 2 of its logarithm.",
            gain=(math.log(2), "log factor off theory"),
            unit="log of a factor",
            group="noise",
        ),
        Part(
            name="speed",
            says="The smallest domain's loss comes to the level sooner with draws at temperature 5 than with weights.",
            gain=("steps weighted", "steps drawn"),
            unit="steps",
            group="speed",
        ),
        Part(
            name="small: as proportional",
            says="In the end Cooldown's loss on the smallest domain is below that of proportional draws.",
            gain=("small proportional", "small cooldown"),
            unit="nats",
            group="cooldown",
        ),
        Part(
            name="small: less over-fitting",
            says="In the end Cooldown's loss on the smallest domain is below that of temperature 5.",
            gain=("small drawn", "small cooldown"),
            unit="nats",
            group="cooldown",
        ),
        Part(
            name="big: less starving",
            says="In the end Cooldown's loss on the largest domain is below that of temperature 5.",
            gain=("big drawn", "big cooldown"),
            unit="nats",
            group="cooldown",
        ),
    ),
    seeds=5,
    minutes=6,
    resampled=0.25,
    data=("mnist10k",),
    added="2026-11-24",
)


@dataclass(frozen=True)
class Domains:
    """Images `float [n, 1, 28, 28]` and labels by domain, to learn from and to look at."""

    train: dict[str, tuple[Any, Any]]
    validation: dict[str, tuple[Any, Any]]

    @property
    def sizes(self) -> dict[str, int]:
        return {name: len(labels) for name, (_, labels) in self.train.items()}


def run(scale: Scale, seed: int) -> dict[str, float]:
    """One seed: all arms on one division of the images. At smoke scale a few steps on noise."""
    import torch

    full = scale == Scale.FULL
    data = turned(_digits() if full else _noise(), SIZES if full else {"0": 60, "90": 20, "180": 8, "270": 4}, seed)
    steps, every, probe, batches = (STEPS, EVERY, PROBE, 300) if full else (6, 2, 2, 4)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small tensors: more threads only wait for each other
    try:
        arms = {name: _trained(data, name, steps, every, probe, seed) for name in ARMS}
        found = _noise_ratio(data, arms["proportional"].at_probe, batches, seed)
    finally:
        torch.set_num_threads(threads)
    level = min(loss for _, loss in arms["proportional"].curve)
    values = {**found, "level": level}
    for name, arm in arms.items():
        values[f"steps {name}"] = float(next((s for s, loss in arm.curve if loss <= level), steps + every))
        values |= {f"small {name}": arm.final[SMALL], f"big {name}": arm.final[BIG]}
        values |= {f"{d} {name}": arm.final[d] for d in ("90", "180")}
        values[f"best small {name}"] = min(loss for _, loss in arm.curve)
        values[f"small epochs {name}"] = arm.epochs[SMALL]
    return values


ARMS = ("proportional", "drawn", "weighted", "cooldown")


@dataclass(frozen=True)
class Arm:
    """`curve`: (step, loss of the smallest domain); `final`: losses by domain; `at_probe`: weights half-way."""

    curve: list[tuple[int, float]]
    final: dict[str, float]
    epochs: dict[str, float]
    at_probe: Any


def _trained(data: Domains, arm: str, steps: int, every: int, probe: int, seed: int) -> Arm:
    import torch

    from smidgen.data.mix import TemperatureSampler
    from smidgen.data.mix_schedules import Cooldown

    model = network(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, betas=(0.9, 0.98), eps=1e-6)
    temperature = {"drawn": TAU, "cooldown": Cooldown(TAU, 1.0, 0.5)}.get(arm, 1.0)
    weighting = TAU if arm == "weighted" else None
    sampler = TemperatureSampler(data.sizes, temperature, BATCH, seed, steps=steps, weighting=weighting)
    curve, at_probe = [], {}
    for step, batch in enumerate(sampler):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min((step + 1) / WARM_UP, (WARM_UP / (step + 1)) ** 0.5)
        weights = torch.from_numpy(sampler.loss_weights(batch)).float()
        images, labels = gathered(data, batch)
        loss = (weights * _losses(model(images), labels)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % every == 0:
            curve.append((step + 1, _loss(model, *data.validation[SMALL])))
        if step + 1 == probe:
            at_probe = {k: v.clone() for k, v in model.state_dict().items()}
    final = {name: _loss(model, *data.validation[name]) for name in data.validation}
    return Arm(curve, final, sampler.epochs(), at_probe)


def _noise_ratio(data: Domains, weights: Any, batches: int, seed: int) -> dict[str, float]:
    import torch

    from smidgen.data.variance import GradientVarianceProbe

    model = network(seed).eval()
    model.load_state_dict(weights)

    def loss_fn(model: Any, batch: Any, weights: Any) -> Any:
        images, labels = gathered(data, batch)
        return (torch.from_numpy(weights) * _losses(model(images), labels)).mean()

    found = GradientVarianceProbe(model, loss_fn, BATCH, seed).compare(data.sizes, TAU, batches, n_single=batches)
    measured, predicted = math.log(found["ratio"]), math.log(found["predicted"])
    off = abs(math.log(measured / predicted)) if measured > 0 and predicted > 0 else 10.0  # of opposite signs: refuted
    return {
        "log noise ratio": measured,
        "log noise ratio, theory": predicted,
        "log noise ratio, equal norms": math.log(found["equal_norms"]),
        "log factor off theory": off,
        "noise drawn": found["sampling"],
        "noise weighted": found["weighting"],
        **{f"square norm {name}": value for name, value in found["per_domain_sq_norm"].items()},
    }


def network(seed: int) -> Any:
    """Three convolutions with stride 2, two linear layers; 47,562 parameters."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.ReLU(),
        nn.Dropout(DROPOUT),
        nn.Linear(64, 10),
    )


def gathered(data: Domains, batch: Any) -> tuple[Any, Any]:
    """Images and labels of (domain, index) pairs."""
    import torch

    rows = [(data.train[name], index) for name, index in batch]
    return torch.stack([images[i] for (images, _), i in rows]), torch.stack([labels[i] for (_, labels), i in rows])


def _losses(logits: Any, labels: Any) -> Any:
    """Of each example, as trained on."""
    import torch.nn.functional as F

    return F.cross_entropy(logits, labels, reduction="none", label_smoothing=SMOOTHING)


def _loss(model: Any, images: Any, labels: Any) -> float:
    """Mean cross-entropy in nats, without dropout or smoothing."""
    import torch
    import torch.nn.functional as F

    model.eval()
    with torch.no_grad():
        loss = float(F.cross_entropy(model(images), labels))
    model.train()
    return loss


def turned(images_labels: tuple[Any, Any], sizes: dict[str, int], seed: int) -> Domains:
    """A division of the images among the domains; each domain's are turned by its degrees."""
    import numpy as np
    import torch

    from smidgen.kit.seeds import derive_seed

    images, labels = images_labels
    count = min(VALIDATION, (len(labels) - sum(sizes.values())) // len(sizes))
    order = np.random.default_rng(derive_seed(seed, "division")).permutation(len(labels))
    parts: list[dict[str, tuple[Any, Any]]] = []
    start = 0
    for shares in (sizes, dict.fromkeys(sizes, count)):
        part = {}
        for name, size in shares.items():
            rows = order[start : start + size]
            start += size
            image = np.rot90(images[rows], int(name) // 90, axes=(1, 2)).astype(np.float32) / 255
            part[name] = torch.from_numpy(image.copy())[:, None], torch.from_numpy(labels[rows].astype(np.int64))
        parts.append(part)
    return Domains(*parts)


@functools.cache
def _digits() -> tuple[Any, Any]:
    import numpy as np

    from smidgen.tasks import known

    parts = []
    for name in ("train", "test"):
        with np.load(known.place("mnist10k") / f"{name}.npz") as file:
            parts.append((file["images"], file["labels"]))
    return tuple(np.concatenate(both) for both in zip(*parts, strict=True))  # type: ignore[return-value]


def _noise() -> tuple[Any, Any]:
    """Ten bright places in noise: enough to see that it runs, without the data set."""
    import numpy as np

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 200)
    images = rng.integers(0, 60, (200, 28, 28))
    images[np.arange(200), labels * 2, labels * 2] = 255
    return images, labels

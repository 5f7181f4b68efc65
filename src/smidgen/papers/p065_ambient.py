"""Claim 065: a few clean images beside many noisy ones train a diffusion model nearly as well as all clean (2024)."""

import math
from typing import Any

from smidgen.papers.claim import Claim, Part, Published, Scale

IMAGES, HELD, EDGE = 1500, 1800, 7  # of a seed: to learn from and to compare with
SIGMA, CLEAN = 0.2, 0.1  # of the noise, pixels being in -1 to 1; share
DEALT = 3  # hands of images
WIDTH, BLOCKS, STEPS, BATCH, RATE = 352, 3, 2000, 128, 3e-3
SAMPLES, FEATURES, LESSONS = 2000, 64, 600  # LESSONS: of the classifier whose features are compared
ARMS = ("clean", "few", "noisy", "mix", "naive")
VOID = 1.5  # times the distance of the clean arm, which the few clean images alone must come to

CLAIM = Claim(
    title="Ambient diffusion: what a noisy image is worth",
    year=2024,
    gives="Train an image generator on a few clean pictures plus many noisy ones of known noise, each with its own "
    "level, and get a price: how many noisy samples stand in for one clean sample. Look here when clean measurements "
    "are costly.",
    room="learn",
    implements=(
        "learn.diffusion",
        "learn.diffusion_sampler",
        "nets.denoiser",
        "data.mixed_noise",
        "tasks.frechet",
        "train.ema",
        "laws.data_price",
    ),
    keywords="diffusion model, image generation, noisy images, corrupted training data, few clean samples, denoising, "
    "generative model on little data, value of data, noisy against clean trade-off, microscopy, low-dose scans, known "
    "noise level, scaling law, data buying, Frechet distance, FID",
    says="Noisy data alone does not train a diffusion model as well as clean data, but a tenth of clean data with the "
    "rest noisy comes near it, far beyond the tenth alone.",
    experiment=f"""
        MNIST digits (Fashion-MNIST is not at hand) of {EDGE} x {EDGE} pixels in -1 to 1; {IMAGES:,} training images a
        seed, with noise of {SIGMA} drawn once for each: what the planned 0.4 on 14 x 14 pixels comes to where four are
        averaged (with 0.4 on these pixels, on a seed that is not judged, the mixture was worse than the clean tenth
        alone). Arms, with the same networks, order and latent numbers: all clean; the clean tenth alone; all noisy; a
        tenth clean and the rest noisy; and the same with noisy rows taken for clean ("naive"). A residual network of
        linear layers, about a million parameters, {STEPS:,} updates of {BATCH}: for time a quarter of the planned 6,000
        images and 4,000 x 256, so that each image is seen as often as planned. In development, of 14 x 14 pixels (and
        of 6,000 images too) all arms were so far from real images after these updates, the clean ones more than the
        few, that nothing could be told of data. Adam at {RATE}, averaged weights; levels of noisy rows are drawn above
        their own and weighted, which has the mean gradient of the published clamping with less noise. Convolutions,
        dropout, augmentation and the consistency term of the paper are left out.

        Score: Frechet distance of {SAMPLES:,} samples (18 steps) to {HELD:,} other images, in the {FEATURES} features
        of a small convolutional classifier of the seed's clean images; gains are differences of logarithms. All-noisy
        samples stop at the variance of the noise, as published; "fd noisy to the end" does not. The few clean images
        alone must be at least {VOID} times as far off as all of them, or the test is void. "fd floor" is what the clean
        images themselves come to, "fd few, learnt by heart" what the tenth does; "noisy for one clean" is a rough
        price, from two clean sizes. Seeds share no image.
        """,
    published=(
        Published(
            value="a tenth clean and the rest very noisy reaches that of clean data of about the same size",
            metric="quality of samples",
            data="CIFAR-10, CelebA and ImageNet, 30,000 to 1.3M images, more than 80 models",
            where="arXiv 2411.02780, abstract",
        ),
        Published(
            value="cannot match clean data at these sizes",
            metric="quality of samples, noisy data alone",
            data="the same",
            where="arXiv 2411.02780, abstract",
        ),
    ),
    parts=(
        Part(
            name="not void",
            says="The clean tenth alone is at least 1.5 times as far from real images as the all-clean arm.",
            gain=("log fd few", "log fd clean"),
            margin=math.log(VOID),
            unit="log of a ratio",
        ),
        Part(
            name="noisy images help",
            says="A tenth clean with the rest noisy is better than the tenth alone.",
            gain=("log fd few", "log fd mix"),
            unit="log of a ratio",
        ),
        Part(
            name="clean images help",
            says="It is better than as many images that are all noisy.",
            gain=("log fd noisy", "log fd mix"),
            unit="log of a ratio",
        ),
        Part(
            name="the loss helps",
            says="It is better than taking the noisy images for clean.",
            gain=("log fd naive", "log fd mix"),
            unit="log of a ratio",
        ),
        Part(
            name="gap closed",
            says="It closes at least half of the gap between the clean tenth and all clean.",
            gain=("gap closed", 0.0),
            margin=0.5,
            unit="share",
        ),
    ),
    seeds=3,
    minutes=10,
    data=("mnist10k",),
    added="2026-11-29",
)


def run(scale: Scale, seed: int) -> dict[str, float]:
    """All arms on one draw of images and noise, two at a time. At smoke scale a tiny network on made images."""
    from concurrent.futures import ThreadPoolExecutor

    import torch

    from smidgen.laws.data_price import mixture_prices
    from smidgen.nets.products import full_speed
    from smidgen.tasks.frechet import frechet_distance

    full = scale == Scale.FULL
    (images, labels), test = _images(full, seed)
    samples = SAMPLES if full else 40
    rows = _rows(images, seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with full_speed():  # around all: it is a switch of the whole process, which no arm may turn under another
            features = _classifier(images, labels, LESSONS if full else 4, seed)
            with ThreadPoolExecutor(2) as pool:
                arms = {name: pool.submit(_made, rows[name], name == "noisy", full, samples, seed) for name in ARMS}
                made = {name: arm.result() for name, arm in arms.items()}
            real = features(test)
            fd = {
                name: frechet_distance(features(found), real)
                for arm in ARMS
                for name, found in zip((arm, f"{arm} to the end"), made[arm], strict=False)
            }
            fd["floor"] = frechet_distance(features(images), real)
            fd["few, learnt by heart"] = frechet_distance(features(rows["few"]["x"]), real)
    finally:
        torch.set_num_threads(threads)
    values = {f"fd {name}": value for name, value in fd.items()}
    values |= {f"log fd {name}": math.log(max(fd[name], 1e-9)) for name in ARMS}
    gap = fd["few"] - fd["clean"]
    values["gap closed"] = (fd["few"] - fd["mix"]) / gap if gap > 0 or not full else math.nan
    few, many = len(rows["few"]["x"]), len(images)
    table = {"n_clean": [few, many, few], "n_noisy": [0, 0, many - few], "score": [fd["few"], fd["clean"], fd["mix"]]}
    return values | {"noisy for one clean": mixture_prices(table)[0].price[1]}


def _rows(images: Any, seed: int) -> dict[str, dict[str, Any]]:
    """What each arm is trained on; a row that is noisy in two of them has the same noise."""
    import numpy as np

    from smidgen.data.mixed_noise import MixedNoiseDataset

    mix, noisy = (MixedNoiseDataset(images, share, SIGMA, seed).arrays() for share in (1 - CLEAN, 1.0))
    none = np.zeros(len(images), np.float32)
    clean = mix["sigma"] == 0
    return {
        "clean": {"x": images, "sigma": none},
        "few": {"x": images[clean], "sigma": none[clean]},
        "noisy": noisy,
        "mix": mix,
        "naive": {"x": mix["x"], "sigma": none},
    }


def _made(rows: dict[str, Any], noisy: bool, full: bool, samples: int, seed: int) -> list[Any]:
    """Samples `[N, 1, E, E]` of a model of these rows; of an all-noisy one those that stop, then those that do not."""
    import torch

    from smidgen.kit.seeds import derive_seed
    from smidgen.learn.diffusion import AmbientEDMLoss, DiffusionTraining, EDMPrecond, train_denoiser
    from smidgen.learn.diffusion_sampler import edm_sampler
    from smidgen.nets.denoiser import Denoiser, DenoiserConfig

    shape = tuple(rows["x"].shape[1:])
    config = DenoiserConfig(shape=shape, width=WIDTH if full else 16, blocks=BLOCKS if full else 1)
    model = EDMPrecond(Denoiser(config, seed))
    training = DiffusionTraining(steps=STEPS if full else 3, batch=BATCH if full else 16, rate=RATE)
    ema = train_denoiser(training.new_run(model), rows, AmbientEDMLoss(draws="truncate"), training, seed=seed)
    ema.copy_to(model.eval())
    latents = torch.randn(samples, *shape, generator=torch.Generator().manual_seed(derive_seed(seed, "latents")))
    stops = (SIGMA**2, 0.0) if noisy else (0.0,)
    return [edm_sampler(model, latents, stop_variance=stop).clamp(-1, 1).numpy() for stop in stops]


def _classifier(images: Any, labels: Any, lessons: int, seed: int) -> Any:
    """Trained on clean images; gives a function of images to their features `[N, FEATURES]`."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    from smidgen.kit.seeds import derive_seed
    from smidgen.train.loop import LoopConfig, Run, train
    from smidgen.train.schedules import Cosine

    torch.manual_seed(derive_seed(seed, "classifier"))
    edge = -(-images.shape[2] // 4)  # after two strides of 2
    body = nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * edge**2, FEATURES),
        nn.ReLU(),
    )
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    random = torch.Generator().manual_seed(derive_seed(seed, "lessons"))

    def batches(number: int) -> tuple[Any, Any]:
        del number  # never resumed
        take = torch.randint(len(x), (100,), generator=random)
        return x[take], y[take]

    def loss_of(model: Any, x: Any, y: Any) -> tuple[Any, int]:
        return F.cross_entropy(model(x), y, reduction="sum"), len(y)

    model = nn.Sequential(body, nn.Linear(FEATURES, 10))
    learning = Run(model, torch.optim.Adam(model.parameters(), lr=2e-3))
    train(learning, batches, loss_of, Cosine(steps=lessons, least=0.0), LoopConfig(), steps=lessons)

    def features(images: Any) -> Any:
        with torch.no_grad():
            return body(torch.from_numpy(images)).numpy()

    return features


def _images(full: bool, seed: int) -> tuple[tuple[Any, Any], Any]:
    """(training images `[N, 1, E, E]` in -1 to 1 with their labels, test images)."""
    import numpy as np

    from smidgen.kit.seeds import derive_seed
    from smidgen.tasks.known import place

    if not full:
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 10, 160)
        made = (0.5 * rng.random((10, 1, 6, 6))[labels] + 0.3 * rng.random((160, 1, 6, 6)) - 0.5).astype(np.float32)
        return (made[:120], labels[:120]), made[120:]
    parts = []
    for part in ("train", "test"):
        with np.load(place("mnist10k") / f"{part}.npz") as file:
            pooled = file["images"].reshape(-1, 1, EDGE, 28 // EDGE, EDGE, 28 // EDGE).mean((3, 5)) / 127.5 - 1
            parts.append((pooled.astype(np.float32), file["labels"].astype(np.int64)))
    x, y = (np.concatenate(both) for both in zip(*parts, strict=True))
    deal, hand = divmod(seed, DEALT)  # seeds 0 to 2 share no image
    take = np.random.default_rng(derive_seed(deal, "images")).permutation(len(x))[hand::DEALT]
    train, test = take[:IMAGES], take[IMAGES : IMAGES + HELD]
    return (x[train], y[train]), x[test]

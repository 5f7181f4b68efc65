"""Claim 073: small transformers from scratch on little data: convolutions make the tokens (CCT: Hassani et al., 2021).

Where this differs from the plan of the re-test, and why:

- Handwritten digits (mnist10k), not Fashion-MNIST; 100 pictures a class, not 200: a seed then takes about three minutes
  of one core.
- CCT-2/3x2 (49 tokens), not 3x1 (196 tokens), which takes twice as long: all transformers have 49 tokens.
- CVT and ViT-Lite have twice the hidden units (mlp_ratio 2), so that all networks have 0.26 to 0.28 M parameters, as
  the plan asks; their published size 2 has 0.21 M.
- No dropout of attention, which torch's fused attention lacks on a processor. Stochastic depth is as published.
- The learning rate is higher than published (2e-3, not 5.5e-4): there are 470 updates, not 100,000. It is the same for
  all. After so few updates patches are far from what they reach in the end: the gap is that of this budget.
"""

from typing import Any

from smidgen.papers.claim import Claim, Part, Published, Scale

A_CLASS, HELD, DEALT = 100, 2000, 3  # training pictures of each class, test pictures, seeds without a common picture
UPDATES, BATCH, RATE = 470, 32, 2e-3

CLAIM = Claim(
    title="Compact Transformers (CCT) for small data",
    year=2021,
    gives="Train a small transformer on a few thousand pictures of modest size, or on brief texts, without anything "
    "pre-trained. Try it when a vision transformer overfits, or when no existing network has seen pictures like yours.",
    room="nets",
    implements=(
        "nets.compact_transformer",
        "nets.compact_encoder",
        "nets.compact_blocks",
        "nets.conv_tokenizer",
        "nets.compact_presets",
        "nets.compact_positions",
        "nets.compact_text",
        "nets.compact_weights",
        "learn.compact_transformer",
        "learn._picture_training",
    ),
    keywords="small image data, training from scratch, no pre-trained model, few thousand images, vision transformer, "
    "CNN and transformer hybrid, convolutional tokenizer, small pictures, grayscale, flowers, CIFAR, image "
    "classification, short text classification, overfitting, few parameters",
    says="Trained from scratch on little data, a transformer whose tokens are made by convolutions (CCT) is more "
    "accurate than one that pools patches (CVT) and than a small vision transformer (ViT-Lite), and needs positions "
    "less.",
    experiment=f"""
        {10 * A_CLASS} handwritten digits of 28 x 28 ({A_CLASS} a class) to train on, {HELD} others to test; the judged
        seeds share no picture. CCT-2/3x2, CVT-2/4 and ViT-Lite-2/4, each of 0.28 M parameters and 49 tokens, and a
        convolutional network of three layers with BatchNorm and 0.26 M. All see the same batches: {UPDATES} updates of
        {BATCH} (15 epochs), AdamW at {RATE:g}, weight decay 0.06, warm-up and cosine, label smoothing 0.1, shifts of
        up to two pixels, mixup 0.2. CCT and ViT-Lite also without positions. Accuracy after the last update, in
        percent. The convolutional network is measured, not judged: the paper's "beats CNNs on small data" is of longer
        trainings.
        """,
    published=(
        Published(
            value="CCT-7/3x1 94.78, CVT-7/4 92.43, ViT-Lite-7/4 91.38",
            metric="accuracy, %",
            data="CIFAR-10, from scratch, 200 epochs",
            where="github.com/SHI-Labs/Compact-Transformers, README of 2021",
        ),
        Published(
            value="CCT-7/3x1 96.53 after 300 epochs; with sine positions 98.00 after 5000",
            metric="accuracy, %",
            data="CIFAR-10, from scratch",
            where="github.com/SHI-Labs/Compact-Transformers, README",
        ),
    ),
    parts=(
        Part(
            name="convolutional tokens",
            says="CCT is at least 2 points more accurate than ViT-Lite.",
            gain=("CCT", "ViT-Lite"),
            margin=2.0,
            unit="points",
        ),
        Part(
            name="against patches",
            says="CCT is more accurate than CVT.",
            gain=("CCT", "CVT"),
            unit="points",
        ),
        Part(
            name="positions",
            says="Without positions CCT loses less than ViT-Lite.",
            gain=("ViT-Lite, lost without positions", "CCT, lost without positions"),
            unit="points",
        ),
    ),
    seeds=DEALT,
    minutes=7,
    data=("mnist10k",),
    added="2026-11-29",
)


def run(scale: Scale, seed: int) -> dict[str, float]:
    """Accuracy of all networks in percent, and what positions bring. At smoke scale made-up pictures."""
    from concurrent.futures import ThreadPoolExecutor

    import torch

    from smidgen.nets.products import full_speed

    full = scale == Scale.FULL
    (x, y), (x_test, y_test) = _pictures(seed, full)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # one network a core
    try:
        with ThreadPoolExecutor(2) as pool, full_speed():  # around both threads
            jobs = {name: pool.submit(_accuracy, name, x, y, x_test, y_test, seed, full) for name in _ARMS}
            values = {name: job.result() for name, job in jobs.items()}
    finally:
        torch.set_num_threads(threads)
    for name in ("CCT", "ViT-Lite"):
        values[f"{name}, lost without positions"] = values[name] - values[f"{name}, no positions"]
    return {**values, "CCT - CNN": values["CCT"] - values["CNN"]}


_ARMS = ("CCT", "CCT, no positions", "CVT", "ViT-Lite", "ViT-Lite, no positions", "CNN")  # the slowest first


def _network(name: str, edge: int, seed: int) -> Any:
    from smidgen.nets.compact_presets import create
    from smidgen.nets.small_convnet import ConvNet, with_head

    if name == "CNN":
        return with_head(ConvNet((64, 128, 160), seed=seed), 160, 10, seed=seed)
    kind, _, rest = name.partition(",")
    published = {"CCT": "cct_2/3x2", "CVT": "cvt_2/4", "ViT-Lite": "vit_lite_2/4"}[kind]
    wider = {} if kind == "CCT" else {"mlp_ratio": 2}
    shape = {"image_size": edge, "in_channels": 1, "pos": "none" if rest else "learnable"}
    return create(published, **shape, **wider, attn_dropout=0.0, seed=seed)


def _accuracy(name: str, x: Any, y: Any, x_test: Any, y_test: Any, seed: int, full: bool) -> float:
    """Of one network after training, in percent."""
    import torch

    from smidgen.data.augment.pictures import ViewConfig
    from smidgen.kit.seeds import derive_seed
    from smidgen.learn._picture_training import PictureTraining, train_on_pictures

    net = _network(name, x.shape[-1], derive_seed(seed, "weights"))
    if name != "CNN":
        net.draw_from(torch.Generator().manual_seed(derive_seed(seed, "depth")))
    mean, std = float(x.mean()), float(x.std())
    views = ViewConfig(shift=2 / 28, outside="border", mean=(mean,), std=(std,))
    updates, batch = (UPDATES, BATCH) if full else (3, 8)
    settings = PictureTraining(
        updates=updates, batch=batch, lr=RATE, warmup=updates // 10, views=views, mixup=0.2, seed=seed
    )
    train_on_pictures(net, x, y, settings)
    with torch.inference_mode():
        said = torch.cat([net((part - mean) / std).argmax(1) for part in x_test.split(256)])
    return 100 * int((said == y_test).sum()) / len(y_test)


def _pictures(seed: int, full: bool) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Pictures `[n, 1, E, E]` in 0 to 1 with their labels, to train on and to test on."""
    import numpy as np
    import torch

    from smidgen.data.augment.pictures import as_pictures
    from smidgen.kit.seeds import derive_seed
    from smidgen.tasks.known import place

    if full:
        parts = []
        for part in ("train", "test"):
            with np.load(place("mnist10k") / f"{part}.npz") as file:
                parts.append((file["images"], file["labels"].astype(np.int64)))
        images, labels = (np.concatenate(both) for both in zip(*parts, strict=True))
        each, held = A_CLASS, HELD
    else:
        rng = np.random.default_rng(seed)
        labels = np.tile(np.arange(10), 12)
        images = (rng.integers(0, 128, (10, 8, 8))[labels] + rng.integers(0, 64, (120, 8, 8))).astype(np.uint8)
        each, held = 2, 20
    deal, hand = divmod(seed, DEALT)  # seeds 0 to 2 share no picture
    order = np.random.default_rng(derive_seed(deal, "pictures")).permutation(len(labels))
    mine = np.concatenate([order[labels[order] == k][hand::DEALT] for k in range(10)])  # each class dealt by itself
    train = np.concatenate([mine[labels[mine] == k][:each] for k in range(10)])
    test = np.random.default_rng(derive_seed(seed, "test")).permutation(np.setdiff1d(mine, train))[:held]
    x, y = as_pictures(images), torch.from_numpy(labels)
    return (x[train], y[train]), (x[test], y[test])

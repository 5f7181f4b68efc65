"""Claim 015: pictures without labels, then ten labels a class (Barlow Twins: Zbontar et al., 2021).

Where this differs from the plan of the re-test, and why; all was fixed on seeds from 1000 on.

- Digits (mnist10k) in place of Fashion-MNIST, 8000 pictures, shrunk to 20 x 20, 8 passes: minutes, not hours. Digits
  are not mirrored; they are turned by up to 10 degrees instead.
- lambda is 0.05, not 0.005: of 512 features each has that many fewer others than of 8192, and `balanced_lambda` says so
  (in development the probe had 93 % with it, and 90 % with 0.005).
- A probe is logistic regression with its penalty chosen on the labelled rows. The network from scratch is trained with
  small shifts: in development 90 %, without any views 86 %, with those of the pretraining 84 %.
- "Positive in 2 of 3 seeds" and "in all seeds" become an interval above 0, as of all claims here; 4 seeds.
- Batches of 64, at half the rate (the root of the batch, as is usual for Adam), are measured and not judged.
"""

from typing import Any

from smidgen.papers.claim import Claim, Part, Published, Scale

SET, EDGE, EPOCHS, BATCH, SMALL = "mnist10k", 20, 8, 256, 64
PROJECTOR, LAMBDA, RATE = (512, 512, 512), 0.05, 1e-3
EACH, DRAWS = 10, 5  # labels a class; draws of them
SCRATCH_RATE, FINE_RATE = 1e-2, 3e-3  # the first did best of three in development; the second judges nothing

CLAIM = Claim(
    title="Barlow Twins: features from unlabelled images",
    year=2021,
    gives="Pretrain an image encoder on pictures nobody has labelled, even at modest batch sizes, by making two "
    "distorted copies agree feature by feature. Afterwards a simple classifier does well with labels for a small "
    "share.",
    room="learn",
    implements=(
        "learn.barlow_twins",
        "learn.pretraining",
        "learn.label_fractions",
        "data.augment.pictures",
        "nets.projector",
        "nets.small_convnet",
        "train.lars",
    ),
    keywords="self-supervised learning, unlabelled images, representation learning, pretraining, few labels, "
    "contrastive alternative, SimCLR, no negative pairs, redundancy reduction, augmentation views, linear probe, "
    "medical scans, embedding, small batch",
    says="Making two views of a picture agree feature by feature, with features that do not repeat each other, gives "
    "features from which few labels suffice.",
    experiment=f"""
        8000 digits of mnist10k without labels, shrunk to {EDGE} x {EDGE}; a ConvNet of widths 32, 64, 128 with a global
        average, projector {PROJECTOR[0]}-{PROJECTOR[1]}-{PROJECTOR[2]}, lambda {LAMBDA}, AdamW at {RATE}, batches of
        {BATCH}, {EPOCHS} epochs. Views: half of the area or more, turns, brightness and contrast, erasing. The paper
        trains a ResNet-50 on ImageNet for up to 1000.

        {EACH} labels a class, {DRAWS} draws a seed, 2000 test digits: logistic regression on the frozen features,
        against the better of the same on the untrained network's features and the same network trained from scratch on
        the labelled pictures. Redundancy: effective rank of the projector's output on the test digits, against twice
        that of a training with lambda 0. Beside it, not judged: the same probe after batches of {SMALL}, fine-tuning of
        the pretrained network, ranks of the backbone's features.

        All seeds share the 8000 pictures and the 2000 for testing: intervals are widened by 2000 / 8000.
        """,
    published=(
        Published(
            value=73.3,
            metric="top-1 accuracy of a linear probe",
            data="ImageNet, ResNet-50, 1000 epochs of batches of 2048",
            where="facebookresearch/barlowtwins, README at 004dce3",
        ),
        Published(
            value="69.7 at 128, 71.4 at 2048, 70.7 at 4096",
            metric="top-1 accuracy of a linear probe, by batch size",
            data="ImageNet, ResNet-50, 300 epochs",
            where="facebookresearch/barlowtwins, issue 7",
        ),
    ),
    parts=(
        Part(
            name="few labels",
            says="With 10 labels a class a probe on pretrained features beats the best without pretraining.",
            gain=("probe: pretrained", "best without"),
            unit="points",
        ),
        Part(
            name="redundancy",
            says="Embeddings have at least twice the effective rank of those trained with lambda 0.",
            gain=("rank: pretrained", "twice the rank: lambda 0"),
            unit="directions",
        ),
    ),
    seeds=4,
    minutes=10,
    resampled=0.25,
    data=(SET,),
    added="2026-11-29",
)


def run(scale: Scale, seed: int) -> dict[str, float]:
    """Accuracies in points of all arms, and effective ranks. At smoke scale a few made-up pictures."""
    import numpy as np

    from smidgen.data.augment.pictures import weak
    from smidgen.kit.seeds import derive_seed
    from smidgen.learn.label_fractions import (
        FinetuneConfig,
        accuracy,
        finetune,
        label_draws,
        linear_probe,
        over_draws,
    )
    from smidgen.learn.pretraining import embed
    from smidgen.nets.small_convnet import ConvNet

    full = scale == Scale.FULL
    x, y, test_x, test_y = _digits() if full else _made(seed)
    rows = label_draws(y, per_class=EACH if full else 4, draws=DRAWS if full else 1, seed=seed)
    widths = (32, 64, 128) if full else (4, 8)
    fresh = ConvNet(widths, seed=derive_seed(seed, "weights"))
    arms = {"random": fresh}
    values: dict[str, float] = {}
    for name, lambd, batch in (("pretrained", LAMBDA, BATCH), ("lambda 0", 0.0, BATCH), ("batch 64", LAMBDA, SMALL)):
        arms[name], ranks = _pretrained(x, test_x, widths, lambd, batch if full else 16, seed, full)
        values |= {f"rank: {name}": ranks[0], f"rank of features: {name}": ranks[1]}
    for name, net in arms.items():
        known, new = embed(net, x), embed(net, test_x)
        values[f"probe: {name}"] = (
            100 * over_draws(lambda r, i, known=known, new=new: linear_probe(known[r], y[r], new, test_y), rows).mean
        )

    def trained(net: Any, lr: float) -> float:
        def measure(r: np.ndarray, i: int) -> float:
            config = FinetuneConfig(epochs=60 if full else 2, batch=50, lr=lr, lr_head=3e-3, seed=derive_seed(seed, i))
            return accuracy(finetune(net, widths[-1], x[r], y[r], config, views=weak()), test_x, test_y)

        return 100 * over_draws(measure, rows).mean

    values["from scratch"] = trained(fresh, SCRATCH_RATE)
    values["fine-tuned"] = trained(arms["pretrained"], FINE_RATE)
    values["best without"] = max(values["from scratch"], values["probe: random"])
    values["twice the rank: lambda 0"] = 2 * values["rank: lambda 0"]
    return {k: float(v) for k, v in values.items()}


def _pretrained(x: Any, test_x: Any, widths: Any, lambd: float, batch: int, seed: int, full: bool) -> tuple[Any, Any]:
    """The backbone after training without labels; effective ranks of projections and of features on test pictures."""
    import torch

    from smidgen.data.augment.pictures import small_pair
    from smidgen.kit.seeds import derive_seed
    from smidgen.learn.barlow_twins import BarlowTwins, effective_rank
    from smidgen.learn.pretraining import PretrainingConfig, embed, pretrain
    from smidgen.nets.small_convnet import ConvNet

    net = ConvNet(widths, seed=derive_seed(seed, "weights"))
    twins = BarlowTwins(net, widths[-1], PROJECTOR if full else (16, 16), lambd, seed=derive_seed(seed, "projector"))
    rate = RATE * (batch / BATCH) ** 0.5 if full else RATE
    config = PretrainingConfig(epochs=EPOCHS if full else 1, batch=batch, lr=rate, seed=derive_seed(seed, "order"))
    pretrain(twins, x, small_pair(), config)
    projections = embed(lambda part: twins.eval().projector(twins.embed(part)), test_x)
    return net, [effective_rank(torch.from_numpy(z)) for z in (projections, embed(net, test_x))]


def _digits() -> tuple[Any, Any, Any, Any]:
    """Pictures float `[N, 1, EDGE, EDGE]` and classes, of training and test."""
    import numpy as np
    import torch

    from smidgen.data.augment.pictures import ViewConfig, as_pictures
    from smidgen.tasks import known

    out = []
    shrink = ViewConfig(size=EDGE, crop=(1.0, 1.0), aspect=(1.0, 1.0))
    for part in ("train", "test"):
        with np.load(known.place(SET) / f"{part}.npz") as file:
            out += [shrink(as_pictures(file["images"]), torch.Generator()), file["labels"].astype(np.int64)]
    return out[0], out[1], out[2], out[3]


def _made(seed: int) -> tuple[Any, Any, Any, Any]:
    """A few bars, lying and standing, to show that it runs."""
    import numpy as np
    import torch

    rng = np.random.default_rng(seed)
    y = np.arange(64) % 2
    x = 0.2 * rng.random((64, 1, 12, 12)).astype(np.float32)
    for picture, c, place in zip(x, y, rng.integers(2, 10, 64), strict=True):
        picture[0, place] += 0.8 * (c == 0)
        picture[0, :, place] += 0.8 * (c == 1)
    return torch.from_numpy(x[:48]), y[:48], torch.from_numpy(x[48:]), y[48:]

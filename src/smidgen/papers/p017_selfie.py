"""Claim 017: a trunk trained by filling gaps, then fine-tuned on few labels (Selfie: Trinh, Luong and Le, 2019).

Where this differs from the plan of the re-test, and why; all was fixed on seeds from 1000 on.

- Photos (cifar10_subset, 3000 of CIFAR-10, one of the paper's own data sets) in place of 10 000 of Fashion-MNIST: 2700
  to pretrain on, 300 to choose the best epoch by. Digits were tried first in development and left: the pretext task is
  easy there (83 %), and from scratch 100 labels give 93 to 95 %, from pretrained stages 93 to 94 %.
- 16 epochs of so few pictures, and 40 or 15 passes over 100 or 300 labelled ones: minutes of one core, not of many.
- "An interval above 0 at one size" is asked of either; that both means are at least 0 is a part of its own, on the
  smaller of the two gains, which must surely not be below -2 points.
- The spread over draws is measured and not judged: five draws a seed are few.
"""

from typing import Any

from smidgen.papers.claim import Claim, Part, Published, Scale

SET, EDGE, PATCH, HELD = "cifar10_subset", 32, 8, 300
WIDTHS, EPOCHS, BATCH, RATE = (16, 32, 64, 128), 16, 128, 3e-3
SIZES, PASSES, DRAWS = (10, 30), {10: 40, 30: 15}, 5  # labels a class
TUNED = {"selfie": 3e-3, "scratch": 3e-3}  # rates of fine-tuning; of three, good for both in development
GATE = 37.5  # percent of the pretext task; chance is 25

CLAIM = Claim(
    title="Selfie: pretraining an image network by filling gaps",
    year=2019,
    gives="Hide patches of unlabelled pictures and let the network choose which patch belongs where. Fine-tuning on "
    "few labels then varies less from run to run than training from scratch, which matters if you only train once.",
    room="learn",
    implements=(
        "learn.selfie",
        "learn.pretraining",
        "learn.label_fractions",
        "nets.attention_pool",
        "nets.small_convnet",
        "data.augment.pictures",
    ),
    keywords="self-supervised learning, masked patches, jigsaw, unlabelled images, ResNet, attention pooling, few "
    "labels, fine-tuning, semi-supervised, stable results, low variance, pretext task, image embedding",
    says="A trunk that learned to choose hidden patches of unlabelled pictures, fine-tuned on few labels, is more "
    "accurate than the same network from scratch.",
    experiment=f"""
        2700 photos of cifar10_subset without labels, mirrored at random: 16 patches of {PATCH} x {PATCH}, 4 hidden.
        Patch network: the first three stages of a pre-activation ResNet of widths {", ".join(map(str, WIDTHS))}, one
        block a stage; attention pool of 2 layers and 4 heads; AdamW, {EPOCHS} epochs; of every fourth the one with the
        best pretext accuracy on {HELD} other photos is taken. Dot products are divided by the root of their width,
        which the paper does not do. The paper trains a ResNet-50 on CIFAR-10 and ImageNet.

        The whole ResNet is then trained end to end on 10 and 30 labels a class, {DRAWS} draws each, with small shifts
        and mirroring, from the pretrained stages or from scratch; accuracy on 1000 test photos. All seeds share the
        pictures: intervals are widened by 1000 / 3000. Beside it, not judged: standard deviations over the draws.
        """,
    published=(
        Published(
            value="35.6 to 46.7",
            metric="mean top-1 accuracy from scratch and after Selfie, 60 labels a class",
            data="ImageNet, 224 x 224, ResNet-50",
            where="arXiv 1906.02940, abstract",
        ),
    ),
    parts=(
        Part(
            name="pretext",
            says="On held-out pictures the right patch is chosen 1.5 times as often as by chance: else all is void.",
            gain=("pretext accuracy", GATE),
            unit="points",
        ),
        *(
            Part(
                name=f"{n} labels a class",
                says=f"With {n} labels a class fine-tuning is more accurate than training from scratch.",
                gain=(f"selfie {n}", f"scratch {n}"),
                unit="points",
                group="labels",
            )
            for n in SIZES
        ),
        Part(
            name="both sizes",
            says="The smaller gain of the two is not negative on average, and surely not below -2 points.",
            gain=("least gain", 0.0),
            null=-2.0,
            unit="points",
        ),
    ),
    needs={"labels": 1},
    seeds=4,
    minutes=10,
    resampled=1 / 3,
    data=(SET,),
    added="2026-11-29",
)


def run(scale: Scale, seed: int) -> dict[str, float]:
    """Accuracies in points of both arms, spreads over draws, pretext accuracy. At smoke scale made-up pictures."""
    import numpy as np

    from smidgen.data.augment.pictures import weak
    from smidgen.kit.seeds import derive_seed
    from smidgen.learn.label_fractions import FinetuneConfig, accuracy, finetune, label_draws, over_draws
    from smidgen.learn.selfie import transfer_trunk
    from smidgen.nets.small_convnet import SmallResNet

    full = scale == Scale.FULL
    x, y, test_x, test_y = _photos(seed) if full else _made(seed)
    widths = WIDTHS if full else (4, 4, 4, 4)
    selfie, pretext_accuracy = _pretrained(x, widths, seed, full)
    values = {"pretext accuracy": 100 * pretext_accuracy}
    for n in SIZES:
        rows = label_draws(y, per_class=n if full else 4, draws=DRAWS if full else 2, seed=derive_seed(seed, n))
        for arm, lr in TUNED.items():

            def measure(r: np.ndarray, i: int, arm: str = arm, lr: float = lr, n: int = n) -> float:
                net = SmallResNet(widths, channels=x.shape[1], seed=derive_seed(seed, "whole", i))
                if arm == "selfie":
                    transfer_trunk(selfie, net, {"stem.": "stem.", "stages.": "stages."}, leave=("norm.",))
                passes = PASSES[n] if full else 1
                config = FinetuneConfig(epochs=passes, batch=32, lr=lr, lr_head=3e-3, seed=derive_seed(seed, i))
                return accuracy(finetune(net, widths[-1], x[r], y[r], config, views=weak(0.5)), test_x, test_y)

            scores = over_draws(measure, rows)
            values |= {f"{arm} {n}": 100 * scores.mean, f"spread: {arm} {n}": 100 * scores.std}
    values["least gain"] = min(values[f"selfie {n}"] - values[f"scratch {n}"] for n in SIZES)
    return values


def _pretrained(x: Any, widths: Any, seed: int, full: bool) -> tuple[Any, float]:
    """The trained `Selfie` with the weights of its best epoch, and its accuracy on pictures it did not learn from.

    Choosing among few epochs by the same pictures flatters that accuracy a little; it decides nothing but the gate.
    """
    from smidgen.data.augment.pictures import ViewConfig
    from smidgen.kit.seeds import derive_seed
    from smidgen.learn.pretraining import PretrainingConfig, pretrain
    from smidgen.learn.selfie import Selfie, pretext
    from smidgen.nets.small_convnet import SmallResNet

    held = HELD if full else 8
    width = widths[2]
    selfie = Selfie(
        SmallResNet(widths[:3], channels=x.shape[1], seed=derive_seed(seed, "patch network")),
        width,
        image_size=EDGE,
        patch_size=PATCH,
        depth=2,
        heads=4,
        ffn_dim=2 * width,
        logit_scale=width**-0.5,
        seed=derive_seed(seed, "pool"),
    )
    config = PretrainingConfig(
        epochs=EPOCHS if full else 1,
        batch=BATCH if full else 16,
        lr=RATE,
        weight_decay=1e-4,
        look_every=4,
        seed=derive_seed(seed, "order"),
    )
    mirror = ViewConfig(flip=0.5)

    def drawn(part: Any, generator: Any) -> Any:
        return selfie.draw(mirror(part, generator), generator)

    done = pretrain(selfie, x[held:], drawn, config, look=pretext(x[:held]), choose="accuracy")
    return selfie, done.best


def _photos(seed: int) -> tuple[Any, Any, Any, Any]:
    """Pictures float `[N, 3, EDGE, EDGE]` and classes, of training (in an order of the seed) and test."""
    import numpy as np

    from smidgen.data.augment.pictures import as_pictures
    from smidgen.kit.seeds import derive_seed
    from smidgen.tasks import known

    out = []
    for part in ("train", "test"):
        with np.load(known.place(SET) / f"{part}.npz") as file:
            images, y = file["images"], file["labels"].astype(np.int64)
        order = np.random.default_rng(derive_seed(seed, part)).permutation(len(y))
        out += [as_pictures(images[order]), y[order]]
    return out[0], out[1], out[2], out[3]


def _made(seed: int) -> tuple[Any, Any, Any, Any]:
    """A few slopes, lying and standing, to show that it runs."""
    import torch

    y = torch.arange(48) % 2
    slope = torch.linspace(0, 1, EDGE).expand(48, 1, EDGE, EDGE)
    noise = 0.2 * torch.rand(slope.shape, generator=torch.Generator().manual_seed(seed))
    x = 0.8 * torch.where(y[:, None, None, None] == 0, slope, slope.mT) + noise
    return x[:32], y[:32].numpy(), x[32:], y[32:].numpy()

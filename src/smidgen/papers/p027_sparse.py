"""Claim 027: unlabelled pictures, redrawn as other classes, teach a classifier that has 5 labels of each (2025).

All was fixed on seeds from 1000 on (two runs). There pseudo-labels alone, without labelled pictures beside them, made
the peer forget all classes but one within a pass (the surest pictures are mostly of one class), which would have
flattered SPARSE: so it takes as many labelled ones beside, as is usual. SPARSE itself is as published.
"""

from typing import Any

from smidgen.papers.claim import Claim, Part, Published, Scale

SET, CLASSES, HANDS, EDGE = "mnist10k", 10, 4, 32
SHOTS, UNLABELLED = 5, 1600  # labelled pictures of a class; the rest of a hand is for the test
WIDTH, JUDGE, STRIDES = 8, 16, 4  # JUDGE: width of the discriminator
EPOCHS, LABELLED_STEPS, BATCH = 30, 12, 64
START, EVERY = 6, 2  # 12 passes over the unlabelled pictures
RATE, LESSONS = 1e-3, 400  # LESSONS: of the classifier that knows all labels
LEAST = 0.02  # asked over labels alone

CLAIM = Claim(
    title="SPARSE: few-shot semi-supervised learning by image translation",
    year=2025,
    gives="Train an image classifier from 5 to 50 labelled pictures of each class plus many unlabelled ones: these are "
    "redrawn as other classes and used as labelled pictures.",
    room="learn",
    implements=(
        "nets.translation",
        "learn.translation_gan",
        "learn.vote_ensemble",
        "learn._translation_losses",
        "learn._translation_training",
        "learn._translation_settings",
        "learn._translation_rows",
        "learn._translation_checkpoints",
        "tasks.few_shot",
        "studies.data_sets",
    ),
    keywords="semi-supervised learning, few-shot, image-to-image translation, GAN, StarGAN, U-Net, attention gate, "
    "pseudo-labels, consistency, temporal ensembling, medical images, MedMNIST, few labelled scans, unlabelled images, "
    "synthetic training data, mutual learning, mixup, WGAN-GP",
    says="With 5 labelled pictures of a class, learning from unlabelled pictures that are redrawn as other classes "
    "beats other semi-supervised GANs; what carries this is the mean of classifier and discriminator, rather than the "
    "classifier alone.",
    experiment=f"""
        MNIST digits (Fashion-MNIST is not at hand), padded to {EDGE} x {EDGE}; of each seed {SHOTS} labelled ones of
        each class, {UNLABELLED:,} unlabelled ones and about 850 for the test; no two judged seeds share a picture.
        (Planned: 2,000.) One labelled picture of each class is held back, to choose each network's best epoch by.
        Arms, from the same first weights: labels alone (the supervised phase with its three networks); plain
        pseudo-labels, selected in the same way, that classifier and discriminator learn from beside as many labelled
        pictures; SPARSE's classifier; SPARSE's mean of classifier and discriminator.

        For time the U-Net is half as wide as planned ({WIDTH} to {8 * WIDTH}); the discriminator begins with {JUDGE}
        channels and has {STRIDES} strides; the classifier has 3 blocks ({2 * WIDTH} to {8 * WIDTH}), in place of a
        pretrained EfficientNet-B3. {EPOCHS} epochs of {LABELLED_STEPS} updates on all {SHOTS * CLASSES - CLASSES}
        labelled pictures that are not held back, and 12 passes over the unlabelled ones, in every {EVERY}nd epoch after
        {START}; a quarter of each batch of {BATCH} is sure enough to be used. AdamW at {RATE:g} (the paper: 2e-4 for
        1000 epochs). No augmentation, no realism filter.

        Not judged: "translation - pseudo-labels", whether the gain of the classifier comes from redrawing; "ensemble,
        labels alone", what the mean gives without any unlabelled picture; "pseudo-label accuracy" of the pictures that
        were sure enough at the end. "redrawn as asked" is the accuracy, on test pictures redrawn as random classes, of
        a classifier that learned from all labels ("oracle" is its accuracy on them as they are).
        """,
    published=(
        Published(
            value=66.22,
            metric="mean accuracy, %, of the ensemble at 5 shots",
            data="11 MedMNIST data sets",
            where="arXiv 2508.06429",
        ),
        Published(
            value=63.21,
            metric="mean accuracy, %, of the classifier at 5 shots (TripleGAN: 64.23)",
            data="11 MedMNIST data sets",
            where="arXiv 2508.06429",
        ),
    ),
    parts=(
        Part(
            name="more than labels alone",
            says="The mean of classifier and discriminator gains 2 points over a classifier from labels alone.",
            gain=("ensemble", "labels alone"),
            margin=LEAST,
            unit="accuracy",
        ),
        Part(
            name="the ensemble carries it",
            says="The mean of both is not worse than the classifier alone; surely by less than 2 points.",
            gain=("ensemble", "classifier"),
            null=-LEAST,
            unit="accuracy",
        ),
        Part(
            name="redrawn as asked",
            says="Redrawn pictures are taken for the wanted class at least three times as often as by chance.",
            gain=("redrawn as asked", 3 / CLASSES),
            unit="accuracy",
        ),
    ),
    seeds=HANDS,
    minutes=9,
    data=(SET,),
    added="2026-11-29",
)


def run(scale: Scale, seed: int) -> dict[str, float]:
    """Test accuracies of all arms on one draw of pictures. At smoke scale tiny networks on made pictures."""
    import numpy as np
    import torch

    from smidgen.kit.seeds import derive_seed
    from smidgen.tasks.few_shot import few_shot_split

    full = scale == Scale.FULL
    x, y = _pictures(full, seed)
    classes = CLASSES if full else 2
    count = len(x) // 2 if not full else SHOTS * classes + UNLABELLED
    draw = few_shot_split(y[:count], SHOTS, seed=derive_seed(seed, "shots"))
    labelled, unlabelled = (x[draw.labelled], y[draw.labelled]), x[draw.unlabelled]
    test, truth = x[count:], y[count:]
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        arms = {
            "labels alone": _arm(full, seed, classes).fit(labelled, None, EPOCHS if full else 2),
            "pseudo-labels": _arm(full, seed, classes, "pseudo-labels").fit(
                labelled, unlabelled, EPOCHS if full else 2
            ),
            "classifier": _arm(full, seed, classes).fit(labelled, unlabelled, EPOCHS if full else 2),
        }
        values = {}
        for name, arm in arms.items():
            both = "ensemble" if name == "classifier" else f"ensemble, {name}"
            for how, said in (("classifier", name), ("ensemble", both)):
                values[said] = float((arm.predict_proba(test, how).argmax(1) == truth).mean())
        sparse = arms["classifier"]
        oracle = _oracle(x[:count], y[:count], classes, LESSONS if full else 3, seed)
        target = np.random.default_rng(derive_seed(seed, "targets")).integers(0, classes, len(test))
        values["oracle"] = float((oracle(test) == truth).mean())
        values["redrawn as asked"] = float((oracle(sparse.translate(test, target)) == target).mean())
        own = sparse.predict_proba(unlabelled)
        sure = own.max(1) >= np.quantile(own.max(1), sparse.settings.percentile)
        values["pseudo-label accuracy"] = float((own.argmax(1) == y[draw.unlabelled])[sure].mean())
    finally:
        torch.set_num_threads(threads)
    values["translation - pseudo-labels"] = values["classifier"] - values["pseudo-labels"]
    return values


def _arm(full: bool, seed: int, classes: int, use: str = "translation") -> Any:
    """Networks with the seed's first weights, to be trained."""
    from smidgen.kit.seeds import derive_seed
    from smidgen.learn.translation_gan import SPARSE
    from smidgen.nets.translation import AttentionUNet, PatchDiscriminator, PictureClassifier

    w, own = (WIDTH if full else 2), derive_seed(seed, "networks")
    edge, strides = (EDGE, STRIDES) if full else (8, 2)
    return SPARSE(
        AttentionUNet(classes, 1, (w, 2 * w, 4 * w, 8 * w) if full else (w, 2 * w), seed=own),
        PatchDiscriminator(edge, 1, classes, width=JUDGE if full else w, n_strided=strides, seed=own + 1),
        PictureClassifier(classes, 1, (2 * w, 4 * w, 8 * w) if full else (w, 2 * w), seed=own + 2),
        classes,
        mu=EVERY if full else 1,
        start=START if full else 0,
        labelled_steps=LABELLED_STEPS if full else 1,
        batch=BATCH if full else 8,
        rate=RATE,
        use=use,
        seed=derive_seed(seed, "training"),
    )


def _oracle(x: Any, y: Any, classes: int, lessons: int, seed: int) -> Any:
    """A classifier of all labels; gives a function of pictures to their classes."""
    import torch
    import torch.nn.functional as F

    from smidgen.kit.seeds import derive_seed
    from smidgen.nets.translation import PictureClassifier
    from smidgen.train.loop import LoopConfig, Run, train
    from smidgen.train.schedules import Cosine

    net = PictureClassifier(classes, 1, (16, 32, 64), dropout=0.0, seed=derive_seed(seed, "oracle"))
    rows, answers = torch.from_numpy(x), torch.from_numpy(y)
    random = torch.Generator().manual_seed(derive_seed(seed, "lessons"))

    def batches(number: int) -> tuple[Any, Any]:
        del number  # never resumed
        take = torch.randint(len(rows), (64,), generator=random)
        return rows[take], answers[take]

    def loss_of(model: Any, x: Any, y: Any) -> tuple[Any, int]:
        return F.cross_entropy(model(x), y, reduction="sum"), len(y)

    learning = Run(net, torch.optim.Adam(net.parameters(), lr=3e-3))
    train(learning, batches, loss_of, Cosine(steps=lessons, least=0.0), LoopConfig(), steps=lessons)

    def classes_of(pictures: Any) -> Any:
        with torch.inference_mode():
            return net.eval()(torch.from_numpy(pictures)).argmax(1).numpy()

    return classes_of


def _pictures(full: bool, seed: int) -> tuple[Any, Any]:
    """Pictures `[N, 1, E, E]` in -1 to 1 in random order, and class codes int64 `[N]`."""
    import numpy as np

    from smidgen.kit.seeds import derive_seed
    from smidgen.tasks.known import place

    if not full:
        rng = np.random.default_rng(seed)
        y = np.tile(np.arange(2), 30)
        made = (2 * y - 1)[:, None, None, None] * np.linspace(-0.7, 0.7, 8) + 0.2 * rng.random((60, 1, 8, 8))
        return np.clip(made, -1, 1).astype(np.float32), y
    parts = []
    for part in ("train", "test"):
        with np.load(place(SET) / f"{part}.npz") as file:
            parts.append((file["images"], file["labels"].astype(np.int64)))
    images, labels = (np.concatenate(both) for both in zip(*parts, strict=True))
    deal, hand = divmod(seed, HANDS)  # seeds 0 to 3 share no picture
    take = np.random.default_rng(derive_seed(deal, "images")).permutation(len(images))[hand::HANDS]
    more = (EDGE - images.shape[1]) // 2
    x = np.pad(images[take], ((0, 0), (more, more), (more, more)))[:, None] / 127.5 - 1
    return x.astype(np.float32), labels[take]

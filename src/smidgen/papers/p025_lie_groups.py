"""Claim 025: networks over sampled matrices read transformed pictures after upright ones (RGENN: Mironenco, 2024).

Where this differs from the plan of the re-test, and why; all was fixed on seeds from 1000 on.

- 1,000 upright digits for training, not 1,200, enlarged from 8 x 8 to 16 x 16 on a canvas of 24 x 24, not 20 on 28:
  all four networks in three minutes on one core. For the same reason places are halved after the lifting layer too.
- The rate is 3e-3, not 2e-4, and norms are over the batch, not the layer, in all networks: there are 400 updates, not
  20,000. With layer norms group networks stayed where they began for the 240 updates that were tried in development.
- 20 epochs, not 12: kernels that are drawn anew at each pass learn slowly (in development SL(2) had 74 points on
  upright digits after 12, where SO(2), whose rotations stay, had 99). Norms are calibrated for the draws of the test.
- The better of SL(2) and GL+(2) would be chosen on the rows that judge it: SL(2) is judged, GL+(2) reported.
- Parts 2 and 3 of the plan are exact or noisy in themselves: the largest error of coordinates over 1,000 matrices a
  group is compared with 1e-5; Spearman's correlation of three values with one another is -1 in one of six cases by
  chance, so the fall from 2 samples to 8 is what must be seen, and the correlation is reported.
- The shear-heavy test (no rotation, shear up to 0.5) is judged too, as its own part: rotations alone do not undo it.
"""

from typing import Any

from smidgen.papers.claim import Claim, Part, Published, Scale

TRAIN, TEST = 1000, 700
CANVAS, SIZE = 24, 16
WIDTH, SAMPLES, EPOCHS, BATCH, RATE = 10, 4, 20, 50, 3e-3
DRAWS = 4  # of samples, whose answers are averaged at test
COUNTS = (2, 4, 8)  # samples, of which errors of equivariance are measured
ARMS = ("cnn", "so2", "sl2", "gl2")

CLAIM = Claim(
    title="RGENN: networks that know rotation, stretch and shear",
    year=2024,
    gives="Train an image network on upright pictures and use it on turned, sheared or stretched ones, with no such "
    "pictures in training. For maps, scans or print seen from odd angles, when examples of each pose are missing.",
    room="nets",
    implements=(
        "nets.lie_matrices",
        "nets.lie_groups",
        "nets.lie_spd",
        "nets.lie_layers",
        "nets.lie_network",
        "data.affine_pictures",
    ),
    keywords="image classification, equivariance, invariance, rotation, shear, scale, affine transformations, "
    "homography, affNIST, digits, Lie group, GL(2), SL(2), polar decomposition, group convolution, SIREN, implicit "
    "kernels, out-of-distribution poses, small data, no augmentation",
    says="Networks equivariant to affine groups, built from decompositions of these groups, read affine-transformed "
    "digits after training on upright ones, better than networks without the symmetry.",
    experiment=f"""
        scikit-learn's digits of 8 x 8, enlarged to {SIZE} x {SIZE} on a canvas of {CANVAS} x {CANVAS}. {TRAIN} upright
        ones for training, {TEST} others for testing: as they are; transformed as affNIST is (rotation to 20 degrees,
        shear to 0.2, axes by 0.8 to 1.2, shifted over the canvas); and sheared to 0.5 without rotation. Networks of
        SO(2), SL(2) and GL+(2), {WIDTH} channels, {SAMPLES} samples of the group, 2 residual blocks, and an ordinary
        network of the same layout whose width gives the nearest number of parameters. {EPOCHS} epochs of batches of
        {BATCH}, AdamW {RATE:g}, weight decay 5e-3, cosine; no augmentation. At test answers are averaged over {DRAWS}
        draws of samples. The error of equivariance is the change of invariant features under random affine maps, in
        units of how far features of different pictures lie apart, of the trained SL(2) network with 2, 4 and 8
        samples, over {2 * DRAWS} draws each.

        Seeds draw from the same 1,797 digits: intervals are widened by {TEST} / {TRAIN}.
        """,
    published=(
        Published(
            value="outperforms earlier equivariant networks and capsule networks",
            metric="accuracy on transformed digits after training on untransformed ones",
            data="affNIST",
            where="arXiv 2310.11366, abstract",
        ),
    ),
    parts=(
        Part(
            name="transformed",
            says="On affine-transformed digits SL(2) is at least 5 points better than the ordinary network.",
            gain=("sl2: transformed", "cnn: transformed"),
            margin=5.0,
            unit="points",
        ),
        Part(
            name="clean",
            says="On upright digits it is at most 3 points worse; surely less than 6.",
            gain=("sl2: clean", "cnn: clean"),
            margin=-3.0,
            null=-6.0,
            unit="points",
        ),
        Part(
            name="shear",
            says="On digits that are only sheared and stretched it is at least 5 points better.",
            gain=("sl2: sheared", "cnn: sheared"),
            margin=5.0,
            unit="points",
        ),
        Part(
            name="coordinates",
            says="Coordinates of sampled matrices give these back within 1e-5.",
            gain=(1e-5, "largest error of coordinates"),
        ),
        Part(
            name="more samples",
            says="The error of equivariance is smaller with 8 samples than with 2.",
            gain=("error with 2 samples", "error with 8 samples"),
        ),
    ),
    seeds=4,
    minutes=10,
    resampled=0.7,
    added="2026-11-29",
)


def run(scale: Scale, seed: int) -> dict[str, float]:
    """Accuracies in points of all arms, errors of coordinates and of equivariance."""

    from smidgen.kit.seeds import derive_seed
    from smidgen.nets.lie_network import SampledModel, matched_plain, parameters

    full = scale == Scale.FULL
    parts = _parts(seed, full)
    values = {"largest error of coordinates": _coordinates(1000 if full else 20, seed)}
    nets: dict[str, Any] = {name: _network(name, seed, full) for name in ARMS if name != "cnn"}
    nets["cnn"] = matched_plain(nets["sl2"], 10, derive_seed(seed, "cnn") if full else 0)
    for name in ARMS:
        net = nets[name]
        values[f"{name}: parameters"] = float(parameters(net))
        _fit(net, parts["train"], EPOCHS if full else 1, derive_seed(seed, "order"))
        asked = net
        if name != "cnn":
            asked = SampledModel(net, DRAWS if full else 1, False, seed=derive_seed(seed, "test"))
            asked.calibrate(parts["train"][0][:500])
        for part, (x, y) in parts.items():
            values[f"{name}: {part}"] = _accuracy(asked, x, y)
    errors = _errors(nets["sl2"], parts["clean"][0][:200], 2 * DRAWS if full else 1, seed)
    values |= {f"error with {n} samples": e for n, e in zip(COUNTS, errors, strict=True)}
    values["correlation of samples and error"] = _spearman(errors)
    return values


def _parts(seed: int, full: bool) -> dict[str, tuple[Any, Any]]:
    """Pictures `[N, 1, H, H]` and labels, by name."""
    import torch
    from sklearn.datasets import load_digits

    from smidgen.data.affine_pictures import AFFNIST, SHEARED, affine_split

    digits: Any = load_digits()
    sizes = {"train": TRAIN, "test": TEST} if full else {"train": 16, "test": 8}
    pictures = digits.images / 16
    given = {"canvas": CANVAS, "size": SIZE, "seed": seed} | sizes
    affine, sheared = (affine_split(pictures, digits.target, ranges=r, **given) for r in (AFFNIST, SHEARED))
    named = {
        "train": (affine.train, affine.train_labels),
        "clean": (affine.clean, affine.test_labels),
        "transformed": (affine.test, affine.test_labels),
        "sheared": (sheared.test, sheared.test_labels),
    }
    return {k: (torch.from_numpy(x).float()[:, None], torch.from_numpy(y)) for k, (x, y) in named.items()}


def _network(name: str, seed: int, full: bool) -> Any:
    from smidgen.kit.seeds import derive_seed
    from smidgen.nets.lie_groups import GL2, SL2, SO2
    from smidgen.nets.lie_network import GroupResNet, GroupResNetConfig

    group = {"so2": SO2, "sl2": SL2, "gl2": GL2}[name]()
    config = GroupResNetConfig(
        width=WIDTH if full else 2,
        samples=SAMPLES if full else 2,
        hidden=64 if full else 8,
        pool_lift=True,
        norm="batch",
    )
    return GroupResNet(group, 1, 10, config, seed=derive_seed(seed, name))


def _fit(net: Any, part: tuple[Any, Any], epochs: int, seed: int) -> None:
    import torch
    import torch.nn.functional as F

    from smidgen.train.loop import LoopConfig, Run, train
    from smidgen.train.schedules import Cosine

    x, y = part
    a_epoch = -(-len(x) // BATCH)
    torch.manual_seed(seed)  # dropout and samples
    orders = [torch.randperm(len(x), generator=torch.Generator().manual_seed(seed + e)) for e in range(epochs)]

    def batch(number: int) -> tuple[Any, Any]:
        rows = orders[number // a_epoch][number % a_epoch * BATCH :][:BATCH]
        return x[rows], y[rows]

    def loss(model: Any, x: Any, y: Any) -> tuple[Any, int]:
        return F.cross_entropy(model(x), y, reduction="sum"), len(y)

    steps = epochs * a_epoch
    schedule = Cosine(steps=steps, warmup=min(10, steps), least=0.0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=5e-3)
    train(Run(net, optimizer), batch, loss, schedule, LoopConfig(), steps=steps)
    net.eval()


def _accuracy(net: Any, x: Any, y: Any) -> float:
    import torch

    net.eval()
    with torch.no_grad():
        right = sum(int((net(x[i : i + 100]).argmax(1) == y[i : i + 100]).sum()) for i in range(0, len(x), 100))
    return 100 * right / len(x)


def _coordinates(count: int, seed: int) -> float:
    """The largest difference of any sampled matrix and what its coordinates give."""
    import torch

    from smidgen.nets.lie_groups import GL2, SL2, SO2

    random = torch.Generator().manual_seed(seed)
    error = 0.0
    for group in (GL2(so=SO2("uniform")), SL2(so=SO2("uniform")), SO2("uniform")):
        g = group.sample_pair(count, random).g
        error = max(error, float((group.xi(group.xi_inv(g)) - g).abs().max()))
    return error


def _errors(net: Any, x: Any, draws: int, seed: int) -> list[float]:
    """Errors of equivariance under the network's own group, by the number of samples; the same maps for each."""
    from functools import partial

    import torch

    from smidgen.nets.lie_groups import SL2, SO2
    from smidgen.nets.lie_network import affine_equivariance_error

    found = []
    for count in COUNTS:
        random, maps = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
        each = []
        for _ in range(draws):
            g = SL2(so=SO2("uniform")).sample_pair(len(x), maps).g
            each.append(affine_equivariance_error(partial(net.pooled, path=net.draw(random, count)), x, g))
        found.append(sum(each) / len(each))
    return found


def _spearman(errors: list[float]) -> float:
    from scipy.stats import spearmanr

    found: Any = spearmanr(COUNTS, errors)
    return float(found.statistic) if len(set(errors)) > 1 else 0.0

"""Claim 039: four regimes of learning curves, two with an exponent of 1, two with the kernel's (Bahri et al., 2021)."""

from typing import Any

from smidgen.papers.claim import Claim, Part, Published, Scale

POOL, COMPONENTS = 4096, 100
DIMENSIONS, ROWS = (2, 4, 8), (64, 128, 256, 512, 1024)

CLAIM = Claim(
    title="Four regimes: why a learning curve has its slope",
    year=2021,
    gives="Find out whether noise or resolution, in data or in width, limits a model, and so whether collecting more "
    "or enlarging the network is worth paying for. Slopes are tied to how many dimensions the data truly has.",
    room="laws",
    implements=("laws.regimes", "laws.dimension", "laws.features", "laws.law"),
    keywords="learning curve, scaling law, power law, how many more labels are needed, is more data worth it, more "
    "data or bigger model, sample size planning, intrinsic dimension, random features, kernel spectrum, variance, "
    "theory, extrapolation, neural network width, diminishing returns",
    says="With one of data and width fixed and the other growing, loss falls to its limit with an exponent of 1; with "
    "one of them endless, it falls in the other with one exponent, the same for data and width, which the decay of "
    "the kernel's eigenvalues gives; it is smaller where data have more dimensions.",
    experiment="""
        MNIST digits (10,000; Fashion-MNIST is not at hand), 100 principal components. A pool of 4,096
        random ReLU features, a linear teacher on all of them, students that see P of them, least squares with a ridge
        of 1e-9; losses on 1,000 held images. Data at P = 64: D of 256 to 4,096, limit from 9,000 rows less its own
        share P / (D - P); the spec asks for 16,000, but jittered copies of images would count for less than rows.
        Width at D = 32: P of 256 to 2,048, 80 draws averaged, limit from the whole pool, of which P features are a
        share: their variance falls as 1 / P - 1 / 4,096, which takes the place of 1 / P. Both resolution-limited
        curves: 32 to 512, the other at 4,096 features (10 draws) or 9,000 rows (4 draws). alpha_K from eigenvalues 30
        to 500 of the kernel of 2,000 images. A mean that misses a bound by less than 0.1, or 10 %, is called a
        direction.

        Dimension: points of manifolds of 2, 4 and 8 dimensions in 16, targets by a random network of the
        manifold's coordinates, students of 2 layers of 128 ReLU units, 1,500 steps of Adam, 64 to 1,024 points.
        """,
    published=(
        Published(
            value="about 1",
            metric="exponent in both variance-limited regimes",
            data="all architectures and data sets tested",
            where="arXiv 2102.06701, abstract",
        ),
    ),
    parts=(
        Part(name="variance, data: at least", says="The exponent in data at fixed width is at least 0.85.",
             gain=("variance data", 0.85), null=-0.1, unit="exponent"),
        Part(name="variance, data: at most", says="And at most 1.2.", gain=(1.2, "variance data"), null=-0.1,
             unit="exponent"),
        Part(name="variance, width: at least", says="The exponent in width at fixed data is at least 0.8.",
             gain=("variance width", 0.8), null=-0.1, unit="exponent"),
        Part(name="variance, width: at most", says="And at most 1.35.", gain=(1.35, "variance width"), null=-0.1,
             unit="exponent"),
        Part(name="data and width alike", says="Resolution-limited exponents of both differ by less than 20 %.",
             gain=(20.0, "apart"), null=-10.0, unit="% of the exponent"),
        Part(name="data: the kernel's", says="That of data lies within 30 % of the kernel's.",
             gain=(30.0, "data from kernel"), null=-10.0, unit="% of the exponent"),
        Part(name="width: the kernel's", says="And that of width.", gain=(30.0, "width from kernel"), null=-10.0,
             unit="% of the exponent"),
        Part(name="dimensions: 2 and 4", says="Students learn 2 dimensions with a larger exponent than 4.",
             gain=("alpha in 2", "alpha in 4"), unit="exponent"),
        Part(name="dimensions: 4 and 8", says="And 4 with a larger one than 8.", gain=("alpha in 4", "alpha in 8"),
             unit="exponent"),
    ),
    seeds=5,
    minutes=8,
    data=("mnist10k",),
    added="2026-11-29",
)  # fmt: skip


def run(scale: Scale, seed: int) -> dict[str, float]:
    """All slopes of one seed. At smoke scale a small pool on made inputs."""
    import numpy as np

    from smidgen.laws.features import RandomFeatures
    from smidgen.papers.teacher_student import TeacherStudent

    full = scale == Scale.FULL
    inputs = _digits() if full else np.random.default_rng(seed).normal(size=(900, 20))
    model = RandomFeatures(inputs, POOL if full else 256, seed, 1000 if full else 200)
    values = slopes(model, full)
    for d in DIMENSIONS:
        student = TeacherStudent(d) if full else TeacherStudent(d, 8, 16, 2, 5)
        values |= {f"loss in {d} at {n}": student.loss(n, seed) for n in (ROWS if full else (16, 32, 64, 128))}
    for d in DIMENSIONS:
        found = {int(k.split()[-1]): v for k, v in values.items() if k.startswith(f"loss in {d} at")}
        values[f"alpha in {d}"] = _exponent(found, 0.0)
    return values


def slopes(model: Any, full: bool) -> dict[str, float]:
    """The exponents of the four sweeps, and that of the kernel."""
    from smidgen.laws.regimes import kernel_exponent

    many, pool = (9000, POOL) if full else (640, 256)
    fixed_p, fixed_d = (64, 32) if full else (16, 8)
    powers = (256, 512, 1024, 2048, 4096) if full else (64, 128, 256, 512)
    widths = (256, 512, 1024, 2048) if full else (32, 64, 128, 192)
    small = (32, 64, 128, 256, 512) if full else (8, 16, 32, 64)
    few = 4 if full else 1
    limit = model.loss(many, fixed_p, draws=few) / (1 + fixed_p / (many - fixed_p))
    data = _exponent({d: model.loss(d, fixed_p, draws=few) for d in powers}, limit)
    whole = model.loss(fixed_d, pool, draws=20 * few)
    # a share of a finite pool: its variance falls as 1 / P - 1 / S
    width = _exponent({p * pool / (pool - p): model.loss(fixed_d, p, draws=20 * few) for p in widths}, whole)
    alpha_d = _exponent({d: model.loss(d, pool, draws=10 if full else 1) for d in small}, 0.0)
    alpha_p = _exponent({p: model.loss(many, p, draws=few) for p in small}, 0.0)
    alpha_k = kernel_exponent(model.kernel(2000 if full else 300), (30, 500) if full else (10, 100))[0]
    return {
        "variance data": data, "variance width": width, "alpha D": alpha_d, "alpha P": alpha_p, "alpha K": alpha_k,
        "apart": 100 * abs(alpha_d - alpha_p) / max(alpha_d, alpha_p),
        "data from kernel": 100 * abs(alpha_d / alpha_k - 1), "width from kernel": 100 * abs(alpha_p / alpha_k - 1),
    }  # fmt: skip


def _exponent(losses: dict[Any, float], floor: float) -> float:
    """NaN where a loss lies at the floor: then there is no slope to tell."""
    import math

    from smidgen.kit.errors import BadInput
    from smidgen.laws.regimes import fit_power_law

    try:
        return fit_power_law(list(losses), list(losses.values()), floor).exponent
    except BadInput:
        return math.nan


def _digits() -> Any:
    import numpy as np

    from smidgen.tasks.known import place

    pixels = _pixels(place("mnist10k"))
    centred = pixels - pixels.mean(0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    parts = centred @ vectors[:, ::-1][:, :COMPONENTS]
    return parts / parts.std()  # not each for itself: equal ones would put a cliff into the kernel's spectrum


def _pixels(folder: Any) -> Any:
    """`[10000, 784]` in 0 to 1."""
    import numpy as np

    parts = []
    for part in ("train", "test"):
        with np.load(folder / f"{part}.npz") as file:
            parts.append(file["images"].reshape(-1, 784))
    return np.concatenate(parts) / 255.0

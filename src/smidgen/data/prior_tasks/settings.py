"""What tasks are drawn: the mix of mechanisms, how often tables have which flaw, and sizes as training goes on."""

import bisect
import math
from dataclasses import dataclass, fields

import numpy as np

from smidgen.kit.config import nearest
from smidgen.kit.errors import BadInput, bad
from smidgen.kit.seeds import derive_seed

VERSION = 2  # of the draws: a change after which the same numbers give other tasks must raise it
MECHANISMS = (
    "linear",
    "sparse_linear",
    "network",
    "gaussian_process",
    "forest",
    "rules",
    "clusters",
    "causal",
)
FLAWS = (  # each is a chance in `PriorConfig`
    "imbalance",
    "label_noise",
    "irrelevant",
    "redundant",
    "discretised",
    "categorical",
    "warped",
    "scaled",
    "missing",
    "heavy_tailed",
    "heteroscedastic",
)
ROLES = ("own", "irrelevant", "redundant", "padding")
MOST_CLASSES = 10
FEWEST_ROWS = 4


def only(*names: str) -> tuple[float, ...]:
    """Weights that draw from these mechanisms alone, equally. Raises BadInput: an unknown name, or none."""
    for name in names:
        if name not in MECHANISMS:
            raise BadInput(f"There is no mechanism '{name}'. {nearest(name, MECHANISMS)}")
    if not names:
        raise bad("mechanisms", "at least one name", "none")
    return tuple(float(name in names) for name in MECHANISMS)


@dataclass(frozen=True, kw_only=True)
class PriorConfig:
    """Which tasks, and how dirty at full severity. Chances are of a task, from 0 to 1; a stage's severity scales them.

    Attributes:
        weights: of the mechanisms, in the order of `MECHANISMS`, of any sum above 0.
        regression: chance that the target is a number; 0 and 1 give one kind only. Not scaled by severity.
        noise: largest standard deviation of the noise on what decides the target, which itself has 1.
        imbalance: chance that classes are of unequal size.
        label_noise: chance that some labels are another row's. label_noise_most: largest share of such rows.
        irrelevant, redundant: chance of columns that say nothing, or repeat others with noise.
        discretised: chance of columns of few ordered values. categorical: of columns of codes without order.
        warped: chance that numeric columns are bent monotonically. scaled: that they differ in scale and origin.
        missing: chance of missing cells. missing_most: largest share of them in a column, about.
        heavy_tailed, heteroscedastic: chance that a numeric target has outliers, or noise that depends on the row.
    """

    weights: tuple[float, ...] = (0.1, 0.1, 0.2, 0.1, 0.15, 0.1, 0.05, 0.2)
    regression: float = 0.0
    noise: float = 2.0
    imbalance: float = 0.5
    label_noise: float = 0.25
    label_noise_most: float = 0.25
    irrelevant: float = 0.4
    redundant: float = 0.3
    discretised: float = 0.3
    categorical: float = 0.35
    warped: float = 0.5
    scaled: float = 0.5
    missing: float = 0.3
    missing_most: float = 0.5
    heavy_tailed: float = 0.3
    heteroscedastic: float = 0.3

    def __post_init__(self) -> None:
        good = len(self.weights) == len(MECHANISMS) and all(math.isfinite(w) and w >= 0 for w in self.weights)
        if not good or not sum(self.weights) > 0:
            raise bad(
                "weights", f"{len(MECHANISMS)} numbers of 0 or more, not all 0", self.weights,
                "They are in the order of MECHANISMS; only('forest') makes them.",
            )  # fmt: skip
        if not 0 <= self.noise < math.inf:
            raise bad("noise", "0 or more", self.noise)
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in ("weights", "noise") and not 0 <= value <= 1:
                raise bad(field.name, "from 0 to 1", value)
        if self.missing_most == 1:
            raise bad("missing_most", "below 1", self.missing_most, "A column of no values teaches nothing.")


@dataclass(frozen=True)
class Shape:
    """Of one batch. `n_context` of the rows are labelled."""

    rows: int
    features: int
    n_context: int


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Sizes and severity at one point of training. The defaults are those of the end.

    Attributes:
        start: share of the training after which it is reached, 0 to 1.
        rows: least and most, context and queries together. features: likewise. classes: likewise, 1 to 10.
        context: least and largest share of rows that are context.
        cells: most rows times features of a batch; rows give way, down to their least.
        fill: least share of a batch's columns that a task uses; the others are padding.
        severity: 0 gives clean tables with hardly any noise, 1 what the `PriorConfig` says.
    """

    start: float = 1.0
    rows: tuple[int, int] = (32, 384)
    features: tuple[int, int] = (1, 100)
    classes: tuple[int, int] = (2, MOST_CLASSES)
    context: tuple[float, float] = (0.2, 0.8)
    cells: int = 8192
    fill: float = 0.5
    severity: float = 1.0

    def __post_init__(self) -> None:
        for name, least, most in (("rows", FEWEST_ROWS, None), ("features", 1, None), ("classes", 1, MOST_CLASSES)):
            pair = getattr(self, name)
            if len(pair) != 2 or not least <= pair[0] <= pair[1] <= (most or math.inf):
                until = f"from {least} to {most}" if most else f"of {least} or more"
                raise bad(name, f"(least, most) {until}", pair)
        if len(self.context) != 2 or not 0 < self.context[0] <= self.context[1] < 1:
            raise bad("context", "(least, most), each above 0 and below 1", self.context)
        for name in ("start", "fill", "severity"):
            if not 0 <= getattr(self, name) <= 1:
                raise bad(name, "from 0 to 1", getattr(self, name))
        if self.cells < 1:
            raise bad("cells", "at least 1", self.cells)

    def shape(self, seed: int, step: int) -> Shape:
        """One batch's, drawn for a step: features and rows log-uniform, so that small ones are frequent."""
        rng = np.random.default_rng([derive_seed(seed, "prior shape"), step])
        features = log_whole(rng, *self.features)
        most = min(self.rows[1], max(self.rows[0], self.cells // features))
        rows = log_whole(rng, self.rows[0], most)
        return Shape(rows, features, self.draw_context(rng, rows))

    def draw_context(self, rng: np.random.Generator, rows: int) -> int:
        """Number of labelled rows, of so many: at least 2, and one row is left to ask for."""
        low, high = self.context
        return min(max(round((low + (high - low) * rng.random()) * rows), 2), rows - 1)


def log_whole(rng: np.random.Generator, low: int, high: int) -> int:
    """A whole number from low to high, both included, uniform in its logarithm."""
    return min(int(low * ((high + 1) / low) ** rng.random()), high)


@dataclass(frozen=True)
class Curriculum:
    """Stages of rising `start`; between two of them sizes and severity move gradually.

    The defaults begin with a few clean columns and two classes: on the full prior a network stays at chance for long.
    Width and the number of classes rise late, and while they do small tasks go on.
    """

    stages: tuple[Stage, ...] = (
        Stage(start=0.0, rows=(32, 64), features=(1, 4), classes=(2, 2), context=(0.5, 0.8), severity=0.0),
        Stage(start=0.1, rows=(32, 96), features=(1, 6), classes=(2, 3), context=(0.4, 0.8), severity=0.2),
        Stage(start=0.3, rows=(32, 160), features=(1, 12), classes=(2, 5), context=(0.3, 0.8), severity=0.6),
        Stage(start=0.6, rows=(32, 256), features=(1, 30)),
        Stage(start=0.9),
    )

    def __post_init__(self) -> None:
        starts = [stage.start for stage in self.stages]
        if not starts or starts[0] != 0 or any(a >= b for a, b in zip(starts, starts[1:], strict=False)):
            raise bad("starts of the stages", "rising ones, the first 0", starts)

    def at(self, progress: float) -> Stage:
        """The stage at a share of the training, 0 to 1. After the last start it stays."""
        if not 0 <= progress <= 1:
            raise bad("progress", "from 0 to 1", progress)
        place = bisect.bisect_right([stage.start for stage in self.stages], progress) - 1
        a, b = self.stages[place], self.stages[min(place + 1, len(self.stages) - 1)]
        if a is b or progress == a.start:
            return a
        t = (progress - a.start) / (b.start - a.start)

        def between(x: float, y: float) -> float:
            return x + t * (y - x)

        def grown(x: tuple[int, int], y: tuple[int, int]) -> tuple[int, int]:  # in the logarithm: doubling is a step
            low, high = (round(p ** (1 - t) * q**t) for p, q in zip(x, y, strict=True))
            return low, high

        return Stage(
            start=progress,
            rows=grown(a.rows, b.rows),
            features=grown(a.features, b.features),
            classes=grown(a.classes, b.classes),
            context=(between(a.context[0], b.context[0]), between(a.context[1], b.context[1])),
            cells=round(between(a.cells, b.cells)),
            fill=between(a.fill, b.fill),
            severity=between(a.severity, b.severity),
        )

"""Tasks by number: a batch is the same on any machine, and however the numbers are split into batches.

Each task has its own generator, made of seed and number; arrays are equal to the bit on one machine, and elsewhere up
to the rounding of elementary functions. Dims: B tasks, R rows, F columns.
"""

from dataclasses import dataclass

import numpy as np

from smidgen.data.prior_tasks import columns, targets
from smidgen.data.prior_tasks.draws import log_uniform, standardised, whole
from smidgen.data.prior_tasks.mechanisms import mechanism
from smidgen.data.prior_tasks.settings import (
    FEWEST_ROWS,
    FLAWS,
    MECHANISMS,
    ROLES,
    VERSION,
    PriorConfig,
    Stage,
)
from smidgen.kit.errors import bad
from smidgen.kit.seeds import derive_seed

LEAST_NOISE = 0.03
OWN, IRRELEVANT, REDUNDANT, PADDING = range(len(ROLES))


@dataclass(frozen=True)
class TaskBatch:
    """Tasks of one shape. Rows are in random order; the first `n_context` of a task are labelled ones.

    Attributes:
        x: float32 `[B, R, F]`; NaN: not known; 0 in columns that are padding.
        y: float32 `[B, R]`; classes 0 to n_classes - 1, each in the context at least once, or numbers of mean about 0
            and standard deviation about 1.
        n_context, n_features: int64 `[B]`. n_classes: int64 `[B]`, 0 where the target is a number.
        categorical: bool `[B, F]`, columns of codes without order.
        role: int8 `[B, F]`, index into `ROLES`. A column that is its mechanism's own may still say nothing.
        mechanism: int64 `[B]`, index into `MECHANISMS`.
    """

    x: np.ndarray
    y: np.ndarray
    n_context: np.ndarray
    n_features: np.ndarray
    n_classes: np.ndarray
    categorical: np.ndarray
    role: np.ndarray
    mechanism: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    def one(self, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Context rows and their targets, query rows and theirs, of one task without its padding."""
        x, y, n = self.x[i, :, : self.n_features[i]], self.y[i], self.n_context[i]
        return x[:n], y[:n], x[n:], y[n:]


class PriorTasks:
    """An endless sequence of tasks, each known by its number.

    Args:
        seed: another one gives other tasks throughout; keep one for validation.
    """

    def __init__(self, config: PriorConfig | None = None, seed: int = 0) -> None:
        self.config = config or PriorConfig()
        self.seed = seed
        self._key = derive_seed(seed, "prior tasks", VERSION)
        self._chances = np.array([getattr(self.config, name) for name in FLAWS])
        self._upto = np.cumsum(self.config.weights) / sum(self.config.weights)

    def batch(
        self,
        number: int,
        count: int,
        *,
        rows: int,
        features: int,
        stage: Stage | None = None,
        n_context: int | None = None,
    ) -> TaskBatch:
        """Tasks `number` to `number + count - 1`.

        Args:
            rows: of each task, context and queries together. features: columns, with padding.
            stage: classes, share of context, padding and severity; its sizes are not read, but for the least number
                of features. By default that of the end.
            n_context: of all tasks; by default each draws its own from the stage.
        Raises:
            BadInput: a negative number, no task, fewer than 4 rows, no column, no query row or fewer than 2 of context.
        """
        stage = stage or Stage()
        least = (("number", number, 0), ("count", count, 1), ("rows", rows, FEWEST_ROWS), ("features", features, 1))
        for name, value, lowest in least:
            if value < lowest:
                raise bad(name, f"at least {lowest}", value)
        if n_context is not None and not 2 <= n_context < rows:
            raise bad("n_context", f"from 2 to {rows - 1}, for {rows} rows", n_context)
        out = TaskBatch(
            x=np.zeros((count, rows, features), np.float32),
            y=np.zeros((count, rows), np.float32),
            n_context=np.zeros(count, np.int64),
            n_features=np.zeros(count, np.int64),
            n_classes=np.zeros(count, np.int64),
            categorical=np.zeros((count, features), bool),
            role=np.full((count, features), PADDING, np.int8),
            mechanism=np.zeros(count, np.int64),
        )
        for i in range(count):
            self._fill(out, i, np.random.default_rng([self._key, number + i]), stage, n_context)
        return out

    def _fill(self, out: TaskBatch, i: int, rng: np.random.Generator, stage: Stage, n_context: int | None) -> None:
        """Draws one task into its place."""
        config, severity = self.config, stage.severity
        rows, features = out.x.shape[1:]
        hit = rng.random(len(FLAWS)) < severity * self._chances
        flaws = {name for name, of in zip(FLAWS, hit, strict=True) if of}

        n_context = n_context or stage.draw_context(rng, rows)
        width = whole(rng, min(max(stage.features[0], int(np.ceil(stage.fill * features))), features), features)
        classes = 0 if rng.random() < config.regression else _class_count(rng, stage.classes, n_context)
        place = min(int(np.searchsorted(self._upto, rng.random(), side="right")), len(MECHANISMS) - 1)
        noise = log_uniform(rng, LEAST_NOISE, max(config.noise * severity, LEAST_NOISE))

        dull = whole(rng, 1, width // 2) if "irrelevant" in flaws and width > 1 else 0
        copies = whole(rng, 1, max(width // 4, 1)) if "redundant" in flaws and width - dull > 1 else 0
        levels, codes = columns.draw_levels(
            rng, width - dull - copies, rows, codes="categorical" in flaws, few="discretised" in flaws
        )
        way, outputs = targets.outputs_for(rng, classes)
        x, z = mechanism(rng, MECHANISMS[place], columns.Plan(rows, outputs, classes, levels, codes, noise))

        y, found = _target(rng, x, z, classes, way, noise, flaws, config)
        x, codes, role = _table(rng, x, codes, dull, copies, flaws)
        order = _context_first(rng, y if classes else np.zeros(rows), n_context)
        x, y = x[order], y[order]
        if "missing" in flaws and config.missing_most > 0:
            unknown = columns.missing_cells(rng, x, config.missing_most)
            unknown[:, unknown[:n_context].all(0)] = False
            x[unknown] = np.nan

        out.x[i, :, :width], out.y[i] = x, y
        out.n_context[i], out.n_features[i], out.n_classes[i], out.mechanism[i] = n_context, width, found, place
        out.categorical[i, :width], out.role[i, :width] = codes, role


def _class_count(rng: np.random.Generator, bounds: tuple[int, int], n_context: int) -> int:
    """Of a task: the least number in two of five, else uniform; at most half the context, but for two classes."""
    low, high = bounds
    drawn = low if rng.random() < 0.4 else whole(rng, low, high)
    return min(drawn, max(n_context // 2, 2))


def _target(
    rng: np.random.Generator,
    x: np.ndarray,
    z: np.ndarray,
    classes: int,
    way: str,
    noise: float,
    flaws: set[str],
    config: PriorConfig,
) -> tuple[np.ndarray, int]:
    """Targets `[R]` and how many classes occur (0: numbers); never constant, unless one class is asked for."""
    if classes == 1:
        return np.zeros(len(x)), 1
    if classes == 0:
        dirt = {name: flaw in flaws for name, flaw in targets.DIRT.items()}
        y = targets.numbers(rng, z, noise, **dirt)
        return (y if targets.varies(y) else standardised(_spare(rng, x)), 0)
    shares = targets.class_shares(rng, classes, "imbalance" in flaws)
    y = targets.labels(rng, z, shares, way, noise)
    if "label_noise" in flaws and config.label_noise_most > 0:
        y = targets.flipped(rng, y, config.label_noise_most * rng.random())
    if y.min() == y.max():
        y = targets.labels(rng, _spare(rng, x)[:, None], shares, "cuts", 0.0)
    return targets.numbered(rng, y)


def _spare(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """What decides the target `[R]` where the draw came out constant: columns, and noise, so that all rows differ."""
    return standardised(x) @ rng.standard_normal(x.shape[1]) + 0.1 * rng.standard_normal(len(x))


def _table(
    rng: np.random.Generator, x: np.ndarray, codes: np.ndarray, dull: int, copies: int, flaws: set[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns `[R, F]` in random order, which are codes, and the role of each."""
    role = np.repeat(np.array([OWN, IRRELEVANT, REDUNDANT], np.int8), (x.shape[1], dull, copies))
    parts, flags = [x], [codes]
    if dull:
        new, like = columns.irrelevant(rng, x, dull)
        parts.append(new)
        flags.append((like >= 0) & codes[like])
    if copies:
        parts.append(columns.redundant(rng, x, copies))
        flags.append(np.zeros(copies, bool))
    order = rng.permutation(len(role))
    x, codes, role = np.concatenate(parts, 1)[:, order], np.concatenate(flags)[order], role[order]
    numeric = np.flatnonzero(~codes)
    if len(numeric) and "warped" in flaws:
        x[:, numeric] = columns.warped(rng, x[:, numeric])
    if len(numeric) and "scaled" in flaws:
        x[:, numeric] = columns.scaled(rng, x[:, numeric])
    return x, codes, role


def _context_first(rng: np.random.Generator, y_R: np.ndarray, n_context: int) -> np.ndarray:
    """A random order of rows in which each class occurs among the first `n_context`.

    It is a plain random order whenever that has all classes in the context already.
    """
    order = rng.permutation(len(y_R))
    _, first = np.unique(y_R[order], return_index=True)
    late = first[first >= n_context]
    if len(late):
        needed = np.zeros(len(order), bool)
        needed[first] = True
        moved = np.concatenate([order[needed], order[~needed]])
        order = np.concatenate([rng.permutation(moved[:n_context]), rng.permutation(moved[n_context:])])
    return order

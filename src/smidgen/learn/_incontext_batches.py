"""Batches of synthetic tasks for the in-context learner, each known by its number, and what a network says of them.

Every batch has one shape and one kind of target; all that is drawn for it (sizes, tasks, which vector and which sign a
column gets, which code a class gets) comes from the seed and its number. Dims as in `nets.cells`.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from smidgen.data.prior_tasks import Curriculum, PriorConfig, PriorTasks, Shape, Stage, TaskBatch
from smidgen.kit.seeds import derive_seed
from smidgen.nets.cell_inputs import SIGNS, CellInputs, column_scales
from smidgen.nets.cells import Cells, Kind

MOST_TASKS = 64
STAGES = (  # small tasks go on to the end; classes and columns rise late
    Stage(start=0.0, rows=(32, 64), features=(1, 4), classes=(2, 2), context=(0.5, 0.8), severity=0.0, fill=1.0),
    Stage(start=0.1, rows=(32, 96), features=(1, 8), classes=(2, 4), context=(0.4, 0.8), severity=0.2, fill=1.0),
    Stage(start=0.35, rows=(32, 160), features=(1, 16), classes=(2, 7), context=(0.4, 0.8), severity=0.6, fill=1.0),
    Stage(start=0.7, rows=(32, 320), features=(2, 50), context=(0.3, 0.85), cells=16_000, fill=1.0),
    Stage(start=1.0, rows=(24, 512), features=(2, 100), context=(0.3, 0.85), cells=24_000, fill=1.0),
)


@dataclass(frozen=True)
class CellBatch:
    """Tasks as the network reads them.

    Attributes:
        inputs: of all rows. known: `[B, N]`, targets of labelled rows; asked: `[B, R - N]`, of the others; class codes,
            or numbers in units of the labelled ones. used: bool `[B, C]`, codes that are classes; None for numbers.
        ids: `[B, S]`. cells: tokens of all rows.
    """

    inputs: CellInputs
    known: Tensor
    asked: Tensor
    used: Tensor | None
    ids: Tensor
    cells: int

    @property
    def kind(self) -> Kind:
        return "numbers" if self.used is None else "classes"

    def to(self, device: str) -> "CellBatch":
        """The same on a device."""
        used = None if self.used is None else self.used.to(device)
        known, asked, ids = (t.to(device) for t in (self.known, self.asked, self.ids))
        return CellBatch(self.inputs.to(device), known, asked, used, ids, self.cells)


@dataclass(frozen=True)
class Batches:
    """The endless sequence of batches.

    Attributes:
        tokens: about so many a batch. grown: batches after which the curriculum is at its end.
        numbers_every: each so-many-th batch has numeric targets.
    """

    seed: int = 0
    tokens: int = 8000
    grown: int = 6000
    numbers_every: int = 4
    group: int = 3
    ids: int = 64
    classes: int = 10

    def at(self, number: int) -> CellBatch:
        """The batch of this number."""
        stage = Curriculum(STAGES).at(min(number / self.grown, 1.0))
        shape = rounded(stage.shape(self.seed, number))
        numbers = number % self.numbers_every == self.numbers_every - 1
        tasks = PriorTasks(PriorConfig(regression=float(numbers)), self.seed)
        count = self.tokens // (shape.rows * (-(-shape.features // self.group) + 1))
        made = tasks.batch(
            number * MOST_TASKS,
            min(max(count, 1), MOST_TASKS),
            rows=shape.rows,
            features=shape.features,
            stage=stage,
            n_context=shape.n_context,
        )
        rng = np.random.default_rng([derive_seed(self.seed, "in-context batch"), number])
        return self.cell_batch(made, rng)

    def cell_batch(self, made: TaskBatch, rng: np.random.Generator) -> CellBatch:
        """Tasks of one shape and kind, without padding, with signs, vectors and codes drawn."""
        N, (B, R, width) = int(made.n_context[0]), made.x.shape
        x, y = torch.from_numpy(made.x), torch.from_numpy(made.y)
        scales = column_scales(x[:, :N], torch.from_numpy(made.categorical), draw_turn(rng, B, width))
        ids = draw_ids(rng, B, -(-width // self.group), self.ids)
        cells = B * R * (ids.shape[1] + 1)
        if made.n_classes[0] == 0:
            y = in_units(y, N)
            return CellBatch(scales.inputs(x), y[:, :N], y[:, N:], None, ids, cells)
        codes = torch.from_numpy(np.argsort(rng.random((B, self.classes)), axis=1))
        y = codes.gather(1, y.long())
        used = torch.zeros(B, self.classes, dtype=torch.bool)
        used.scatter_(1, y[:, :N], True)
        return CellBatch(scales.inputs(x), y[:, :N], y[:, N:], used, ids, cells)


def rounded(shape: Shape) -> Shape:
    """Rows in sixteens, labelled ones in eights: products of few different sizes run faster, and their code, which
    the library keeps for each, takes less memory."""
    rows = max(16 * round(shape.rows / 16), 16)
    return Shape(rows, shape.features, min(max(8 * round(shape.n_context / 8), 8), rows - 8))


def draw_turn(rng: np.random.Generator, tables: int, columns: int) -> Tensor:
    """How codes become signs, `[B, 2, F]`."""
    odd = 2 * rng.integers(0, SIGNS // 2, (tables, columns)) + 1
    return torch.from_numpy(np.stack([odd, rng.integers(0, SIGNS, (tables, columns))], 1))


def draw_ids(rng: np.random.Generator, tables: int, tokens: int, ids: int) -> Tensor:
    """A vector for each token of columns, `[B, S]`; none twice in a table."""
    return torch.from_numpy(np.argsort(rng.random((tables, ids)), axis=1)[:, :tokens].copy())


def in_units(y_BR: Tensor, labelled: int) -> Tensor:
    """Numeric targets with mean 0 and standard deviation 1 of the labelled rows."""
    known = y_BR[:, :labelled]
    spread = known.std(1, correction=0, keepdim=True)
    return (y_BR - known.mean(1, keepdim=True)) / torch.where(spread > 1e-6, spread, 1.0)


def scores_of(model: Cells, batch: CellBatch, compute: torch.dtype = torch.float32) -> Tensor:
    """Log probabilities `[B, Q, C]` of classes or bins; of codes that are no classes, minus infinity."""
    scores = model(batch.inputs, batch.known, batch.kind, batch.ids, compute)
    if batch.used is not None:
        scores = scores.masked_fill(~batch.used[:, None], -torch.inf)
    return scores.log_softmax(-1)


def surprise(model: Cells, batch: CellBatch, compute: torch.dtype = torch.float32) -> Tensor:
    """Mean surprise of the queries of each task, nats, `[B]`: of the class, or of the bin of a number."""
    target = batch.asked if batch.used is not None else torch.bucketize(batch.asked.contiguous(), model.edges)
    logs = scores_of(model, batch, compute)
    return F.nll_loss(logs.flatten(0, 1), target.flatten().long(), reduction="none").view(target.shape).mean(1)

"""Answers of the network for one table: each member sees it in another form, queries come in chunks.

A member draws which columns it takes (all, where they are few enough), their order, the vectors that tell them apart,
the signs of codes, and which code each class gets. More classes than the network knows are split into groups, and each
group again: the chance of a class is that of its group times that of the class within it, which a second pass over the
group's rows alone says. So chances stay chances, and members that split in other ways are averaged (nested splits,
Frank and Kramer, 2004). Dims: N labelled rows, M queries, D columns, C classes or bins.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from smidgen.kit.seeds import derive_seed
from smidgen.learn._incontext_batches import draw_ids, draw_turn
from smidgen.learn._incontext_wide import MOST_COLUMNS, MOST_ROWS, chosen_columns
from smidgen.nets.cell_inputs import CellInputs, ColumnScales, column_scales
from smidgen.nets.cells import Cells, Kind, Memory
from smidgen.nets.guesses import Guess
from smidgen.nets.products import full_speed

CELLS_AT_ONCE = 16_384  # tokens of a chunk of queries
BLOCK = 32


@dataclass(frozen=True)
class Shown:
    """Labelled rows: x `[N, D]`, NaN: unknown; categorical bool `[D]`; y `[N]`, class codes or standardised numbers."""

    x: np.ndarray
    categorical: np.ndarray
    y: np.ndarray

    def rows(self, at: np.ndarray) -> "Shown":
        return Shown(self.x[at], self.categorical, self.y[at])


def class_chances(net: Cells, shown: Shown, x_MD: np.ndarray, classes: int, members: int, seed: int) -> np.ndarray:
    """Chances `[M, classes]`, float64, the mean of the members'."""
    most = net.config.classes
    if classes > most or not _whole(shown):
        each = (_member(net, shown, x_MD, np.arange(classes), _rng(seed, m)) for m in range(members))
        return np.mean(list(each), 0)
    passes: list[_Pass] = []
    for rng in (_rng(seed, m) for m in range(members)):
        code = rng.permutation(most)[:classes]
        part = _fewer(shown, rng, shown.y)
        passes.append(_Pass.of(net, Shown(part.x, part.categorical, code[part.y]), "classes", rng, code, passes[:1]))
    return np.mean([_of_classes(said, p.code) for said, p in zip(_said(passes, x_MD), passes, strict=True)], 0)


def bin_chances(net: Cells, shown: Shown, x_MD: np.ndarray, members: int, seed: int) -> np.ndarray:
    """Chances `[M, bins]` of a number, float64, the mean of the members'."""
    passes: list[_Pass] = []
    for rng in (_rng(seed, m) for m in range(members)):
        first = passes[:1] if _whole(shown) else []
        passes.append(_Pass.of(net, _fewer(shown, rng, None), "numbers", rng, np.zeros(1, int), first))
    return np.mean(_said(passes, x_MD), 0)


def _rng(seed: int, member: int) -> np.random.Generator:
    return np.random.default_rng(derive_seed(seed, "in-context member", member))


def _whole(shown: Shown) -> bool:
    """Whether every member sees all rows and columns: then their regressions are the same."""
    return len(shown.y) <= MOST_ROWS and shown.x.shape[1] <= MOST_COLUMNS


def _of_classes(said_MC: np.ndarray, code: np.ndarray) -> np.ndarray:
    chance = said_MC[:, code]
    return chance / chance.sum(1, keepdims=True)


def _member(net: Cells, shown: Shown, x_MD: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Chances `[M, len(classes)]` of these classes; all labelled rows are of them."""
    most, count = net.config.classes, len(classes)
    if count == 1:
        return np.ones((len(x_MD), 1))
    place = np.searchsorted(classes, shown.y)
    if count <= most:
        code = rng.permutation(most)[:count]
        part = _fewer(Shown(shown.x, shown.categorical, place), rng, place)
        said = _alone(net, Shown(part.x, part.categorical, code[part.y]), x_MD, rng, code)
        return _of_classes(said, code)
    groups = min(most, -(-count // most))
    group = rng.permutation(np.arange(count) % groups)
    outer = _member(net, Shown(shown.x, shown.categorical, group[place]), x_MD, np.arange(groups), rng)
    out = np.empty((len(x_MD), count))
    for g in range(groups):
        mine = np.flatnonzero(group == g)
        inner = _member(net, shown.rows(group[place] == g), x_MD, classes[mine], rng)
        out[:, mine] = outer[:, [g]] * inner
    return out


def _alone(net: Cells, shown: Shown, x_MD: np.ndarray, rng: np.random.Generator, code: np.ndarray) -> np.ndarray:
    """Chances `[M, C]` of codes, of one member by itself."""
    return _said([_Pass.of(net, shown, "classes", rng, code)], x_MD)[0]


def _fewer(shown: Shown, rng: np.random.Generator, classes_N: np.ndarray | None) -> Shown:
    """At most `MOST_ROWS` rows: of each class its share, and one at least."""
    N = len(shown.y)
    if N <= MOST_ROWS:
        return shown
    order = rng.permutation(N)
    if classes_N is not None:  # the first of each class come first
        _, first = np.unique(classes_N[order], return_index=True)
        late = np.ones(N, bool)
        late[first] = False
        order = np.concatenate([order[first], order[late]])
    return shown.rows(np.sort(order[:MOST_ROWS]))


@dataclass(frozen=True)
class _Pass:
    """One member that has read the labelled rows, in a form of its own.

    Attributes:
        used: places of its columns. code: of each class. order: where its classes lie in those of the first member,
            whose regressions it shares; None: it has its own.
    """

    net: Cells
    kind: Kind
    used: np.ndarray
    scales: ColumnScales
    ids: torch.Tensor
    memory: Memory
    shown: torch.Tensor
    code: np.ndarray
    order: torch.Tensor | None

    @staticmethod
    def of(
        net: Cells, shown: Shown, kind: Kind, rng: np.random.Generator, code: np.ndarray, first: Sequence["_Pass"] = ()
    ) -> "_Pass":
        """first: the member before it that sees the same rows and columns, if there is one."""
        used = chosen_columns(shown.x, shown.categorical, shown.y, rng)
        turn = draw_turn(rng, 1, len(used))
        ids = draw_ids(rng, 1, -(-len(used) // net.config.group), net.config.ids)
        x = _tensor(shown.x[:, used])
        scales = column_scales(x, torch.from_numpy(shown.categorical[used])[None], turn)
        y = torch.from_numpy(shown.y)[None]
        with torch.inference_mode(), full_speed():
            inputs, known, order = scales.inputs(x), None, None
            for other in first:
                order = _order(code, other.code, net.config.classes if kind == "classes" else 1)
                known = other.memory.guesses.again(inputs, order)
            memory = net.read(inputs, y if kind == "classes" else y.float(), kind, ids, known)
        return _Pass(net, kind, used, scales, ids, memory, y[0], code, order)

    def scores(self, inputs: CellInputs, asked: Guess) -> torch.Tensor:
        """`[R, C]`; of classes that are not shown minus infinity."""
        scores = self.net.answer(inputs, self.memory, self.ids, asked)[0].double()
        if self.kind == "classes":
            absent = torch.ones(scores.shape[1], dtype=torch.bool)
            absent[self.shown] = False
            scores = scores.masked_fill(absent, -torch.inf)
        return scores


def _order(code: np.ndarray, of_first: np.ndarray, most: int) -> torch.Tensor:
    """For each code of a member that of the first one for the same class."""
    order = np.empty(most, int)
    rest = [np.setdiff1d(np.arange(most), c) for c in (code, of_first)]
    order[code], order[rest[0]] = of_first, rest[1]
    return torch.from_numpy(order)


def _said(passes: Sequence[_Pass], x_MD: np.ndarray) -> list[np.ndarray]:
    """Chances `[M, C]` that each member gives. What regressions say of a query is asked once where they are shared."""
    chunk = max(CELLS_AT_ONCE // (max(p.ids.shape[1] for p in passes) + 1), 1)
    out: list[list[np.ndarray]] = [[] for _ in passes]
    with torch.inference_mode(), full_speed():
        for at in range(0, len(x_MD), chunk):
            part, asked = x_MD[at : at + chunk], None
            # Full blocks of rows: an answer is the same to the bit, however many others are asked for with it.
            whole = np.pad(part, ((0, -len(part) % BLOCK), (0, 0)), mode="edge")
            for p, kept in zip(passes, out, strict=True):
                inputs = p.scales.inputs(_tensor(whole[:, p.used]))
                if p.order is None or asked is None:
                    asked = own = p.memory.guesses.of(inputs)
                else:
                    own = asked.reordered(p.order)
                kept.append(p.scores(inputs, own)[: len(part)].softmax(-1).numpy())
    return [np.concatenate(kept) for kept in out]


def _tensor(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x, np.float64))[None]

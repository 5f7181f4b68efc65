"""Answers of the network for one table: each member sees it in another form, queries come in chunks.

A member draws which columns it takes (all, where they are few enough), their order, the vectors that tell them apart,
the signs of codes, and which code each class gets. More classes than the network knows are split into groups, and each
group again: the chance of a class is that of its group times that of the class within it, which a second pass over the
group's rows alone says. So chances stay chances, and members that split in other ways are averaged (nested splits,
Frank and Kramer, 2004). Dims: N labelled rows, M queries, D columns, C classes or bins.
"""

from dataclasses import dataclass

import numpy as np
import torch

from smidgen.kit.seeds import derive_seed
from smidgen.learn._incontext_batches import draw_ids, draw_turn
from smidgen.learn._incontext_wide import MOST_COLUMNS, MOST_ROWS, chosen_columns
from smidgen.nets.cell_inputs import CellInputs, column_scales
from smidgen.nets.cells import Cells, Kind
from smidgen.nets.guesses import Guesses
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
    total, same = np.zeros((len(x_MD), classes)), _Same.of(shown, classes <= net.config.classes)
    for member in range(members):
        rng = np.random.default_rng(derive_seed(seed, "in-context member", member))
        total += _member(net, shown, x_MD, np.arange(classes), rng, same)
    return total / members


def bin_chances(net: Cells, shown: Shown, x_MD: np.ndarray, members: int, seed: int) -> np.ndarray:
    """Chances `[M, bins]` of a number, float64, the mean of the members'."""
    total, same = np.zeros((len(x_MD), net.config.bins)), _Same.of(shown)
    for member in range(members):
        rng = np.random.default_rng(derive_seed(seed, "in-context member", member))
        total += _pass(net, _fewer(shown, rng, None), x_MD, "numbers", rng, np.zeros(1, int), same)
    return total / members


@dataclass
class _Same:
    """Regressions that all members share, who see the same rows and columns: in the codes of the first of them."""

    guesses: Guesses | None = None
    code: np.ndarray | None = None

    @staticmethod
    def of(shown: Shown, one_group: bool = True) -> "_Same | None":
        return _Same() if one_group and len(shown.y) <= MOST_ROWS and shown.x.shape[1] <= MOST_COLUMNS else None

    def known(self, inputs: CellInputs, code: np.ndarray, most: int) -> Guesses | None:
        """For a member with these codes; None: it is the first."""
        if self.guesses is None or self.code is None:
            return None
        order = np.empty(most, int)
        rest = [np.setdiff1d(np.arange(most), c) for c in (code, self.code)]
        order[code], order[rest[0]] = self.code, rest[1]
        return self.guesses.again(inputs, torch.from_numpy(order))


def _member(
    net: Cells,
    shown: Shown,
    x_MD: np.ndarray,
    classes: np.ndarray,
    rng: np.random.Generator,
    same: _Same | None = None,
) -> np.ndarray:
    """Chances `[M, len(classes)]` of these classes; all labelled rows are of them."""
    most, count = net.config.classes, len(classes)
    if count == 1:
        return np.ones((len(x_MD), 1))
    place = np.searchsorted(classes, shown.y)
    if count <= most:
        code = rng.permutation(most)[:count]
        part = _fewer(Shown(shown.x, shown.categorical, place), rng, place)
        chance = _pass(net, Shown(part.x, part.categorical, code[part.y]), x_MD, "classes", rng, code, same)[:, code]
        return chance / chance.sum(1, keepdims=True)
    groups = min(most, -(-count // most))
    group = rng.permutation(np.arange(count) % groups)
    outer = _member(net, Shown(shown.x, shown.categorical, group[place]), x_MD, np.arange(groups), rng)
    out = np.empty((len(x_MD), count))
    for g in range(groups):
        mine = np.flatnonzero(group == g)
        inner = _member(net, shown.rows(group[place] == g), x_MD, classes[mine], rng)
        out[:, mine] = outer[:, [g]] * inner
    return out


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


def _pass(
    net: Cells,
    shown: Shown,
    x_MD: np.ndarray,
    kind: Kind,
    rng: np.random.Generator,
    code: np.ndarray,
    same: _Same | None = None,
) -> np.ndarray:
    """Chances `[M, C]` from one form of the table; classes that are not shown get 0. code: of each class."""
    used = chosen_columns(shown.x, shown.categorical, shown.y, rng)
    turn = draw_turn(rng, 1, len(used))
    ids = draw_ids(rng, 1, -(-len(used) // net.config.group), net.config.ids)
    scales = column_scales(_tensor(shown.x[:, used]), torch.from_numpy(shown.categorical[used])[None], turn)
    y = torch.from_numpy(shown.y)[None]
    chunk = max(CELLS_AT_ONCE // (ids.shape[1] + 1), 1)
    out = []
    with torch.inference_mode(), full_speed():
        inputs = scales.inputs(_tensor(shown.x[:, used]))
        known = same.known(inputs, code, net.config.classes if kind == "classes" else 1) if same else None
        memory = net.read(inputs, y if kind == "classes" else y.float(), kind, ids, known)
        if same and known is None:
            same.guesses, same.code = memory.guesses, code
        for first in range(0, len(x_MD), chunk):
            part = x_MD[first : first + chunk][:, used]
            # Full blocks of rows: an answer is the same to the bit, however many others are asked for with it.
            whole = np.pad(part, ((0, -len(part) % BLOCK), (0, 0)), mode="edge")
            scores = net.answer(scales.inputs(_tensor(whole)), memory, ids)[0, : len(part)].double()
            if kind == "classes":
                absent = torch.ones(scores.shape[1], dtype=torch.bool)
                absent[y[0]] = False
                scores = scores.masked_fill(absent, -torch.inf)
            out.append(scores.softmax(-1).numpy())
    return np.concatenate(out)


def _tensor(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x, np.float64))[None]

"""The runner of grids (methods x bits x tasks x seeds, say): every combination measured once, also over stops.

Cells lie in a file of JSON lines, each as soon as it is measured; what is measured in one go (all decoding settings of
one model, say) is written together. A cell that cannot run is a result too: its error is kept, its values are NaN.
"""

import itertools
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smidgen.kit.errors import bad
from smidgen.kit.linefile import LineFile
from smidgen.studies.augment_peft_cells import paired

Cell = dict[str, Any]
Values = Mapping[str, Any]  # numbers, or lists of numbers where a cell has parts (one of each prompt, say)


@dataclass(frozen=True)
class Grid:
    """
    Attributes:
        axes: levels by name, the last one varies fastest; levels are text or numbers.
        values: names of what each cell gives.
        together: axes whose cells are measured in one call.
        skip: why a cell is left out, or "" where it is not.
    """

    axes: Mapping[str, Sequence[Any]]
    values: tuple[str, ...]
    together: tuple[str, ...] = ()
    skip: Callable[[Cell], str] | None = None

    def __post_init__(self) -> None:
        for name, levels in self.axes.items():
            if not len(levels) or len(set(levels)) < len(levels):
                raise bad(f"axis '{name}'", "at least one level, each once", list(levels))
        if unknown := set(self.together) - set(self.axes):
            raise bad("together", f"of {', '.join(self.axes)}", ", ".join(sorted(unknown)))
        if clash := {*self.values} & {*self.axes, "error"}:
            raise bad("values", "other names than those of axes, and not 'error'", ", ".join(sorted(clash)))

    def cells(self) -> list[Cell]:
        return [dict(zip(self.axes, levels, strict=True)) for levels in itertools.product(*self.axes.values())]

    def blocks(self) -> list[list[Cell]]:
        """Cells that are measured together."""
        out: dict[str, list[Cell]] = {}
        for cell in self.cells():
            out.setdefault(_key({k: v for k, v in cell.items() if k not in self.together}), []).append(cell)
        return list(out.values())


@dataclass(frozen=True)
class Found:
    """`table`: a row a cell, with the axes, the values, and "error": why it has none. `finished`: all cells are in."""

    axes: tuple[str, ...]
    table: pd.DataFrame
    finished: bool

    def summary(self, by: Sequence[str], value: str) -> pd.DataFrame:
        """Mean, standard deviation and number of a value by some axes."""
        groups: Any = self.table.groupby(list(by), sort=False)[value]
        return groups.agg(mean="mean", std="std", n="count").reset_index()

    def gains(
        self, axis: str, baseline: Any, value: str, *, seed: str = "seed", level: float = 0.95, overlap: float = 0.0
    ) -> pd.DataFrame:
        """A value less that of the baseline level of an axis in the same cell and seed: mean, Student interval and p
        over the seeds ("gain", "low", "high", "p", "seeds"), a row for each combination of the other axes. `overlap`
        as in `augment_peft_cells.paired`.

        Raises:
            BadInput: no such level.
        """
        levels = list(dict.fromkeys(self.table[axis]))
        if baseline not in levels:
            raise bad(axis, " or ".join(map(str, levels)), baseline)
        place = [name for name in self.axes if name not in (axis, seed)]
        at = [*place, seed]
        base = self.table.loc[self.table[axis] == baseline].set_index(at)[value]
        rows = []
        groups: Any = self.table.loc[self.table[axis] != baseline].groupby([*place, axis], sort=False)
        for key, part in groups:
            own = part.set_index(at)[value]
            difference = (own - base.reindex(own.index)).to_numpy(float)
            rows.append({**dict(zip([*place, axis], key, strict=True)), **paired(difference, overlap, level)})
        return pd.DataFrame(rows)


def run(
    grid: Grid,
    measure: Callable[[list[Cell]], Sequence[Values]],
    store: Path | str | None = None,
    *,
    space: str = "",
    max_seconds: float | None = None,
    progress: Callable[[int, int], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Found:
    """Measures the cells that the store does not hold yet.

    Args:
        measure: values of each of the given cells, which differ in the axes of `together` only (one cell without).
        store: a file of JSON lines, made when absent; None keeps nothing.
        space: a hash of all that cells depend on beside their axes (data, settings); another one refuses the file.
            Axes may grow between runs.
        max_seconds: no block begins after so many.
        progress: called with (cells done, in all).
    Raises:
        BadInput: a store of another study, in use, or damaged.
    """
    file = None
    if store is not None:
        words = {"other": "the cells of another study", "same": "settings and data", "user": "study", "line": "cell"}
        file = LineFile(store, f"grid {space}", **words)
    until = math.inf if max_seconds is None else clock() + max_seconds
    done: dict[str, Values] = {}
    finished, count, blocks = True, 0, grid.blocks()
    with file or nullcontext():
        for number, row in (file.rows if file else {}).items():
            if not isinstance(row.get("cell"), dict) or not isinstance(row.get("values"), dict):
                raise file.damaged(number)  # type: ignore[union-attr]
            done[_key(row["cell"])] = row["values"]
        for block in blocks:
            reasons = {_key(c): grid.skip(c) for c in block} if grid.skip else {}
            done |= {key: {"error": why} for key, why in reasons.items() if why}
            wanted = [c for c in block if _key(c) not in done]
            if wanted and clock() >= until:
                finished = False
                continue
            if wanted:
                began = clock()
                made = _measured(grid, measure, wanted)
                seconds = round((clock() - began) / len(wanted), 4)
                if file:
                    file.add({"cell": c, "values": v, "seconds": seconds} for c, v in zip(wanted, made, strict=True))
                done |= {_key(c): v for c, v in zip(wanted, made, strict=True)}
            count += len(block)
            if progress:
                progress(count, sum(map(len, blocks)))
    rows = [_row(grid, cell, done[_key(cell)]) for cell in grid.cells() if _key(cell) in done]
    columns = pd.Index([*grid.axes, *grid.values, "error"])
    return Found(tuple(grid.axes), pd.DataFrame(rows, columns=columns), finished)


def _measured(grid: Grid, measure: Callable[[list[Cell]], Sequence[Values]], cells: list[Cell]) -> list[dict[str, Any]]:
    try:
        made = [{name: _plain(values[name]) for name in grid.values} for values in measure([dict(c) for c in cells])]
        if len(made) != len(cells):
            raise ValueError(f"{len(made)} results for {len(cells)} cells")
        return made
    except Exception as failure:
        return [{"error": f"{type(failure).__name__}: {failure}"[:300]} for _ in cells]


def _row(grid: Grid, cell: Cell, values: Values) -> dict[str, Any]:
    shown = {name: math.nan if values.get(name) is None else values[name] for name in grid.values}
    return {**cell, **shown, "error": values.get("error", "")}


def _plain(value: Any) -> Any:
    """As JSON has it: None in place of NaN and infinity."""
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(v) for v in value]
    number = float(value)
    return number if math.isfinite(number) else None


def _key(cell: Mapping[str, Any]) -> str:
    return json.dumps(cell, sort_keys=True)

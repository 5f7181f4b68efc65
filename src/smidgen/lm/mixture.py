"""Streams of tokens in shares that a person gives, or that a temperature gives (Cooldown, arXiv 2410.04579).

Which stream a row of a batch comes from is a function of the row's number, so any row is known without the ones before
it, as in `train.order`; `data.mix` draws one after another, with more schedules.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from smidgen.data.mix_schedules import Cooldown, RunLength, domain_probabilities
from smidgen.kit.errors import BadInput, bad
from smidgen.kit.seeds import derive_seed
from smidgen.lm.plan import Plan
from smidgen.train.order import Batch, Order, Tokens

_BLOCK = 1 << 14  # rows drawn at once


@dataclass(frozen=True)
class Phase:
    """Shares of the streams from row number `start` on, in any scale."""

    start: int
    weights: tuple[float, ...]


def cooled(sizes: dict[str, int], schedule: Cooldown, steps: int, rows: int) -> tuple[Phase, ...]:
    """The phases of a temperature: shares by `sizes` (tokens) at `high`, then at `low`.

    Args:
        steps: updates of the whole training; rows: of one update.
    Raises:
        BadInput: the switch lies behind the end.
    """
    run = RunLength(steps, rows)
    switch = schedule.switch_step(run) * rows
    phases = [(0, schedule.high), (switch, schedule.low)] if schedule.high != schedule.low else [(0, schedule.low)]
    made = [Phase(start, tuple(domain_probabilities(sizes, tau).values())) for start, tau in phases]
    return tuple(p for p, after in zip(made, [*made[1:], None], strict=True) if after is None or p.start < after.start)


def shares_of(phases: tuple[Phase, ...], rows: int) -> tuple[float, ...]:
    """Of each stream among the first `rows` rows, summing to 1."""
    ends = [min(rows, p.start) for p in phases[1:]] + [rows]
    total = np.zeros(len(phases[0].weights))
    for phase, end in zip(phases, ends, strict=True):
        total += max(0, end - phase.start) * np.array(phase.weights) / sum(phase.weights)
    return tuple(map(float, total / rows))


@dataclass(frozen=True)
class Mixture:
    """Batches of which each row is drawn from one of the orders (each with `batch` 1), with the chances of its phase.

    Attributes:
        phases: the first from row 0 on.
    Raises:
        BadInput: weights that are not above 0, or not as many as streams.
    """

    orders: tuple[Order, ...]
    phases: tuple[Phase, ...]
    batch: int
    seed: int = 0
    _before: list[np.ndarray] = field(default_factory=list, repr=False, compare=False)
    _drawn: dict[int, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        starts = [p.start for p in self.phases]
        assert starts[0] == 0 and starts == sorted(set(starts))
        for phase in self.phases:
            if len(phase.weights) != len(self.orders) or not all(0 < w < math.inf for w in phase.weights):
                raise bad("--mix", f"{len(self.orders)} weights above 0", str(phase.weights))

    def at(self, number: int) -> Batch:
        """The batch that begins with row `number`, counted over all rows since the start."""
        import torch

        parts = [self._row(n) for n in range(number, number + self.batch)]
        marked = any(p.documents_BT is not None for p in parts)
        documents = [torch.zeros_like(p.ids_BT) if p.documents_BT is None else p.documents_BT for p in parts]
        return Batch(
            ids_BT=torch.cat([p.ids_BT for p in parts]),
            targets_BT=torch.cat([p.targets_BT for p in parts]),
            documents_BT=torch.cat(documents) if marked else None,
            number=number,
            windows=tuple(w for p in parts for w in p.windows),
        )

    def state(self, used: int) -> dict[str, Any]:
        """All that a checkpoint must hold to go on after `used` rows."""
        return {
            "used": used,
            "seed": self.seed,
            "phases": [[p.start, *p.weights] for p in self.phases],
            "parts": [o.state(0) for o in self.orders],
        }

    def resume(self, state: dict[str, Any]) -> int:
        """The number of rows used, from a state. Raises BadInput: it belongs to other streams or shares."""
        mine = self.state(0)
        if any(state.get(k) != mine[k] for k in ("seed", "phases")) or len(state["parts"]) != len(self.orders):
            raise BadInput("The checkpoint was made with another mixture: start anew.")
        for order, part in zip(self.orders, state["parts"], strict=True):
            order.resume(part)
        return int(state["used"])

    def _row(self, number: int) -> Batch:
        block, place = divmod(number, _BLOCK)
        chosen = self._chosen(block)
        stream = int(chosen[place])
        return self.orders[stream].at(int(self._counts(block)[stream] + (chosen[:place] == stream).sum()))

    def _chosen(self, block: int) -> np.ndarray:
        if block in self._drawn:
            return self._drawn[block]
        chances = np.random.default_rng(derive_seed(self.seed, "mixture", block)).random(_BLOCK)
        phase = np.searchsorted([p.start for p in self.phases], block * _BLOCK + np.arange(_BLOCK), side="right") - 1
        chosen = np.empty(_BLOCK, np.int64)
        for number, p in enumerate(self.phases):
            share = np.cumsum(p.weights) / np.sum(p.weights)
            found = np.searchsorted(share, chances[phase == number], side="right")
            chosen[phase == number] = np.minimum(found, len(share) - 1)
        self._drawn.clear()
        self._drawn[block] = chosen
        return chosen

    def _counts(self, block: int) -> np.ndarray:
        """Rows of each stream in all blocks before this one."""
        if not self._before:
            self._before.append(np.zeros(len(self.orders), np.int64))
        while len(self._before) <= block:
            last = self._chosen(len(self._before) - 1)
            self._before.append(self._before[-1] + np.bincount(last, minlength=len(self.orders)))
        return self._before[block]


def batches_of(parts: Mapping[str, Tokens], phases: tuple[Phase, ...], plan: Plan, seed: int) -> Order | Mixture:
    """The source of micro-batches of a plan: one stream, or a mixture in these shares."""
    streams = list(parts.values())
    if len(streams) == 1:
        return Order(streams[0], plan.context, plan.rows, seed)
    return Mixture(tuple(Order(s, plan.context, 1, seed) for s in streams), phases, plan.rows, seed)


def numbered(order: Order | Mixture, rows: slice = slice(None)) -> Callable[[int], tuple[Batch]]:
    """Micro-batches by number, one after another; `rows`: a rank's part of each."""
    return lambda number: (order.at(number * order.batch).part(rows),)

"""Streams of tokens in fixed shares: which one a row of a batch comes from is a function of the row's number.

So any row is known without the ones before it, as in `train.order`; `data.mix` draws one after another, with schedules.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.seeds import derive_seed
from smidgen.train.order import Batch, Order

_BLOCK = 1 << 14  # rows drawn at once


@dataclass(frozen=True)
class Mixture:
    """Batches of which each row is drawn from one of the orders (each with `batch` 1), with these chances.

    Raises:
        BadInput: weights that are not above 0, or not as many as streams.
    """

    orders: tuple[Order, ...]
    weights: tuple[float, ...]
    batch: int
    seed: int = 0
    _before: list[np.ndarray] = field(default_factory=list, repr=False, compare=False)
    _drawn: dict[int, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.weights) != len(self.orders) or not all(0 < w < math.inf for w in self.weights):
            raise bad("--mix", f"{len(self.orders)} weights above 0", str(self.weights))

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
            "weights": list(self.weights),
            "parts": [o.state(0) for o in self.orders],
        }

    def resume(self, state: dict[str, Any]) -> int:
        """The number of rows used, from a state. Raises BadInput: it belongs to other streams or shares."""
        mine = self.state(0)
        if any(state.get(k) != mine[k] for k in ("seed", "weights")) or len(state["parts"]) != len(self.orders):
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
        rng = np.random.default_rng(derive_seed(self.seed, "mixture", block))
        share = np.cumsum(self.weights) / np.sum(self.weights)
        chosen = np.minimum(np.searchsorted(share, rng.random(_BLOCK), side="right"), len(self.weights) - 1)
        self._drawn.clear()
        self._drawn[block] = chosen
        return chosen

    def _counts(self, block: int) -> np.ndarray:
        """Rows of each stream in all blocks before this one."""
        if not self._before:
            self._before.append(np.zeros(len(self.weights), np.int64))
        while len(self._before) <= block:
            last = self._chosen(len(self._before) - 1)
            self._before.append(self._before[-1] + np.bincount(last, minlength=len(self.weights)))
        return self._before[block]

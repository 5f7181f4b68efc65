"""Gradients to their owners, bucket by bucket, while the backward pass still makes others.

A bucket leaves when all of its gradients have arrived and all buckets before it have left: the order is the same on all
ranks. Two are under way at most, each in a constant buffer of its own, which is used again only when its bucket has
landed; gradients are freed as soon as they are on their way.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from smidgen.train.sharding.buffers import ConstantBuffer
from smidgen.train.sharding.layout import Bucket, Range
from smidgen.train.sharding.ranks import Ranks
from smidgen.train.sharding.unit import Unit

AT_ONCE = 2


@dataclass(frozen=True)
class _Flight:
    unit: Unit
    bucket: Bucket
    received: Tensor  # [ranks, part]
    work: Any


class Reducer:
    """Sums the gradients of all ranks into `Unit.grads` of their owners; what was there is added to.

    Args:
        units: in the order in which their gradients are to be expected.
    """

    def __init__(self, units: list[Unit], ranks: Ranks) -> None:
        self.ranks = ranks
        self._order: list[tuple[Unit, Bucket, list[Range]]] = [
            (unit, bucket, unit.layout.inside(bucket)) for unit in units for bucket in unit.layout.buckets
        ]
        self._of: dict[str, list[int]] = {}  # places in the order, by name
        for place, (_, _, inside) in enumerate(self._order):
            for r in inside:
                self._of.setdefault(r.name, []).append(place)
        largest = max((2 * b.length * u.flat.element_size() for u, b, _ in self._order), default=1)
        device = units[0].flat.device if units else "cpu"
        self.buffers = [ConstantBuffer(largest, device) for _ in range(AT_ONCE)]
        self._missing: list[int] = []
        self._next, self._on = 0, False
        self._flights: list[_Flight] = []

    def begin(self) -> None:
        """From now on gradients leave as they arrive."""
        self._missing = [len(inside) for _, _, inside in self._order]
        self._next, self._on = 0, True

    def arrived(self, name: str) -> None:
        """The gradient of a parameter is whole."""
        if self._on:
            for place in self._of[name]:
                self._missing[place] -= 1
            while self._next < len(self._order) and self._missing[self._next] <= 0:
                self._leave()

    def end(self) -> None:
        """Sends what is left, whether it arrived or not, and waits for everything."""
        if not self._on:
            self.begin()
        while self._next < len(self._order):
            self._leave()
        while self._flights:
            self._land()
        self._on = False

    @torch.no_grad()
    def _leave(self) -> None:
        unit, bucket, inside = self._order[self._next]
        if len(self._flights) == AT_ONCE:
            self._land()
        buffer = self.buffers[self._next % AT_ONCE]
        self._next += 1
        sent, received = buffer.view(2, bucket.length, unit.flat.dtype)
        sent.zero_()
        for r in inside:
            parameter = unit.parameters[r.name]
            if parameter.grad is not None:
                sent[r.at : r.at + r.length] = parameter.grad.reshape(-1)[r.start : r.start + r.length]
                if r.start + r.length == parameter.numel():
                    parameter.grad = None
        work = self.ranks.exchange(received, sent)
        self._flights.append(_Flight(unit, bucket, received.view(self.ranks.size, -1), work))

    @torch.no_grad()
    def _land(self) -> None:
        flight = self._flights.pop(0)
        if flight.work is not None:
            flight.work.wait()
        grads, bucket, layout = flight.unit.make_grads(), flight.bucket, flight.unit.layout
        at = (
            bucket.start + self.ranks.rank * bucket.part
            if layout.everywhere
            else layout.own(bucket, self.ranks.rank)[1]
        )
        target = grads[at : at + bucket.part]
        for part in flight.received:  # in the order of ranks
            target.add_(part.to(target.device))
        if layout.everywhere:
            self.ranks.gather(grads[bucket.start : bucket.start + bucket.length], target, "gradients")

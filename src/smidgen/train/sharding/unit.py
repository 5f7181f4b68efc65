"""Parameters in one flat buffer, of which each rank owns an equal part: weights, gradients and their exact copies.

Stages (Rajbhandari et al., 2019, ZeRO, arXiv 1910.02054, section 5): 0 nothing is spread, 1 optimizer states are, 2
gradients too, 3 weights too.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from smidgen.train.sharding.layout import Layout, Range
from smidgen.train.sharding.ranks import Ranks


class Unit:
    """Parameters of one dtype and device. They become views of `flat`; all ranks begin with rank 0's values.

    Attributes:
        flat: weights of all of them, padded; in stage 3 without memory while they are released, and then parameters
            read as NaN: a use outside of the module that gathers them shows.
        shard: stage 3: this rank's weights. master: its weights in another dtype or on the host, which are what is
            updated; None: the weights themselves are.
        grads: this rank's gradients, summed over ranks; None: none yet.

    Args:
        named: unique names and parameters. trained: False: only their weights are spread.
        bucket_bytes: of a message. offload: master weights, gradients and with them the optimizer live on the host.
        uncut: tensors stay whole, each with one owner.
    """

    def __init__(
        self,
        named: list[tuple[str, nn.Parameter]],
        ranks: Ranks,
        stage: int,
        *,
        bucket_bytes: int,
        master_dtype: torch.dtype | None = None,
        offload: bool = False,
        trained: bool = True,
        uncut: bool = False,
    ) -> None:
        first = named[0][1].data
        self.parameters, self.ranks, self.stage, self.trained = dict(named), ranks, stage, trained
        sizes = {name: p.numel() for name, p in named}
        bucket = max(ranks.size, bucket_bytes // first.element_size())
        self.layout = Layout(sizes, ranks.size, bucket, everywhere=stage == 0, uncut=uncut)
        self.flat = first.new_zeros(self.layout.padded)
        self._away = first.new_full((), math.nan if first.is_floating_point() else 0)
        for name, p in named:
            view = self._view(name)
            view.copy_(p.data)
            p.data = view
        ranks.broadcast(self.flat)
        self.shard = self._owned(self.flat.dtype, self.flat.device) if stage == 3 else None
        dtype, device = master_dtype or first.dtype, torch.device("cpu") if offload else first.device
        apart = trained and (offload or dtype != first.dtype)
        self.master = self._owned(dtype, device) if apart else None
        self.grads: Tensor | None = None
        self.gathered = True
        if stage == 3:
            self.release()

    def home(self, r: Range) -> Tensor:
        """The weights of a range of this rank that are updated: shaped as their tensor where that is whole, else a
        vector."""
        if self.master is not None or self.shard is not None:
            owned = self.master if self.master is not None else self.shard
            assert owned is not None
            vector = owned[r.at : r.at + r.length]
        else:
            vector = self.flat[r.place : r.place + r.length]
        return self._shaped(r, vector)

    def grad(self, r: Range) -> Tensor | None:
        """The gradient of a range, shaped as its home."""
        if self.grads is None:
            return None
        return self._shaped(r, self.grads[r.at : r.at + r.length])

    def make_grads(self) -> Tensor:
        """Room for this rank's gradients, zeros at first."""
        if self.grads is None:
            like = self.master if self.master is not None else self.flat
            self.grads = torch.zeros(self.layout.shard, dtype=like.dtype, device=like.device)
        return self.grads

    def gather(self) -> None:
        """All weights here, for now (stage 3)."""
        if self.gathered or self.shard is None:
            return
        self.gathered = True
        self.flat.untyped_storage().resize_(self.flat.nbytes)
        for name, p in self.parameters.items():
            p.data = self._view(name)
        for bucket in self.layout.buckets:
            _, at, length = self.layout.own(bucket, self.ranks.rank)
            self.ranks.gather(self.flat[bucket.start : bucket.start + bucket.length], self.shard[at : at + length])

    def release(self) -> None:
        """Drops all weights but this rank's own (stage 3); what autograd saved finds them again after `gather`, be it a
        parameter or a view of one."""
        if self.gathered and self.shard is not None:
            for p in self.parameters.values():
                p.data = self._away.expand(p.shape)
            self.flat.untyped_storage().resize_(0)
            self.gathered = False

    def publish(self) -> None:
        """After an update: every rank's weights to where they are used."""
        if self.stage == 3:
            if self.master is not None and self.shard is not None:
                self.shard.copy_(self.master)
            return
        for bucket in self.layout.buckets:
            place, at, length = self.layout.own(bucket, self.ranks.rank)
            part = self.flat[place : place + length]
            if self.master is not None:
                part.copy_(self.master[at : at + length])
            if self.stage:
                self.ranks.gather(self.flat[bucket.start : bucket.start + bucket.length], part)

    def refresh(self) -> None:
        """Exact copies anew, from the weights."""
        if self.master is not None and self.shard is not None:
            self.master.copy_(self.shard)
        elif self.master is not None:
            for place, at, length in self._own_parts():
                self.master[at : at + length] = self.flat[place : place + length]

    def _shaped(self, r: Range, vector: Tensor) -> Tensor:
        whole = self.layout.everywhere or self.layout.uncut
        return vector.view(self.parameters[r.name].shape) if whole else vector

    def _owned(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        """A copy of this rank's weights."""
        pinned = device.type == "cpu" and self.flat.is_cuda
        made = torch.empty(self.layout.shard, dtype=dtype, device=device, pin_memory=pinned)
        for place, at, length in self._own_parts():
            made[at : at + length] = self.flat[place : place + length]
        return made

    def _own_parts(self) -> Iterator[tuple[int, int, int]]:
        return (self.layout.own(bucket, self.ranks.rank) for bucket in self.layout.buckets)

    def _view(self, name: str) -> Tensor:
        place = self.layout.places[name]
        return self.flat[place : place + self.layout.sizes[name]].view(self.parameters[name].shape)

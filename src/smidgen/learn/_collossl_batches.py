"""Batches of one user each: windows of different users (or months) are not simultaneous, and never meet in a contrast.

Dims: D devices, B windows, T samples, C channels.
"""

import math
from collections.abc import Hashable
from functools import lru_cache

import torch
from torch import Tensor

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.files import digest
from smidgen.kit.seeds import derive_seed
from smidgen.nets.tpn_encoder import TPNConfig, TPNEncoder
from smidgen.tasks.device_windows import MultiDeviceWindows


class UserBatches:
    """Numbered batches: an epoch sees each window of each user once, in a new order.

    A user's windows are split into parts of about equal size, at most `batch` (one more where a single one would be
    left). A user with a single window has no other moment to compare with and is left out (`skipped`).
    """

    def __init__(self, windows: MultiDeviceWindows, *, batch: int = 512, seed: int = 0) -> None:
        """Raises BadInput: batches of less than 2, or no user with 2 windows."""
        if batch < 2:
            raise bad("batch", "at least 2 windows", batch)
        self.x = {u: torch.from_numpy(windows.stacked(u)) for u in windows.users if windows.count(u) > 1}
        self.skipped: list[Hashable] = [u for u in windows.users if u not in self.x]
        if not self.x:
            raise BadInput("Every user has a single window: there is no other moment to compare with.")
        self.batch, self.seed = batch, seed
        self.sizes = {u: x.shape[1] for u, x in self.x.items()}
        self.parts = {u: min(math.ceil(n / batch), n // 2) for u, n in self.sizes.items()}
        self._epoch = lru_cache(2)(self._make)

    @property
    def per_epoch(self) -> int:
        return sum(self.parts.values())

    def at(self, number: int) -> tuple[Tensor, Hashable]:
        """`[D, B, T, C]`, and whose."""
        epoch, place = divmod(number, self.per_epoch)
        user, rows = self._epoch(epoch)[place]
        return self.x[user][:, rows], user

    def _make(self, epoch: int) -> list[tuple[Hashable, Tensor]]:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "batches", epoch))
        made = []
        for user, n in self.sizes.items():
            made += [(user, rows) for rows in torch.randperm(n, generator=generator).tensor_split(self.parts[user])]
        return [made[i] for i in torch.randperm(len(made), generator=generator).tolist()]


def new_encoder(windows: MultiDeviceWindows, config: TPNConfig, seed: int) -> TPNEncoder:
    """A fresh encoder for these windows. Raises BadInput: they are too short for its convolutions."""
    config.check(windows.length)
    return TPNEncoder(windows.channels, config, derive_seed(seed, "encoder"))


def identity(windows: MultiDeviceWindows, anchor: str, config: object) -> str:
    """Which training this is, by windows, anchor and settings."""
    parts = [windows.X[d][u].tobytes() for d in windows.devices for u in windows.users]
    return digest(repr((windows.devices, windows.users, windows.motion)), anchor, repr(config), *parts)

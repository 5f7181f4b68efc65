"""Pictures for image translation: checked, as tensors, in numbered batches, with some labelled rows held back."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.seeds import derive_seed

LEAST_TO_SPLIT = 4  # rows of a class, from which one is held back


def pictures(x: Any, channels: int, device: Any, repeat: bool) -> Tensor:
    """Float32 `[N, channels, H, W]`.

    Raises:
        BadInput: another shape, numbers beyond -1 to 1, or one channel where `repeat` does not allow to repeat it.
    """
    x = torch.as_tensor(x).to(device=device, dtype=torch.float32)
    if x.ndim != 4:
        raise bad("shape of the pictures", "(N, C, H, W)", str(tuple(x.shape)))
    if x.shape[1] == 1 != channels:
        if not repeat:
            raise bad(
                "channels of the pictures", str(channels), 1,
                "Set repeat_channels=True, or make the networks with in_channels=1.",
            )  # fmt: skip
        x = x.expand(-1, channels, -1, -1)
    if len(x) and not float(x.abs().max()) <= 1:  # NaN too
        raise bad("pictures", "numbers from -1 to 1", f"{float(x.min()):g} to {float(x.max()):g}", "Scale them.")
    return x


def codes(y: Any, rows: int, classes: int, device: Any) -> Tensor:
    """Class codes int64 `[N]`. Raises BadInput: another length, a code beyond the classes, a class without a row."""
    given = torch.as_tensor(y)
    if tuple(given.shape) != (rows,) or given.is_floating_point():
        raise bad("labels", f"class codes ({rows},), one for each picture", f"{given.dtype} {tuple(given.shape)}")
    y = given.to(device=device, dtype=torch.int64)
    wrong = y[(y < 0) | (y >= classes)]
    if len(wrong):
        raise bad("labels", f"0 to {classes - 1}", int(wrong[0]))
    absent = sorted(set(range(classes)) - set(y.tolist()))
    if absent:
        raise BadInput(
            f"Class {absent[0]} has no labelled picture ({len(absent)} such classes): label at least one of each, or "
            "leave these classes out."
        )
    return y


def hold_back(y: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Which rows `[N]` bool checkpoints are chosen by: this share of each class that has at least 4, one at least."""
    random = np.random.default_rng(derive_seed(seed, "held back"))
    held = np.zeros(len(y), bool)
    for code in np.unique(y) if share else ():
        own = random.permutation(np.flatnonzero(y == code))
        if len(own) >= LEAST_TO_SPLIT:
            held[own[: max(1, round(share * len(own)))]] = True
    return held


class Pool:
    """Unlabelled pictures whose places in the data set are known.

    Args:
        source: pictures `[M, C, H, W]`, whose rows are their places; or a loader that can be walked again and again,
            gives (index `[B]`, pictures) and has a `dataset` with a length.
    Raises:
        BadInput: a loader without places; as `pictures` raises.
    """

    def __init__(self, source: Any, channels: int, device: Any, repeat: bool) -> None:
        self._form = (channels, device, repeat)
        self._all = self._loader = None
        if isinstance(source, Tensor | np.ndarray):
            self._all = pictures(source, *self._form)
            self.count = len(self._all)
        else:
            try:
                self.count = len(source.dataset)
            except (AttributeError, TypeError):
                raise _placeless(type(source).__name__) from None
            self._loader = source
        if not self.count:
            raise bad("unlabelled", "at least one picture", 0, "Give None where there is none.")

    def batches(self, size: int, most: int | None, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(index `[B]`, pictures) of up to `most` rows, each at most once; a loader's own batches."""
        left = self.count if most is None else min(most, self.count)
        if self._all is not None:
            order = torch.from_numpy(np.random.default_rng(seed).permutation(self.count)[:left])
            for index_B in order.split(size):
                yield index_B, self._all[index_B.to(self._all.device)]
            return
        for batch in self._loader or ():
            if left <= 0:
                return
            if not (isinstance(batch, tuple | list) and len(batch) == 2 and _whole(batch[0])):
                raise _placeless(f"batches of {type(batch).__name__}")
            index_B, x = torch.as_tensor(batch[0])[:left], pictures(batch[1], *self._form)[:left]
            left -= len(x)
            yield index_B, x


def _whole(index: Any) -> bool:
    index = torch.as_tensor(index)
    return index.ndim == 1 and not index.is_floating_point() and index.dtype != torch.bool


def _placeless(got: str) -> BadInput:
    return bad(
        "unlabelled", "an array of pictures, or a loader with a `dataset` that gives (index, pictures)", got,
        "Votes are remembered by a picture's place in the data set, so it must not change.",
    )  # fmt: skip

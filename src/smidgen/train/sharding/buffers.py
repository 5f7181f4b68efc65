"""Memory of fixed size, taken once: for fused communication, and for what lives long among what does not.

Rajbhandari et al. (2019), ZeRO, arXiv 1910.02054, section 6.2 (constant buffers, C_B) and 6.3 (defragmentation, M_D).
"""

import weakref
from collections.abc import Callable

import torch
from torch import Tensor

from smidgen.kit.errors import bad

ALIGN = 64  # bytes


class ConstantBuffer:
    """A buffer whose size does not grow with the model; made when it is first used, and kept.

    Args:
        nbytes: of it.
    """

    def __init__(self, nbytes: int, device: torch.device | str = "cpu") -> None:
        if nbytes < 1:
            raise bad("buffer", "at least 1 byte", nbytes)
        self.nbytes, self.device = nbytes, device
        self._memory: Tensor | None = None

    def view(self, rows: int, columns: int, dtype: torch.dtype) -> Tensor:
        """The front of the buffer as a matrix, with whatever is in it. Raises BadInput: it does not fit."""
        needed = rows * columns * dtype.itemsize
        if needed > self.nbytes:
            raise bad("buffer", f"at least {needed:,} bytes", f"{self.nbytes:,}")
        if self._memory is None:
            self._memory = torch.empty(self.nbytes, dtype=torch.uint8, device=self.device)
        return self._memory[:needed].view(dtype).view(rows, columns)

    @property
    def held(self) -> Tensor | None:
        """Its memory, where it was made."""
        return self._memory


class ContiguousArena:
    """Copies of tensors that live long, back to back, so that they leave no gaps among short-lived ones.

    What was put in is free when the last of it is dropped. `spilled` counts bytes that did not fit and got memory of
    their own.
    """

    def __init__(self, nbytes: int, device: torch.device | str = "cpu", pinned: bool = False) -> None:
        if nbytes < 1:
            raise bad("arena", "at least 1 byte", nbytes)
        self._memory = torch.empty(nbytes, dtype=torch.uint8, device=device, pin_memory=pinned)
        self._end, self._live = 0, 0
        self.spilled = 0

    @property
    def used(self) -> int:
        """Bytes up to the end of the last one."""
        return self._end

    def put(self, tensor: Tensor, owner: object) -> Tensor:
        """A contiguous copy in the arena; its place is free again when `owner` and all others are gone."""
        if self._end + tensor.nbytes > self._memory.nbytes:
            self.spilled += tensor.nbytes
            return torch.empty_like(tensor, device=self._memory.device).copy_(tensor)
        start, self._end = self._end, self._end + -(-tensor.nbytes // ALIGN) * ALIGN
        self._live += 1
        weakref.finalize(owner, self._freer())
        place = self._memory[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        return place.copy_(tensor)

    def _freer(self) -> Callable[[], None]:
        def free() -> None:
            self._live -= 1
            if not self._live:
                self._end = 0

        return free

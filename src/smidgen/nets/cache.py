"""Keys and values of the tokens read so far, so that each further token costs one step and not a whole pass.

Dims: B batch, G key/value heads, S tokens, K head width.
"""

import torch
from torch import Tensor

from smidgen.kit.errors import bad


class Cache:
    """Room for `length` tokens of `batch` sequences, taken at once; `read` of them are filled.

    Its size is 2 x layers x B x G x length x K numbers (`bytes`): with G a quarter of the heads, a quarter.
    """

    def __init__(
        self,
        layers: int,
        batch: int,
        kv_heads: int,
        length: int,
        width: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ):
        shape = (layers, batch, kv_heads, length, width)
        self._keys = torch.empty(shape, dtype=dtype, device=device)
        self._values = torch.empty(shape, dtype=dtype, device=device)
        self.length = length
        self.read = 0

    @property
    def bytes(self) -> int:
        return self._keys.nbytes + self._values.nbytes

    def extend(self, layer: int, k_BGTK: Tensor, v_BGTK: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values `[B, G, S, K]` of all tokens up to these; `advance` once all layers have theirs.

        Raises:
            BadInput: there is no room for so many, or they are of another batch size.
        """
        end = self.read + k_BGTK.shape[2]
        if end > self.length:
            raise bad("cache", f"at most {self.length:,} tokens", f"{end:,}", "Make a longer one, or crop it.")
        if k_BGTK.shape[0] != self._keys.shape[1]:
            raise bad("cache", f"a batch of {self._keys.shape[1]}", f"one of {k_BGTK.shape[0]}")
        self._keys[layer, :, :, self.read : end] = k_BGTK
        self._values[layer, :, :, self.read : end] = v_BGTK
        return self._keys[layer, :, :, :end], self._values[layer, :, :, :end]

    def advance(self, tokens: int) -> None:
        self.read += tokens

    def crop(self, tokens: int) -> None:
        """Forgets all but the first `tokens`."""
        if not 0 <= tokens <= self.read:
            raise bad("crop", f"0 to {self.read} tokens", tokens)
        self.read = tokens

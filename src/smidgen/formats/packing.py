"""Codes of 1 to 8 bits as bytes without gaps, each row by itself; ternary ones five to a byte.

Code j of a row lies in bits j b to j b + b - 1 of it, counted from the lowest bit of its first byte: four bits are two
to a byte, the first one low; three bits are eight to three bytes. A row ends on a whole byte. Of a ternary row each
byte is t0 + 3 t1 + 9 t2 + 27 t3 + 81 t4, which is 1.6 bits a code.
"""

import torch
from torch import Tensor

from smidgen.kit.errors import bad

TRITS = 5  # to a byte: 3^5 = 243
_POWERS = tuple(3**k for k in range(TRITS))


def packed_columns(columns: int, bits: int, ternary: bool = False) -> int:
    """Bytes of a row of so many codes."""
    return -(-columns // TRITS) if ternary else -(-columns * bits // 8)


def pack(codes: Tensor, bits: int, ternary: bool = False) -> Tensor:
    """uint8 `[rows, bytes]` of codes uint8 `[rows, columns]`, each below 2^bits (below 3 where ternary).

    Raises:
        BadInput: a code is too large for its bits, or bits are not 1 to 8.
    """
    _check(bits)
    most = 2 if ternary else 2**bits - 1
    if codes.numel() and int(codes.max()) > most:
        raise bad("code", f"at most {most} for {'ternary' if ternary else f'{bits} bits'}", int(codes.max()))
    if bits == 8 and not ternary:
        return codes.contiguous()
    rows, columns = codes.shape
    if ternary:
        parts = _grouped(codes, TRITS).to(torch.int16)
        return sum(parts[..., k] * p for k, p in enumerate(_POWERS)).to(torch.uint8)  # type: ignore[union-attr]
    if 8 % bits == 0:
        parts = _grouped(codes, 8 // bits)
        out = parts[..., 0].clone()
        for k in range(1, 8 // bits):
            out |= parts[..., k] << (k * bits)
        return out
    parts = _grouped(codes, 8).long()
    word = parts[..., 0]
    for k in range(1, 8):
        word = word | (parts[..., k] << (k * bits))
    pieces = torch.stack([(word >> (8 * k)) & 255 for k in range(bits)], -1).to(torch.uint8)
    return pieces.reshape(rows, -1)[:, : packed_columns(columns, bits)].contiguous()


def unpack(packed: Tensor, bits: int, columns: int, ternary: bool = False) -> Tensor:
    """Codes uint8 `[rows, columns]` of what `pack` gave.

    Raises:
        BadInput: the bytes do not hold so many codes.
    """
    _check(bits)
    rows = len(packed)
    if packed.dtype != torch.uint8 or packed.shape[1:] != (packed_columns(columns, bits, ternary),):
        raise bad(
            "packed weights",
            f"uint8 [{rows}, {packed_columns(columns, bits, ternary)}] for {columns} codes of {bits} bits",
            f"{packed.dtype} {list(packed.shape)}",
        )
    if bits == 8 and not ternary:
        return packed
    if ternary:
        whole = packed.to(torch.int16)
        return torch.stack([(whole // p) % 3 for p in _POWERS], -1).to(torch.uint8).reshape(rows, -1)[:, :columns]
    if 8 % bits == 0:
        mask = 2**bits - 1
        return torch.stack([(packed >> (k * bits)) & mask for k in range(8 // bits)], -1).reshape(rows, -1)[:, :columns]
    pieces = _grouped(packed, bits).long()
    word = pieces[..., 0]
    for k in range(1, bits):
        word = word | (pieces[..., k] << (8 * k))
    codes = torch.stack([(word >> (k * bits)) & (2**bits - 1) for k in range(8)], -1)
    return codes.to(torch.uint8).reshape(rows, -1)[:, :columns]


def _check(bits: int) -> None:
    if not 1 <= bits <= 8:
        raise bad("bits", "1 to 8", bits)


def _grouped(x: Tensor, size: int) -> Tensor:
    """`[rows, groups, size]`, the last one filled up with zeros."""
    lacking = -x.shape[1] % size
    if lacking:
        x = torch.nn.functional.pad(x, (0, lacking))
    return x.reshape(len(x), -1, size)

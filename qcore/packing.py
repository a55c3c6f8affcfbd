"""Codes as a dense bit stream, and back.

Layout: code i takes bits [i·b, (i+1)·b) of the stream, its least significant bit first; bit j of
the stream is bit j mod 8 of byte j div 8. Signed codes are in two's complement of b bits. The last
byte is filled up with zeros. So eight 4-bit codes 1, 2, 3 … are the bytes 0x21, 0x43, ….
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.errors import DtypeError, RangeError, ShapeError, UsageError

_PIECE = 1 << 16  # codes turned to single bits at a time; a multiple of 8 ends on a whole byte


def code_dtype(bits: int, signed: bool) -> np.dtype[Any]:
    """The smallest integer dtype that holds codes of `bits` bits."""
    return np.dtype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")


def packed_size(count: int, bits: int) -> int:
    """The bytes that `count` codes of `bits` bits take."""
    return (count * bits + 7) // 8


def pack(codes: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Pack integer codes, in C order, into `packed_size(codes.size, bits)` bytes.

    Args:
        codes: any shape, an integer dtype; negative codes are stored in two's complement.
        bits: 1 to 16.

    Raises:
        DtypeError: the codes are no integers.
        RangeError: a code does not fit `bits` bits.
    """
    _check_bits(bits)
    flat = np.ravel(codes)
    if flat.dtype.kind not in "iub":
        raise DtypeError(f"codes are integers, not {flat.dtype}")
    if flat.size:
        low, high = int(flat.min()), int(flat.max())
        if low < -(1 << (bits - 1)) or high >= 1 << (bits - (low < 0)):
            raise RangeError(f"codes from {low} to {high} do not fit {bits} bits")
    packed = np.empty(packed_size(flat.size, bits), np.uint8)
    for start in range(0, flat.size, _PIECE):
        piece = flat[start : start + _PIECE].astype("<i4").view("<u4").astype("<u2")
        digits = np.unpackbits(piece.view(np.uint8).reshape(-1, 2), axis=1, bitorder="little")
        whole = np.packbits(digits[:, :bits].reshape(-1), bitorder="little")
        packed[start * bits // 8 :][: whole.size] = whole
    return packed


def unpack(
    packed: NDArray[np.uint8], bits: int, shape: int | tuple[int, ...], *, signed: bool
) -> NDArray[Any]:
    """The codes that `pack` packed.

    Args:
        packed: uint8, `packed_size(count, bits)` bytes.
        bits: 1 to 16.
        shape: of the codes.
        signed: whether they are in two's complement.

    Returns:
        Codes in the smallest dtype that holds them.

    Raises:
        ShapeError: the number of bytes is not what `shape` and `bits` take.
    """
    _check_bits(bits)
    count = int(np.prod(shape, dtype=np.int64))
    if packed.size != packed_size(count, bits):
        wanted = packed_size(count, bits)
        raise ShapeError(f"{count} codes of {bits} bits take {wanted} bytes, not {packed.size}")
    codes = np.empty(count, code_dtype(bits, signed))
    for start in range(0, count, _PIECE):
        size = min(_PIECE, count - start)
        first, last = start * bits // 8, packed_size(start + size, bits)
        digits = np.unpackbits(packed[first:last], count=size * bits, bitorder="little")
        padded = np.zeros((size, 16), np.uint8)
        padded[:, :bits] = digits.reshape(size, bits)
        if signed:
            padded[:, bits:] = padded[:, bits - 1 : bits]  # the sign, extended
        codes[start : start + size] = np.packbits(padded, axis=1, bitorder="little").view(
            "<i2" if signed else "<u2"
        )[:, 0]
    return codes.reshape(shape)


def _check_bits(bits: int) -> None:
    if not 1 <= bits <= 16:
        raise UsageError(f"codes have 1 to 16 bits, not {bits}")

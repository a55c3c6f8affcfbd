"""Codes as a dense bit stream, and back.

Layout: code i takes bits [i·b, (i+1)·b) of the stream, its least significant bit first; bit j of
the stream is bit j mod 8 of byte j div 8. Signed codes are in two's complement of b bits. The last
byte is filled up with zeros. So eight 4-bit codes 1, 2, 3 … are the bytes 0x21, 0x43, ….
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.errors import DtypeError, RangeError, ShapeError, UsageError

_PIECE = 1 << 16  # codes at a time: they stay in cache, and a multiple of 8 ends on a whole byte
_WORD = 8  # codes of up to 8 bits that go through one 64-bit word together, and fill whole bytes


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
    squeeze = _through_words if bits <= 8 else _through_bits
    for start in range(0, flat.size, _PIECE):
        whole = squeeze(flat[start : start + _PIECE], bits)
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
    count = math.prod((shape,) if isinstance(shape, int) else shape)
    if packed.size != packed_size(count, bits):
        wanted = packed_size(count, bits)
        raise ShapeError(f"{count} codes of {bits} bits take {wanted} bytes, not {packed.size}")
    codes = np.empty(count, code_dtype(bits, signed))
    spread = _from_words if bits <= 8 else _from_bits
    for start in range(0, count, _PIECE):
        size = min(_PIECE, count - start)
        first, last = start * bits // 8, packed_size(start + size, bits)
        codes[start : start + size] = spread(packed[first:last], bits, size, signed)
    return codes.reshape(shape)


def _through_words(codes: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Eight codes at a time, shifted to their places in a word, of which they fill `bits` bytes."""
    if bits == 8:
        return codes.astype(np.uint8)
    digits = np.zeros((-(-codes.size // _WORD), _WORD), np.uint8)
    digits.reshape(-1)[: codes.size] = codes.astype(np.uint8) & ((1 << bits) - 1)
    words = digits[:, 0].astype("<u8")
    for place in range(1, _WORD):
        words |= digits[:, place].astype("<u8") << np.uint64(place * bits)
    filled = words.view(np.uint8).reshape(-1, 8)[:, :bits]
    return filled.reshape(-1)[: packed_size(codes.size, bits)]


def _from_words(packed: NDArray[np.uint8], bits: int, size: int, signed: bool) -> NDArray[Any]:
    """What `_through_words` packed."""
    dtype = code_dtype(bits, signed)
    if bits == 8:
        return packed.view(dtype)
    rows = -(-size // _WORD)
    filled = np.zeros((rows, bits), np.uint8)
    filled.reshape(-1)[: packed.size] = packed
    padded = np.zeros((rows, 8), np.uint8)
    padded[:, :bits] = filled
    words = padded.view("<u8")[:, 0]
    digits = np.empty((rows, _WORD), np.uint8)
    for place in range(_WORD):
        digits[:, place] = words >> np.uint64(place * bits)  # the low byte of it
    digits &= np.uint8((1 << bits) - 1)
    if signed:
        sign = np.uint8(1 << (bits - 1))
        digits ^= sign
        digits -= sign  # wraps, and so extends the sign
    return digits.reshape(-1)[:size].view(dtype)


def _through_bits(codes: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Codes of more than eight bits, bit by bit."""
    wide = codes.astype("<i4").view("<u4").astype("<u2")
    digits = np.unpackbits(wide.view(np.uint8).reshape(-1, 2), axis=1, bitorder="little")
    return np.packbits(digits[:, :bits].reshape(-1), bitorder="little")


def _from_bits(packed: NDArray[np.uint8], bits: int, size: int, signed: bool) -> NDArray[Any]:
    """What `_through_bits` packed."""
    digits = np.unpackbits(packed, count=size * bits, bitorder="little").reshape(size, bits)
    padded = np.zeros((size, 16), np.uint8)
    padded[:, :bits] = digits
    if signed:
        padded[:, bits:] = padded[:, bits - 1 : bits]  # the sign, extended
    codes = np.packbits(padded, axis=1, bitorder="little")
    return codes.view("<i2" if signed else "<u2")[:, 0]


def _check_bits(bits: int) -> None:
    if not 1 <= bits <= 16:
        raise UsageError(f"codes have 1 to 16 bits, not {bits}")

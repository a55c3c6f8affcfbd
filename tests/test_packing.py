"""Packed codes come back as they were, and lie where the documentation says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from qcore.errors import QcoreError, RangeError, ShapeError, UsageError
from qcore.packing import code_dtype, pack, packed_size, unpack

PIECE = 1 << 16
BITS = range(1, 17)
SHAPES = st.one_of(st.just(()), hnp.array_shapes(max_dims=4, min_side=0, max_side=7))


def ends(bits: int, signed: bool) -> tuple[int, int]:
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)


def every_end(count: int, bits: int, signed: bool) -> NDArray[Any]:
    """Random codes, the lowest and the highest among them."""
    low, high = ends(bits, signed)
    rng = np.random.default_rng(count * 31 + bits)
    codes = rng.integers(low, high, count, endpoint=True)
    codes[: 2 * (count > 1)] = [low, high][: 2 * (count > 1)]
    return codes.astype(code_dtype(bits, signed))


def one_big_integer(codes: NDArray[Any], bits: int) -> bytes:
    """The oracle: code i, taken modulo 2^bits, times 2^(i·bits), as little-endian bytes."""
    stream = sum((int(code) % (1 << bits)) << (i * bits) for i, code in enumerate(codes.flat))
    return stream.to_bytes((codes.size * bits + 7) // 8, "little")


@st.composite
def cases(draw: st.DrawFn) -> tuple[NDArray[Any], int, bool]:
    bits, signed = draw(st.sampled_from(BITS)), draw(st.booleans())
    low, high = ends(bits, signed)
    dtype = draw(st.sampled_from([code_dtype(bits, signed), np.dtype("<i4"), np.dtype(">i8")]))
    codes = draw(hnp.arrays(dtype, draw(SHAPES), elements=st.integers(low, high)))
    if draw(st.booleans()):
        codes = codes.T
    return codes, bits, signed


@settings(deadline=None, max_examples=100)
@given(cases())
def test_any_codes_come_back_in_their_shape_and_the_smallest_dtype(
    case: tuple[NDArray[Any], int, bool],
) -> None:
    codes, bits, signed = case
    packed = pack(codes, bits)
    back = unpack(packed, bits, codes.shape, signed=signed)
    assert packed.dtype == np.uint8
    assert packed.shape == (packed_size(codes.size, bits),)
    assert back.dtype == code_dtype(bits, signed)
    assert back.shape == codes.shape
    np.testing.assert_array_equal(back, codes)


@settings(deadline=None, max_examples=100)
@given(cases())
def test_the_bytes_are_one_big_integer_in_base_2_to_the_bits(
    case: tuple[NDArray[Any], int, bool],
) -> None:
    codes, bits, _ = case
    assert pack(codes, bits).tobytes() == one_big_integer(codes, bits)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", BITS)
def test_every_width_comes_back_around_the_piece_that_is_packed_at_a_time(
    bits: int, signed: bool
) -> None:
    for count in (1, 7, 8, 9, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 3):
        codes = every_end(count, bits, signed)
        packed = pack(codes, bits)
        np.testing.assert_array_equal(unpack(packed, bits, count, signed=signed), codes)


@pytest.mark.parametrize("bits", [1, 3, 5, 7, 11, 13, 15, 16])
def test_pieces_join_without_a_seam(bits: int) -> None:
    codes = every_end(PIECE + 9, bits, signed=False)
    seam = PIECE * bits // 8  # a multiple of 8 codes before it ends on a whole byte
    packed = pack(codes, bits)
    assert packed[:seam].tobytes() == pack(codes[:PIECE], bits).tobytes()
    assert packed[seam:].tobytes() == one_big_integer(codes[PIECE:], bits)


@pytest.mark.parametrize(
    ("codes", "bits", "expected"),
    [
        ([1, 2, 3, 4], 4, "21 43"),
        ([1, 2, 3], 4, "21 03"),
        ([-1, -8, 7], 4, "8f 07"),
        ([1, 0, 0, 0, 0, 0, 0, 1, 1], 1, "81 01"),
        ([-1, 0, -1], 1, "05"),
        ([1, -2, -1, 0], 2, "39"),
        ([0b101, 0b011, 0b110], 3, "9d 01"),
        ([-128, 127, -1], 8, "80 7f ff"),
        ([0x123, 0x456], 12, "23 61 45"),
        ([-1, 1], 9, "ff 03 00"),
        ([0x1234, 0xABCD], 16, "34 12 cd ab"),
        ([-32768, 32767], 16, "00 80 ff 7f"),
        ([], 5, ""),
    ],
)
def test_the_layout_is_the_one_that_is_documented(
    codes: list[int], bits: int, expected: str
) -> None:
    signed = min(codes, default=0) < 0
    packed = pack(np.array(codes, np.int32), bits)
    assert packed.tobytes() == bytes.fromhex(expected)
    assert unpack(packed, bits, len(codes), signed=signed).tolist() == codes


def test_codes_are_taken_in_c_order_whatever_their_memory_order() -> None:
    codes = np.arange(12, dtype=np.uint8).reshape(3, 4)
    expected = pack(codes, 5).tobytes()
    assert pack(np.asfortranarray(codes), 5).tobytes() == expected
    assert pack(np.repeat(codes, 2, axis=1)[:, ::2], 5).tobytes() == expected
    assert pack(codes[::-1][::-1], 5).tobytes() == expected


@pytest.mark.parametrize(
    ("count", "bits", "size"), [(0, 4, 0), (1, 1, 1), (8, 1, 1), (9, 1, 2), (3, 5, 2), (5, 16, 10)]
)
def test_packed_size_is_the_bits_filled_up_to_a_byte(count: int, bits: int, size: int) -> None:
    assert packed_size(count, bits) == size


@pytest.mark.parametrize(
    ("bits", "signed", "name"),
    [
        (1, True, "int8"),
        (8, True, "int8"),
        (8, False, "uint8"),
        (9, True, "int16"),
        (9, 0, "uint16"),
    ],
)
def test_the_code_dtype_is_the_smallest_that_holds_them(bits: int, signed: bool, name: str) -> None:
    assert code_dtype(bits, signed) == np.dtype(name)


@pytest.mark.parametrize("bits", [0, -1, 17])
def test_a_width_outside_1_to_16_is_refused(bits: int) -> None:
    with pytest.raises(UsageError, match=rf"^codes have 1 to 16 bits, not {bits}$"):
        pack(np.zeros(3, np.int8), bits)
    with pytest.raises(UsageError, match=rf"^codes have 1 to 16 bits, not {bits}$"):
        unpack(np.zeros(3, np.uint8), bits, 3, signed=True)


@pytest.mark.parametrize("bits", BITS)
def test_codes_that_do_not_fit_are_refused_and_the_ends_that_do_are_not(bits: int) -> None:
    (low, high), (_, most) = ends(bits, True), ends(bits, False)
    for fitting in ([low, high], [0, most], [low], [most]):
        pack(np.array(fitting), bits)
    for wrong in ([low - 1, 0], [0, most + 1], [low, high + 1]):
        text = rf"^codes from {wrong[0]} to {wrong[1]} do not fit {bits} bits$"
        with pytest.raises(RangeError, match=text):
            pack(np.array(wrong), bits)


@pytest.mark.parametrize("size", [1, 3])
def test_the_wrong_number_of_bytes_is_refused(size: int) -> None:
    with pytest.raises(
        ShapeError, match=rf"^4 codes of 4 bits take 2 bytes, not {size}$"
    ) as caught:
        unpack(np.zeros(size, np.uint8), 4, (2, 2), signed=False)
    assert isinstance(caught.value, QcoreError)

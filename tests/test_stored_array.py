"""Arrays are stored in the bits that are declared, and come back bit for bit."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from qcore import RangeError, ReadError, UsageError, pack
from qcore.stored_array import StoredArray

INTEGERS = ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]
FLOATS = ["float16", "float32", "float64", "bfloat16", "float8_e8m0fnu", "float8_e4m3fn"]
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=6)


def dtype_of(name: str) -> np.dtype[Any]:
    return np.dtype(getattr(np, name, None) or getattr(ml_dtypes, name))


@st.composite
def packed(draw: st.DrawFn) -> tuple[StoredArray, NDArray[Any]]:
    """Integers that fit fewer bits than their dtype has, or more than it needs."""
    dtype, bits = np.dtype(draw(st.sampled_from(INTEGERS))), draw(st.integers(1, 16))
    signed = dtype.kind == "i" and draw(st.booleans())
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    if dtype != np.bool_:
        low, high = max(low, np.iinfo(dtype).min), min(high, np.iinfo(dtype).max)
    elements = st.booleans() if dtype == np.bool_ else st.integers(low, high)
    array = draw(hnp.arrays(dtype, draw(SHAPES), elements=elements))
    return StoredArray(dtype.name, bits, array.shape, signed), array


@settings(deadline=None, max_examples=100)
@given(packed())
def test_integers_come_back_and_take_the_bits_declared(
    case: tuple[StoredArray, NDArray[Any]],
) -> None:
    how, array = case
    stored = how.store_exactly(array, "w")
    again = how.restore(stored)
    assert (again.dtype, again.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(again, array)
    entry = how.entry("w")
    assert (stored.dtype.name, stored.shape) == (entry.dtype, entry.shape)
    assert stored.nbytes == entry.nbytes == how.nbytes == math.ceil(array.size * how.bits / 8)
    if how.is_packed:
        assert stored.tobytes() == pack(array, how.bits).tobytes()


@pytest.mark.parametrize("name", FLOATS)
def test_floats_are_stored_as_they_are_whatever_their_bits(name: str) -> None:
    dtype = dtype_of(name)
    array = np.random.default_rng(0).bytes(24 * dtype.itemsize)
    floats = np.frombuffer(array, dtype).reshape(4, 6)  # NaNs of all kinds among them
    how = StoredArray(name, dtype.itemsize * 8, (2, 2, 6))
    stored = how.store_exactly(floats, "w")
    assert not how.is_packed
    assert (stored.dtype, stored.shape) == (dtype, (2, 2, 6))
    assert how.restore(stored).tobytes() == floats.tobytes()


def test_float32_is_stored_in_a_narrower_type_that_holds_it() -> None:
    how = StoredArray("float8_e8m0fnu", 8, (3,))
    scale = np.array([[0.5], [1], [8]], np.float32)
    assert how.store_exactly(scale, "scale").tolist() == [0.5, 1, 8]


@pytest.mark.parametrize(
    ("how", "array"),
    [
        (StoredArray("float16", 16, (1,)), np.float32([0.1])),
        (StoredArray("float16", 16, (1,)), np.float32([1e30])),
        (StoredArray("bfloat16", 16, (1,)), np.float32([1.001])),
        (StoredArray("float8_e8m0fnu", 8, (1,)), np.float32([3])),
        (StoredArray("int32", 4, (1,), signed=True), np.int32([8])),
        (StoredArray("int32", 4, (1,)), np.int32([-1])),
        (StoredArray("int8", 8, (1,)), np.int32([300])),
    ],
)
def test_what_would_not_come_back_is_refused(how: StoredArray, array: NDArray[Any]) -> None:
    with pytest.raises(
        UsageError, match=f"^a scale is not among .* {how.bits} bits of {how.dtype}"
    ):
        how.store_exactly(array, "scale")


def test_codes_that_do_not_fit_are_an_error_without_a_look_at_what_comes_back() -> None:
    with pytest.raises(RangeError, match="do not fit 3 bits"):
        StoredArray("int8", 3, (1,), signed=True).store(np.int8([8]))


@pytest.mark.parametrize(
    ("dtype", "bits", "says"),
    [
        ("float32", 16, "an element of float32 takes 32 bits, not 16; integers may take any from"),
        ("int32", 17, "an element of int32 takes 32 bits, not 17; integers may take any from 1 to"),
        ("int32", 0, "not 0"),
        ("int32", -4, "not -4"),
        ("int4", 4, "safetensors has no number type 'int4'"),
        ("complex128", 128, "safetensors has no number type 'complex128'"),
        ("object\n", 8, r"safetensors has no number type 'object\\n'"),
    ],
)
def test_bits_that_no_element_can_take_are_refused(dtype: str, bits: int, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        StoredArray(dtype, bits, (1,))
    described = {"dtype": dtype, "bits": bits, "shape": [1], "signed": False}
    with pytest.raises(ReadError, match=says):
        StoredArray.from_dict(described)


# --- its description ------------------------------------------------------------------------------


@given(packed())
def test_a_description_gives_the_same_again(case: tuple[StoredArray, NDArray[Any]]) -> None:
    assert StoredArray.from_dict(case[0].to_dict()) == case[0]


GOOD = {"dtype": "int32", "bits": 3, "shape": [4, 2], "signed": True}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"bits": "3"}, "'bits' must be a whole number, not a text"),
        ({"bits": True}, "'bits' must be a whole number, not true or false"),
        ({"bits": 3.0}, "'bits' must be a whole number, not a number"),
        ({"bits": 10**300}, "an element of int32 takes 32 bits, not 1000"),
        ({"dtype": None}, "'dtype' must be a text, not null"),
        ({"signed": 1}, "'signed' must be true or false, not a whole number"),
        ({"shape": 4}, "'shape' must be a list, not a whole number"),
        ({"shape": [-1]}, "'shape' must be at most 64 whole numbers from 0"),
        ({"shape": [True]}, "'shape' must be at most 64 whole numbers from 0"),
        ({"shape": [1.0]}, "'shape' must be at most 64 whole numbers from 0"),
        ({"shape": [2**63]}, "'shape' must be at most 64 whole numbers from 0"),
        ({"shape": [1] * 65}, "'shape' must be at most 64 whole numbers from 0"),
        *((({key: ...}), f"'{key}' is missing") for key in GOOD),
    ],
)
def test_a_description_is_checked_word_by_word(change: dict[str, Any], says: str) -> None:
    described = {key: value for key, value in {**GOOD, **change}.items() if value is not ...}
    with pytest.raises(ReadError, match=says):
        StoredArray.from_dict(described)


@pytest.mark.parametrize("described", [None, 3, "int32", [], [["dtype", "int32"]]])
def test_a_description_is_an_object(described: Any) -> None:
    with pytest.raises(ReadError, match="the description of an array must be an object, not"):
        StoredArray.from_dict(described)

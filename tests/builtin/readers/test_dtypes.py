"""Element types by name are NumPy's and ml_dtypes' own, and those that share bytes come apart."""

from __future__ import annotations

import math
import sys
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.builtin.readers.dtypes import (
    BITS,
    ML_BITS,
    NUMPY_BITS,
    dtype_named,
    from_stored,
    stored_bytes,
)
from qcore.errors import ReadError
from qcore.packing import pack

PAIRED = sorted(name for name, bits in BITS.items() if bits < 8)
SHAPES = st.lists(st.integers(0, 5), max_size=4).map(tuple)


def widths(name: str) -> int:
    """The bits of an element, as ml_dtypes says."""
    if name in NUMPY_BITS:
        return np.dtype(name).itemsize * 8
    info = ml_dtypes.iinfo if "int" in name else ml_dtypes.finfo
    return int(info(name).bits)


@pytest.mark.parametrize("name", BITS)
def test_a_name_is_its_dtype_s_and_as_wide(name: str) -> None:
    dtype = dtype_named(name, "w")
    assert dtype.name == name
    assert widths(name) == BITS[name]
    assert dtype.itemsize == max(BITS[name] // 8, 1)
    assert dtype.newbyteorder("<") == dtype


def test_numpy_s_number_types_and_ml_dtypes_integers_are_known() -> None:
    known = {np.dtype(kind).name for kind in "?bBhHiIqQefdFD"}
    assert known == set(NUMPY_BITS)
    theirs = {name for name in dir(ml_dtypes) if name.startswith(("int", "uint", "bfloat"))}
    assert theirs - {"int1", "uint1"} <= set(ML_BITS)


@given(shape=SHAPES, name=st.sampled_from(sorted(BITS)), data=st.data())
def test_the_bytes_of_an_array_give_it_back(
    shape: tuple[int, ...], name: str, data: st.DataObject
) -> None:
    dtype = dtype_named(name, "w")
    bits = BITS[name]
    count = math.prod(shape)
    limit = 2 if name == "bool" else 1 << min(bits, 8)
    raw = data.draw(st.lists(st.integers(0, limit - 1), min_size=count, max_size=count))
    codes = np.array(raw, np.uint8).reshape(shape)
    stored = pack(codes, bits) if bits < 8 else np.repeat(codes.reshape(-1), dtype.itemsize)
    assert stored.size == stored_bytes(name, shape)
    found = from_stored(stored, name, shape, "w")
    assert (found.dtype, found.shape) == (dtype, shape)
    assert not found.flags.writeable
    if bits < 8:
        np.testing.assert_array_equal(found.view(np.uint8) % limit, codes)
    else:
        assert found.tobytes() == stored.tobytes()
        assert found.size == 0 or np.shares_memory(found, stored)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("int4", [1, -2, 7, -8]),
        ("uint4", [1, 14, 7, 8]),
        ("float4_e2m1fn", [0.5, -4.0, 6.0, 0.0]),
        ("int2", [1, 0, -2, -1, -1, 1, 0, -2]),
        ("uint2", [1, 0, 2, 3, 3, 1, 0, 2]),
    ],
)
def test_the_first_value_lies_in_the_lowest_bits(name: str, expected: list[Any]) -> None:
    bits = BITS[name]
    data = np.array([0b11100001, 0b10000111], np.uint8)
    found = from_stored(data, name, (16 // bits,), "w").astype(np.float64)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", BITS)
@pytest.mark.parametrize("count", [0, 1, 1000])
def test_bytes_that_are_too_many_or_too_few_are_refused(name: str, count: int) -> None:
    with pytest.raises(ReadError) as caught:
        from_stored(np.zeros(count, np.uint8), name, (3, 5), "m.bin: tensor 'w'")
    message = f"{count} bytes are not (3, 5) of {name}"
    assert str(caught.value) == f"m.bin: tensor 'w': {message}"


@pytest.mark.parametrize("name", ["float32", *PAIRED])
@pytest.mark.parametrize("shape", [(1 << 62, 1 << 62), (0, 1 << 62, 1 << 62)])
def test_a_shape_that_numpy_cannot_hold_is_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ReadError, match=r"^w: (0 bytes are not|NumPy cannot hold shape) "):
        from_stored(np.zeros(0, np.uint8), name, shape, "w")


def test_without_ml_dtypes_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    assert dtype_named("float16", "w") == np.float16
    with pytest.raises(ReadError) as caught:
        dtype_named("int4", "w")
    assert str(caught.value) == "w: int4 needs ml_dtypes 0.5 or later; pip install -U ml_dtypes"

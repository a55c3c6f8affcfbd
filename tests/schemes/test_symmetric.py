"""symmetric: x̂ = s · q, s = max|x| / qmax, no zero point."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qcore

X = [0.21535037, 1.2962357, -1.0161772]
TINY = 2.0**-126
BITS = [2, 3, 4, 5, 6, 7, 8, 12, 16]
SPECS = ["symmetric", "symmetric:full_range=true", "symmetric:signed=false"]


def quantize(
    x: object, bits: int = 8, spec: str = "symmetric", **axes: str
) -> qcore.QuantizedTensor:
    return qcore.quantize(np.asarray(x), qcore.Recipe(spec, bits, **axes))


# --- worked examples -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_worked_example(dtype: type) -> None:
    q = quantize(np.array(X, dtype))
    assert q.scale.tolist() == [float(np.float32(0.01020658))]
    assert q.zero_point is None
    assert q.codes.tolist() == [21, 127, -100]
    expected = np.array([0.21433818, 1.2962357, -1.020658], np.float32)
    np.testing.assert_array_equal(q.dequantize(), expected, strict=True)


def test_a_given_scale_for_the_tensor_clips_what_it_does_not_reach() -> None:
    x = np.array([[-0.3, 2.1], [13.2, 15.7]], np.float32)
    q = qcore.quantize(x, scheme="symmetric", bits=8, params=qcore.QuantParams(np.float32(0.1)))
    assert q.codes.tolist() == [[-3, 21], [127, 127]]


def test_a_given_scale_for_each_channel_reaches_them() -> None:
    x = np.array([[-0.3, 2.1], [13.2, 15.7]], np.float32)
    params = qcore.QuantParams(np.array([0.1, 1], np.float32))
    q = qcore.quantize(x, scheme="symmetric", bits=8, granularity="channel:0", params=params)
    assert q.codes.tolist() == [[-3, 21], [13, 16]]


# --- grid and params -----------------------------------------------------------------------------


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("spec", SPECS)
def test_codes_are_balanced_unless_told_otherwise(bits: int, spec: str) -> None:
    half = 1 << (bits - 1)
    expected = {
        "symmetric": (1 - half, half - 1),
        "symmetric:full_range=true": (-half, half - 1),
        "symmetric:signed=false": (0, 2 * half - 1),
    }[spec]
    scheme = qcore.create("scheme", spec, bits=bits)
    assert scheme.code_range == expected
    assert scheme.code_bits == bits
    assert scheme.code_dtype == np.dtype(
        f"{'u' if 'signed' in spec else 'i'}{1 if bits <= 8 else 2}"
    )


FLOATS = st.floats(-(2.0**60), 2.0**60, width=32)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("spec", SPECS)
@settings(deadline=None, max_examples=30)
@given(st.lists(FLOATS, min_size=1, max_size=20))
def test_the_scale_takes_the_largest_to_the_largest_code(
    spec: str, bits: int, values: list[float]
) -> None:
    x = np.array(values, np.float32)
    q = quantize(x, bits, spec)
    signed = "signed" not in spec
    largest = np.abs(x).max() if signed else x.max()
    qmax = (1 << (bits - signed)) - 1
    scale = max(largest / np.float32(qmax), np.float32(TINY)) if largest > 0 else 1.0
    assert q.scale.tolist() == [scale]
    qmin = 0 if not signed else -qmax - ("full_range" in spec)
    with np.errstate(over="ignore"):  # unsigned, far below zero
        expected = np.clip(np.rint(x / q.scale), qmin, qmax)
    np.testing.assert_array_equal(q.codes, expected)
    np.testing.assert_array_equal(q.dequantize(), q.codes.astype(np.float32) * q.scale)
    if scale > TINY:
        assert np.abs(q.codes.astype(int)).max() == (qmax if largest > 0 else 0)


@pytest.mark.parametrize("bits", BITS)
def test_full_range_leaves_the_scale_as_it_is(bits: int) -> None:
    x = np.random.default_rng(bits).normal(0, 1, (20, 30)).astype(np.float32)
    q = quantize(x, bits, granularity="channel:0")
    full = quantize(x, bits, "symmetric:full_range=true", granularity="channel:0")
    np.testing.assert_array_equal(full.scale, q.scale)
    np.testing.assert_array_equal(full.codes, q.codes)  # nothing lies below −max|x|


def test_full_range_has_a_use_for_a_scale_that_is_given() -> None:
    params = qcore.QuantParams(np.float32(1))
    x = np.array([-128, -127, 127, 128], np.float32)
    recipe = qcore.Recipe("symmetric:full_range=true", 8)
    assert qcore.quantize(x, recipe, params=params).codes.tolist() == [-128, -127, 127, 127]
    recipe = qcore.Recipe("symmetric", 8)
    assert qcore.quantize(x, recipe, params=params).codes.tolist() == [-127, -127, 127, 127]


def test_unsigned_takes_negative_values_to_zero() -> None:
    q = quantize(np.array([-3, -0.1, 0, 0.1, 2.55], np.float32), 8, "symmetric:signed=false")
    assert q.codes.tolist() == [0, 0, 0, 10, 255]
    assert q.dequantize()[:3].tolist() == [0, 0, 0]


def test_codes_follow_from_the_scale_as_stored() -> None:
    x = np.random.default_rng(0).normal(0, 1, (40, 50)).astype(np.float32)
    for scale_format in ("float16", "bfloat16", "pow2", "pow2:nearest"):
        q = quantize(x, 8, granularity="channel:0", scale_format=scale_format)
        made = qcore.create("scale_format", scale_format)
        scale = made.snap(np.abs(x).max(axis=1, keepdims=True) / np.float32(127))
        np.testing.assert_array_equal(q.scale, scale)
        np.testing.assert_array_equal(q.codes, np.clip(np.rint(x / scale), -127, 127))


def test_a_block_stores_its_scale() -> None:
    x = np.ones((4, 64), np.float32)
    assert quantize(x, 3, granularity="group:32").bits_per_weight == 3 + 1

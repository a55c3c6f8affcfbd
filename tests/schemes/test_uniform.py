"""uniform: x̂ = lo + q · s over the whole range; or without an offset, and then a clip."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qcore

X = np.array([0.21535037, 1.2962357, -1.0161772], np.float32)
TINY = 2.0**-126
BITS = [2, 3, 4, 5, 6, 7, 8, 12, 16]


def quantize(x: object, bits: int = 8, spec: str = "uniform", **axes: str) -> qcore.QuantizedTensor:
    return qcore.quantize(np.asarray(x), qcore.Recipe(spec, bits, **axes))


# --- worked examples -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_without_an_offset_the_example_is_clipped(dtype: type) -> None:
    x = np.array([0.21535037, 1.2962357, -1.0161772], dtype)
    q = quantize(x, 8, "uniform:offset=none")
    assert q.scale.tolist() == [float(np.float32(0.0090682853))]
    assert q.codes.tolist() == [24, 127, -112]
    expected = np.array([0.21763885, 1.1516722, -1.0156479], np.float32)
    np.testing.assert_array_equal(q.dequantize(), expected, strict=True)
    assert np.rint(1.2962357 / 0.0090682853) == 143  # what the clip took from


def test_with_its_offset_the_example_keeps_both_ends() -> None:
    q = quantize(X)
    assert q.scale.tolist() == [float(np.float32(0.0090682853))]
    assert q.params.offset is not None
    np.testing.assert_array_equal(q.params.offset, X.min().reshape(1, 1), strict=True)
    assert q.zero_point is None
    assert q.codes.tolist() == [136, 255, 0]
    assert q.codes.dtype == np.uint8
    values = q.dequantize()
    assert values[2] == X[2]
    np.testing.assert_allclose(values, X, rtol=0, atol=float(q.scale[0]) / 2)


# --- grid and params -----------------------------------------------------------------------------


@pytest.mark.parametrize("bits", BITS)
@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-(2.0**60), 2.0**60, width=32), min_size=2, max_size=20))
def test_the_step_is_the_range_over_its_intervals(bits: int, values: list[float]) -> None:
    x = np.array(values, np.float32)
    q = quantize(x, bits)
    lo, hi = x.min(), x.max()
    step = (hi - lo) / np.float32((1 << bits) - 1)
    assert q.scale.tolist() == [max(step, np.float32(TINY)) if hi > lo else 1.0]
    assert q.params.offset is not None
    assert q.params.offset.tolist() == [[float(lo)]]


@pytest.mark.parametrize("bits", BITS)
def test_codes_and_values_follow_the_formula(bits: int) -> None:
    x = np.random.default_rng(bits).normal(3, 2, (50, 40)).astype(np.float32)
    q = quantize(x, bits, granularity="channel:0")
    lo = x.min(axis=1, keepdims=True)
    expected = np.clip(np.rint((x - lo) / q.scale), 0, (1 << bits) - 1)
    np.testing.assert_array_equal(q.codes, expected)
    np.testing.assert_array_equal(q.dequantize(), expected.astype(np.float32) * q.scale + lo)


def test_the_least_and_the_greatest_element_take_the_end_codes() -> None:
    x = np.random.default_rng(2).normal(0, 1, (30, 64)).astype(np.float32)
    q = quantize(x, 5, granularity="token")
    assert (q.codes.min(axis=1) == 0).all()
    assert (q.codes.max(axis=1) == 31).all()
    rows = np.arange(30)
    at = x.argmin(axis=1)
    np.testing.assert_array_equal(q.dequantize()[rows, at], x[rows, at])


def test_a_block_stores_scale_and_offset() -> None:
    x = np.random.default_rng(2).normal(0, 1, (4, 64)).astype(np.float32)
    assert quantize(x, 4, granularity="group:32").bits_per_weight == 4 + (32 + 32) / 32
    no_offset = quantize(x, 4, "uniform:offset=none", granularity="group:32")
    assert no_offset.bits_per_weight == 4 + 32 / 32
    assert no_offset.params.offset is None


def test_codes_follow_from_the_scale_as_stored() -> None:
    x = np.linspace(-1, 2, 101, dtype=np.float32)
    q = quantize(x, 8, scale_format="pow2")
    assert q.scale.tolist() == [1 / 64]  # 3 / 255, up
    np.testing.assert_array_equal(q.codes, np.rint((x + 1) * 64))


# --- edges ---------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.sampled_from(BITS))
def test_a_constant_block_is_exact(value: float, bits: int) -> None:
    q = quantize(np.full(5, value, np.float32), bits)
    assert q.scale.tolist() == [1]
    assert q.codes.tolist() == [0] * 5
    assert q.dequantize().tolist() == [value] * 5

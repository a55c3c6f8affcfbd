"""The laws of quantization that hold in float32, for every scheme that they are true of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import qcore

NEAREST = ["half-even", "half-up", "half-down", "half-toward-zero", "half-away", "dpu"]
OTHERS = ["floor", "ceil", "toward-zero", "stochastic:1"]
LARGEST = float(np.finfo(np.float32).max)

EVEN = ["symmetric", "symmetric:signed=false", "asymmetric", "asymmetric:signed=false", "uniform"]
"""The schemes whose steps are all equal, and which cover the range that they find."""

FOUND_EXACTLY = [*EVEN, "uniform:offset=none", "symmetric:full_range=true", "apot", "apot:k=1"]
FOUND_EXACTLY += ["apot:signed=false", "apot:k=8", "pot", "pot:domain=linear", "pot:signed=false"]

GRANULARITIES = ["tensor", "channel:0", "channel:1", "group:3:tail=short"]


def quantize(
    x: Any, spec: str, bits: int, *, params: qcore.QuantParams | None = None, **axes: str
) -> qcore.QuantizedTensor:
    return qcore.quantize(x, qcore.Recipe(spec, bits, **axes), params=params)


def ulp(value: Any) -> Any:
    """From |value| to the next float32."""
    return np.ldexp(1.0, np.maximum(np.frexp(value)[1] - 24, -149))


def tensors(low: float, high: float) -> st.SearchStrategy[np.ndarray]:
    """Small float32 matrices of zeros and magnitudes from `low` to `high`."""
    shapes = hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)
    anywhere = st.one_of(
        st.just(0.0), st.floats(low, high, width=32), st.floats(-high, -low, width=32)
    )
    middle = float(np.exp2(np.rint((np.log2(low) + np.log2(high)) / 2)))
    halves = st.integers(-600, 600).map(lambda n: n / 2 * middle)
    alike = st.floats(-16, 16, width=32).map(lambda v: v * middle if abs(v) > 2.0**-8 else 0.0)
    return st.one_of(
        *(hnp.arrays(np.float32, shapes, elements=e) for e in (anywhere, halves, alike))
    )


# --- nearest: |x − x̂| ≤ s/2 + 2 ulp(max|x|) ------------------------------------------------------


@pytest.mark.parametrize("spec", EVEN)
@settings(deadline=None, max_examples=40)
@given(
    tensors(2.0**-12, 2.0**12),
    st.sampled_from(["float32", "pow2", "float16", "pow2:floor"]),
    st.sampled_from(NEAREST),
    st.sampled_from([2, 3, 4, 6, 8, 12, 16]),
    st.sampled_from(GRANULARITIES),
)
def test_nearest_is_within_half_a_step_where_nothing_is_clipped(
    spec: str, x: np.ndarray, scale_format: str, rounding: str, bits: int, granularity: str
) -> None:
    q = quantize(
        x, spec, bits, granularity=granularity, rounding=rounding, scale_format=scale_format
    )
    assert_half_a_step(x, q)


@pytest.mark.parametrize("spec", EVEN)
@settings(deadline=None, max_examples=30)
@given(
    hnp.arrays(
        np.float32,
        (1, 7),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    ),
    st.sampled_from([2, 4, 8, 16]),
)
def test_nearest_is_within_half_a_step_on_any_float32(spec: str, x: np.ndarray, bits: int) -> None:
    assert_half_a_step(x, quantize(x, spec, bits))


def assert_half_a_step(x: np.ndarray, q: qcore.QuantizedTensor) -> None:
    step = np.broadcast_to(expanded(q), x.shape).astype(np.float64)
    values = q.dequantize()
    low, high = q.recipe.parts.quantizer.code_range
    inside = (q.codes > low) & (q.codes < high)
    if not q.recipe.scale_format.startswith(("pow2:floor", "float16")):  # the range is covered
        inside |= x >= 0 if "symmetric:signed=false" in q.recipe.scheme_spec else True
    slack = (4 if q.recipe.scheme == "uniform" else 2) * ulp(np.abs(x).max())
    error = np.abs(values.astype(np.float64) - x)
    assert (error[inside] <= step[inside] / 2 + slack).all()


def expanded(q: qcore.QuantizedTensor) -> np.ndarray:
    """Scales, repeated along each axis to the tensor's shape."""
    scale = q.scale
    for axis, (extent, tile) in enumerate(zip(q.shape, q.layout.tile, strict=True)):
        scale = scale.repeat(tile, axis=axis).take(range(extent), axis=axis)
    return scale


# --- idempotence ---------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", FOUND_EXACTLY)
@settings(deadline=None, max_examples=30)
@given(
    tensors(2.0**-12, 2.0**12),
    st.sampled_from(NEAREST),
    st.sampled_from([2, 3, 4, 5, 6, 7, 8]),
    st.sampled_from(["float32", "float16", "pow2"]),
)
def test_what_was_quantized_stays_under_the_same_params(
    spec: str, x: np.ndarray, rounding: str, bits: int, scale_format: str
) -> None:
    if spec.startswith("pot") and bits - ("signed=false" not in spec) > 6:
        bits = 6  # no underflow
    axes = {"granularity": "token", "rounding": rounding, "scale_format": scale_format}
    q = quantize(x, spec, bits, **axes)
    values = q.dequantize()
    again = quantize(values, spec, bits, params=q.params, **axes)
    np.testing.assert_array_equal(again.codes, q.codes)
    np.testing.assert_array_equal(again.dequantize(), values)


@pytest.mark.parametrize("rounding", NEAREST)
@pytest.mark.parametrize("spec", EVEN)
@pytest.mark.parametrize("bits", [12, 16])
def test_what_was_quantized_finely_stays_too(spec: str, rounding: str, bits: int) -> None:
    x = np.random.default_rng(bits).normal(0.1, 1, (8, 1024)).astype(np.float32)
    q = quantize(x, spec, bits, granularity="token", rounding=rounding)
    again = quantize(
        q.dequantize(), spec, bits, params=q.params, granularity="token", rounding=rounding
    )
    np.testing.assert_array_equal(again.codes, q.codes)


# --- ×2^k ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", FOUND_EXACTLY)
@settings(deadline=None, max_examples=30)
@given(
    tensors(2.0**-12, 2.0**12),
    st.sampled_from(["float32", "pow2", "pow2:nearest"]),
    st.integers(-20, 20),
    st.sampled_from([2, 3, 4, 5, 6]),
    st.sampled_from([*NEAREST, *OTHERS[:3]]),
)
def test_powers_of_two_pass_through(
    spec: str, x: np.ndarray, scale_format: str, k: int, bits: int, rounding: str
) -> None:
    axes = {"granularity": "token", "rounding": rounding, "scale_format": scale_format}
    if spec == "uniform:offset=none":
        assume((x.min(axis=1) < x.max(axis=1)).all())  # else there is no range, and s = 1
    if spec.startswith(("pot:signed=false", "apot:k=8")):
        bits = min(bits, 5)  # all stays normal
    once = quantize(x, spec, bits, **axes)
    moved = quantize(np.ldexp(x, k), spec, bits, **axes)
    np.testing.assert_array_equal(moved.codes, once.codes)
    np.testing.assert_array_equal(moved.dequantize(), np.ldexp(once.dequantize(), k))


# --- negation ------------------------------------------------------------------------------------

ODD = ["half-even", "half-toward-zero", "half-away", "toward-zero"]
MIRRORED = ["symmetric", "apot", "apot:k=1", "apot:k=8", "pot", "pot:domain=linear"]


@pytest.mark.parametrize("spec", MIRRORED)
@settings(deadline=None, max_examples=50)
@given(
    tensors(2.0**-15, 2.0**15),
    st.sampled_from(ODD),
    st.integers(2, 8),
    st.sampled_from(["float32", "float16", "pow2"]),
)
def test_negation_passes_through(
    spec: str, x: np.ndarray, rounding: str, bits: int, scale_format: str
) -> None:
    axes = {"granularity": "channel:0", "rounding": rounding, "scale_format": scale_format}
    once = quantize(x, spec, bits, **axes)
    mirrored = quantize(-x, spec, bits, **axes)
    np.testing.assert_array_equal(mirrored.scale, once.scale)
    np.testing.assert_array_equal(mirrored.codes, -once.codes)
    np.testing.assert_array_equal(mirrored.dequantize(), -once.dequantize())


@pytest.mark.parametrize("rounding", [*NEAREST, *OTHERS])
@pytest.mark.parametrize("spec", ["symmetric", "apot"])
def test_negation_passes_through_four_policies_and_no_other(spec: str, rounding: str) -> None:
    bits = 5
    units = qcore.create("scheme", spec, bits=bits).grid.units
    ties = (units[1:] + units[:-1]) / 2
    x = np.append(ties, units[-1]).astype(np.float32)  # so that s = 1
    once = quantize(x, spec, bits, rounding=rounding)
    mirrored = quantize(-x, spec, bits, rounding=rounding)
    assert once.scale.tolist() == [1]
    assert bool((mirrored.codes == -once.codes).all()) == (rounding in ODD)


# --- noise ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("granularity", ["tensor", "channel:0", "group:1024"])
@pytest.mark.parametrize("bits", [6, 7, 8])
@pytest.mark.parametrize("spec", ["symmetric", "asymmetric", "uniform"])
def test_noise_is_a_twelfth_of_the_squared_step(spec: str, bits: int, granularity: str) -> None:
    x = np.random.default_rng(bits).normal(0, 1, (64, 2048)).astype(np.float32)
    q = quantize(x, spec, bits, granularity=granularity)
    noise = ((q.dequantize().astype(np.float64) - x) ** 2).sum()
    expected = (q.scale.astype(np.float64) ** 2).sum() * (x.size / q.scale.size) / 12
    assert noise / expected == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("cut", [False, True], ids=["signed", "negatives cut to zero"])
@pytest.mark.parametrize(("n", "matrices"), [(16, 2000), (64, 200)])
def test_noise_over_signal_follows_the_largest_element(n: int, matrices: int, cut: bool) -> None:
    x = np.random.default_rng(n).normal(0, 1, (matrices, n * n)).astype(np.float32)
    if cut:
        x = np.maximum(x, 0)
    largest = np.abs(x).max(axis=1, keepdims=True)
    params = qcore.QuantParams(largest / np.float32(128))
    # The scale is max/128, and the code 128 must not be clipped.
    q = quantize(x, "symmetric", 9, granularity="channel:0", params=params)
    error = (q.dequantize().astype(np.float64) - x) ** 2
    signal = 0.5 if cut else 1.0
    ratio = error.mean() / signal
    expected = (largest.astype(np.float64) ** 2).mean() / (12 * 128**2)
    assert ratio == pytest.approx(expected, rel=0.03)


def test_above_six_bits_one_more_is_worth_six_decibels() -> None:
    x = np.random.default_rng(0).normal(0, 1, 1 << 17).astype(np.float32)
    sqnr = []
    for bits in (6, 7, 8):
        error = quantize(x, "symmetric", bits).dequantize() - x
        sqnr.append(10 * np.log10(float((x**2).sum() / (error**2).sum())))
    assert np.diff(sqnr) == pytest.approx(6.1, abs=0.1)

"""asymmetric: x̂ = s · (q − z), where z is the integer that stands for zero."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qcore

X = [0.21535037, 1.2962357, -1.0161772]
TINY = 2.0**-126
BITS = [2, 3, 4, 5, 6, 7, 8, 12, 16]
OUTSIDE = "asymmetric:include_zero=false"
SPECS = ["asymmetric", "asymmetric:signed=false"]


def quantize(
    x: object, bits: int = 8, spec: str = "asymmetric", **axes: str
) -> qcore.QuantizedTensor:
    return qcore.quantize(np.asarray(x), qcore.Recipe(spec, bits, **axes))


def zero_points(q: qcore.QuantizedTensor) -> list[int]:
    assert q.zero_point is not None
    assert q.zero_point.dtype == np.int32
    return [int(z) for z in q.zero_point.ravel()]


def ulp(value: float) -> float:
    """From |value| to the next float32."""
    return float(np.ldexp(1.0, max(int(np.frexp(value)[1]) - 24, -149)))


# --- worked example ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_worked_example(dtype: type) -> None:
    q = quantize(np.array(X, dtype))
    assert q.scale.tolist() == [float(np.float32(0.0090682853))]
    assert zero_points(q) == [-16]
    assert q.codes.tolist() == [8, 127, -128]
    expected = np.array([0.21763885, 1.2967647, -1.0156479], np.float32)
    np.testing.assert_array_equal(q.dequantize(), expected, strict=True)


def test_unsigned_codes_are_128_higher() -> None:
    q = quantize(np.array(X, np.float32), 8, "asymmetric:signed=false")
    assert zero_points(q) == [112]
    assert q.codes.tolist() == [136, 255, 0]
    expected = quantize(np.array(X, np.float32)).dequantize()
    np.testing.assert_array_equal(q.dequantize(), expected)


# --- grid and params -----------------------------------------------------------------------------


FLOATS = st.floats(-(2.0**60), 2.0**60, width=32)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("spec", SPECS)
@settings(deadline=None, max_examples=40)
@given(st.lists(FLOATS, min_size=1, max_size=20))
def test_scale_zero_point_and_codes_follow_the_formulas(
    spec: str, bits: int, values: list[float]
) -> None:
    x = np.array(values, np.float32)
    q = quantize(x, bits, spec)
    lo, hi = min(x.min(), np.float32(0)), max(x.max(), np.float32(0))
    qmin, qmax = q.recipe.parts.quantizer.code_range
    if lo == hi:
        assert (q.scale.tolist(), zero_points(q)) == ([1], [0])
        return
    scale = max((hi - lo) / np.float32(qmax - qmin), np.float32(TINY))
    assert q.scale.tolist() == [scale]
    (z,) = zero_points(q)
    if scale > TINY:
        assert z == np.rint(np.float64(qmin) - np.float64(lo / scale))
    np.testing.assert_array_equal(q.codes, np.clip(np.rint(x / scale) + z, qmin, qmax))
    np.testing.assert_array_equal(q.dequantize(), (q.codes.astype(np.float32) - z) * scale)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("spec", SPECS)
@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20)
)
def test_zero_is_a_code_and_exact(spec: str, bits: int, values: list[float]) -> None:
    x = np.array([0.0, *values], np.float32)
    q = quantize(x, bits, spec)
    qmin, qmax = q.recipe.parts.quantizer.code_range
    (z,) = zero_points(q)
    assert qmin <= z <= qmax
    assert q.codes[0] == z
    assert q.dequantize()[0] == 0


@pytest.mark.parametrize(("lo", "z"), [(-0.5, 0), (-1.5, 2), (-2.5, 2)], ids=["0.5", "1.5", "2.5"])
@pytest.mark.parametrize("rounding", ["half-even", "half-up", "half-away", "floor", "stochastic:1"])
def test_a_zero_point_is_rounded_half_even_whatever_the_policy(
    rounding: str, lo: float, z: int
) -> None:
    x = np.array([0, 1], np.float32)
    q = quantize(
        x,
        2,
        "asymmetric:signed=false",
        rounding=rounding,
        observer=f"fixed:{lo}:{lo + 3}",
    )
    assert q.scale.tolist() == [1]
    assert zero_points(q) == [z]


def test_the_form_from_above_gives_the_same_zero_point_away_from_ties() -> None:
    random = np.random.default_rng(0)
    ends = np.sort(random.normal(0, 1, (200_000, 2)).astype(np.float32), axis=1)
    ends = ends[(ends[:, 0] < 0) & (ends[:, 1] > 0)]
    q = quantize(ends, 8, granularity="channel:0")
    scale = q.scale.astype(np.float64)[:, 0]
    above = 127 - np.rint(ends[:, 1] / q.scale[:, 0])
    exact = -128 - ends[:, 0] / scale
    away = np.abs(exact - np.floor(exact) - 0.5) > 2e-5
    assert away.mean() > 0.99
    assert q.zero_point is not None
    np.testing.assert_array_equal(q.zero_point[away, 0], above[away])


@pytest.mark.parametrize(
    ("x", "z", "codes"),
    [
        ([1.0, 2.55], 0, [100, 255]),  # widened down to zero
        ([-2.55, -1.0], 255, [0, 155]),  # and up
    ],
)
def test_a_range_on_one_side_is_widened_to_hold_zero(
    x: list[float], z: int, codes: list[int]
) -> None:
    q = quantize(np.array(x, np.float32), 8, "asymmetric:signed=false")
    assert q.scale.item() == pytest.approx(0.01)
    assert zero_points(q) == [z]
    assert q.codes.tolist() == codes


@pytest.mark.parametrize(
    ("scale_format", "scale", "z"), [("pow2", 1 / 64, -64), ("pow2:floor", 1 / 128, 0)]
)
def test_zero_point_and_codes_follow_from_the_scale_as_stored(
    scale_format: str, scale: float, z: int
) -> None:
    x = np.linspace(-1, 2, 101, dtype=np.float32)
    q = quantize(x, 8, scale_format=scale_format)
    assert q.scale.tolist() == [scale]
    assert zero_points(q) == [z]
    np.testing.assert_array_equal(q.codes, np.clip(np.rint(x / scale) + z, -128, 127))


def test_a_zero_point_that_is_a_code_takes_a_codes_bits() -> None:
    x = np.random.default_rng(0).normal(0, 1, (4, 64)).astype(np.float32)
    assert quantize(x, 4, granularity="group:32").bits_per_weight == 4 + (32 + 4) / 32
    outside = quantize(x, 4, OUTSIDE, granularity="group:32")
    assert outside.bits_per_weight == 4 + (32 + 32) / 32


# --- a range without zero ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "signed", "z"),
    [
        ([10, 11], True, -128 - 2550),
        ([10, 11], False, -2550),
        ([-11, -10], True, -128 + 2805),
        ([-11, -10], False, 2805),
    ],
)
def test_without_zero_in_range_the_zero_point_is_no_code(
    x: list[float], signed: bool, z: int
) -> None:
    values = np.linspace(*x, 100, dtype=np.float32)
    q = quantize(values, 8, f"{OUTSIDE}:signed={str(signed).lower()}")
    assert q.scale.item() == pytest.approx(1 / 255)
    assert zero_points(q) == [z]
    low = -128 if signed else 0
    assert (q.codes.min(), q.codes.max()) == (low, low + 255)
    error = np.abs(q.dequantize().astype(np.float64) - values).max()
    assert error <= q.scale.item() / 2 + 2 * ulp(11)


def test_a_range_with_zero_is_the_same_either_way() -> None:
    x = np.random.default_rng(0).normal(0, 1, (20, 50)).astype(np.float32)
    with_zero = quantize(x, 5, granularity="channel:0")
    either = quantize(x, 5, OUTSIDE, granularity="channel:0")
    np.testing.assert_array_equal(either.codes, with_zero.codes)
    assert zero_points(either) == zero_points(with_zero)


def test_a_zero_point_beyond_2_to_the_20_is_an_error_that_names_the_way_out() -> None:
    x = np.array([10000, 10001], np.float32)
    with pytest.raises(qcore.RangeError) as caught:
        quantize(x, 8, OUTSIDE)
    assert str(caught.value) == (
        "zero point -2550128 is beyond ±2^20, where float32 loses the codes; "
        "use asymmetric with include_zero=true, or uniform"
    )


@pytest.mark.parametrize(("lo", "fits"), [(2.0**20, True), (2.0**20 + 1, False)])
def test_a_zero_point_of_2_to_the_20_is_the_last(lo: float, fits: bool) -> None:
    x = np.array([lo, lo + 255], np.float32)  # s = 1, z = −lo
    if fits:
        q = quantize(x, 8, f"{OUTSIDE}:signed=false")
        assert zero_points(q) == [-(2**20)]
        assert q.codes.tolist() == [0, 255]
        assert q.dequantize().tolist() == x.tolist()
    else:
        with pytest.raises(qcore.RangeError, match=r"^zero point -1048577 is beyond ±2\^20"):
            quantize(x, 8, f"{OUTSIDE}:signed=false")

"""Scale formats store the nearest number that they have, as NumPy, ml_dtypes and fractions say."""

from __future__ import annotations

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qcore

SPECS = ["float32", "float16", "bfloat16", "pow2", "pow2:nearest", "pow2:floor"]
SMALLEST = {"float32": 2.0**-126, "float16": 2.0**-24, "bfloat16": 2.0**-126, "pow2": 2.0**-126}
LARGEST_BFLOAT16 = (2 - 2.0**-7) * 2.0**127
LARGEST_FLOAT32 = float(np.finfo(np.float32).max)


def scale_format(spec: str) -> qcore.ScaleFormat:
    made = qcore.create("scale_format", spec)
    assert isinstance(made, qcore.ScaleFormat)
    return made


def snapped(spec: str, *scales: float, dtype: type = np.float64) -> list[float]:
    values: list[float] = scale_format(spec).snap(np.array(scales, dtype)).tolist()
    return values


# --- what every format does ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("id", "bits"), [("float32", 32), ("float16", 16), ("bfloat16", 16), ("pow2", 8)]
)
def test_a_scale_takes_its_formats_bits(id: str, bits: int) -> None:
    assert scale_format(id).bits == bits
    recipe = qcore.Recipe("symmetric", 4, "group:8", scale_format=id)
    q = qcore.quantize(np.ones((3, 16), np.float32), recipe)
    assert q.bits_per_weight == 4 + bits / 8


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("spec", SPECS)
def test_scales_stay_in_shape_and_become_float32(spec: str, dtype: type) -> None:
    scale = np.array([[1.0], [0.3], [7e-5]], dtype)
    before = scale.copy()
    stored = scale_format(spec).snap(scale)
    assert stored.shape == (3, 1)
    assert stored.dtype == np.float32
    np.testing.assert_array_equal(scale, before)


@pytest.mark.parametrize("spec", SPECS)
@settings(deadline=None, max_examples=40)
@given(st.floats(2.0**-24, 60000.0))
def test_what_is_stored_is_stored_as_it_is(spec: str, scale: float) -> None:
    (once,) = snapped(spec, scale)
    assert snapped(spec, once) == [once]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("factor", [0.999, 0.5, 0.25, 1e-9])
def test_a_scale_below_the_smallest_is_raised_to_it(spec: str, factor: float) -> None:
    smallest = SMALLEST[spec.split(":")[0]]
    assert snapped(spec, smallest * factor, smallest) == [smallest, smallest]


@pytest.mark.parametrize("spec", SPECS)
def test_the_smallest_float32_is_raised_to_the_smallest_scale(spec: str) -> None:
    assert snapped(spec, 1e-45, dtype=np.float32) == [SMALLEST[spec.split(":")[0]]]


@pytest.mark.parametrize(
    ("spec", "scale", "message"),
    [
        ("float16", 65520.0, "a scale of 65520 is too large for float16 (at most 65"),
        ("float16", 1e9, "a scale of 1e+09 is too large for float16 (at most 65"),
        ("bfloat16", 3.4e38, "a scale of 3.4e+38 is too large for bfloat16 (at most 3.38953e+38)"),
        ("pow2", 1.8e38, "a scale of 1.8e+38 is too large for pow2 (at most 1.70141e+38)"),
        (
            "pow2:nearest",
            3e38,
            "a scale of 3e+38 is too large for pow2:nearest (at most 1.70141e+38",
        ),
        ("pow2:floor", 1e39, "a scale of 1e+39 is too large for pow2:floor (at most 1.70141e+38)"),
    ],
)
def test_a_scale_above_the_largest_is_an_error_that_names_the_way_out(
    spec: str, scale: float, message: str
) -> None:
    with pytest.raises(qcore.RangeError) as caught:
        snapped(spec, 1.0, scale)
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith("; use scale_format=float32")


def test_float32_does_not_send_one_to_float32() -> None:
    with pytest.raises(qcore.RangeError) as caught:
        snapped("float32", 1e39)
    assert "a scale of 1e+39 is too large for float32 (at most 3.40282e+38)" in str(caught.value)
    assert "use scale_format=float32" not in str(caught.value)


@pytest.mark.parametrize("spec", SPECS)
def test_an_infinite_scale_is_too_large_for_every_format(spec: str) -> None:
    with pytest.raises(qcore.RangeError, match="a scale of inf is too large"):
        snapped(spec, np.inf)


@pytest.mark.parametrize("spec", SPECS)
def test_a_format_is_written_as_it_is_read(spec: str) -> None:
    made = scale_format(spec)
    assert str(made) == spec
    assert type(made).from_config(made.config()) == made


def test_an_unknown_pow2_mode_names_the_ones_there_are() -> None:
    with pytest.raises(qcore.SpecError) as caught:
        scale_format("pow2:mode=ceil")
    assert str(caught.value) == "'pow2': mode=ceil is not one of up, nearest, floor"


# --- float32, float16, bfloat16 ------------------------------------------------------------------


@settings(deadline=None)
@given(st.floats(2.0**-126, LARGEST_FLOAT32))
def test_float32_is_numpys(scale: float) -> None:
    assert snapped("float32", scale) == [float(np.float32(scale))]


@settings(deadline=None)
@given(st.floats(2.0**-126, LARGEST_FLOAT32, width=32))
def test_float32_keeps_every_normal_float32(scale: float) -> None:
    assert snapped("float32", scale, dtype=np.float32) == [scale]


def test_float16_keeps_every_positive_float16() -> None:
    all_positive = np.arange(1, 0x7C00, dtype=np.uint16).view(np.float16)
    stored = scale_format("float16").snap(all_positive.astype(np.float32))
    np.testing.assert_array_equal(stored, all_positive.astype(np.float32), strict=True)


@pytest.mark.parametrize("width", [32, 64])
def test_float16_is_numpys_cast(width: int) -> None:
    dtype = np.dtype(f"f{width // 8}")
    scales = (2.0 ** np.random.default_rng(width).uniform(-24, 15.9, 100_000)).astype(dtype)
    all_positive = np.arange(1, 0x7BFF, dtype=np.uint16).view(np.float16).astype(dtype)
    next_one = np.arange(2, 0x7C00, dtype=np.uint16).view(np.float16).astype(dtype)
    ties = (all_positive + next_one) / 2
    scales = np.concatenate(
        [scales, ties, np.nextafter(ties, 0), np.nextafter(ties, dtype.type(9e4))]
    )
    stored = scale_format("float16").snap(scales)
    np.testing.assert_array_equal(stored, scales.astype(np.float16).astype(np.float32), strict=True)


def test_float16_holds_what_rounds_to_its_largest() -> None:
    assert snapped("float16", 65504.0, 65519.99) == [65504.0, 65504.0]


def test_bfloat16_keeps_every_positive_normal_bfloat16() -> None:
    all_normal = (np.arange(0x0080, 0x7F80, dtype=np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(
        scale_format("bfloat16").snap(all_normal), all_normal, strict=True
    )


@pytest.mark.parametrize("width", [32, 64])
def test_bfloat16_is_ml_dtypes_cast(width: int) -> None:
    dtype = np.dtype(f"f{width // 8}")
    scales = (2.0 ** np.random.default_rng(width).uniform(-126, 127.9, 100_000)).astype(dtype)
    all_normal = (np.arange(0x0080, 0x7F80, dtype=np.uint32) << 16).view(np.float32).astype(dtype)
    ties = all_normal[:-1] / 2 + all_normal[1:] / 2
    ties = ties[ties > 2.0**-120]
    beside = [np.nextafter(ties, dtype.type(end)) for end in (0, np.inf)]
    scales = np.concatenate([scales, ties, *beside])
    expected = scales.astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(scale_format("bfloat16").snap(scales), expected, strict=True)


def test_bfloat16_goes_to_its_largest() -> None:
    assert snapped("bfloat16", LARGEST_BFLOAT16) == [LARGEST_BFLOAT16]


# --- powers of two -------------------------------------------------------------------------------


def exactly(mode: str, scale: float) -> Fraction:
    """The power of two for a scale, by whole numbers alone."""
    exact = Fraction(scale)
    k = exact.numerator.bit_length() - exact.denominator.bit_length()
    while Fraction(2) ** k > exact:
        k -= 1
    while Fraction(2) ** (k + 1) <= exact:
        k += 1
    above = {
        "up": exact > Fraction(2) ** k,
        "nearest": exact**2 >= Fraction(2) ** (2 * k + 1),
        "floor": False,
    }[mode]
    return Fraction(2) ** (k + above)


@pytest.mark.parametrize("mode", ["up", "nearest", "floor"])
@settings(deadline=None, max_examples=80)
@given(
    st.one_of(
        st.floats(2.0**-126, 2.0**127),
        st.floats(2.0**-126, 2.0**127, width=32),
        st.floats(0.5, 4),
        st.integers(-126, 127).map(lambda k: 2.0**k),
    )
)
def test_pow2_is_exact(mode: str, scale: float) -> None:
    stored = exactly(mode, scale)
    if stored <= 2**127:
        assert [Fraction(value) for value in snapped(f"pow2:{mode}", scale)] == [stored]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mode", ["up", "nearest", "floor"])
def test_pow2_is_exact_beside_every_power_and_every_root(mode: str, dtype: type) -> None:
    powers = np.ldexp(dtype(1), np.arange(-125, 127))
    roots = powers * dtype(0.5**0.5)
    at = np.concatenate([powers, roots])
    for scales in (at, np.nextafter(at, dtype(0)), np.nextafter(at, dtype(np.inf))):
        stored = scale_format(f"pow2:{mode}").snap(scales)
        expected = [float(exactly(mode, scale)) for scale in scales.tolist()]
        assert stored.tolist() == expected


def test_pow2_goes_up_just_above_a_power_where_log2_of_a_float32_cannot() -> None:
    scale = np.nextafter(np.float32(2.0**20), np.float32(np.inf))
    assert np.log2(scale) == 20  # the trap
    assert snapped("pow2", float(scale), dtype=np.float32) == [2.0**21]


def test_pow2_up_clips_nothing() -> None:
    x = np.random.default_rng(0).normal(0, 1, (64, 64)).astype(np.float32)
    q = qcore.quantize(x, scheme="symmetric", bits=8, granularity="channel:0", scale_format="pow2")
    assert (np.frexp(q.scale)[0] == 0.5).all()
    assert (127 * q.scale >= np.abs(x).max(axis=1, keepdims=True)).all()


@pytest.mark.parametrize(
    ("mode", "largest"),
    [("up", 2.0**127), ("nearest", 1.414 * 2.0**127), ("floor", LARGEST_FLOAT32)],
)
def test_pow2_reaches_2_to_the_127(mode: str, largest: float) -> None:
    assert snapped(f"pow2:{mode}", largest) == [2.0**127]

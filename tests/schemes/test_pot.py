"""pot: x̂ = ± s · 2^−i, in float64 until it is decoded, with the exponent rounded."""

from __future__ import annotations

import itertools
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qcore

LARGEST = float(np.finfo(np.float32).max)
BITS = range(2, 9)
SPECS = ["pot", "pot:signed=false", "pot:domain=linear", "pot:signed=false:domain=linear"]


def quantize(x: object, bits: int = 4, spec: str = "pot", **axes: str) -> qcore.QuantizedTensor:
    return qcore.quantize(np.asarray(x), qcore.Recipe(spec, bits, **axes))


def grid(bits: int, spec: str = "pot") -> qcore.LevelGrid:
    made = qcore.create("scheme", spec, bits=bits).grid
    assert isinstance(made, qcore.LevelGrid)
    return made


def by_formula(bits: int) -> list[float]:
    """{0} ∪ {2^−i : i = 0 … 2^bits − 2}."""
    return sorted([0.0, *(2.0**-i for i in range(2**bits - 1))])


# --- levels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("domain", ["log", "linear"])
@pytest.mark.parametrize("bits", BITS)
def test_unsigned_levels_are_zero_and_the_powers_of_two(bits: int, domain: str) -> None:
    made = grid(bits, f"pot:signed=false:domain={domain}")
    assert made.levels.tolist() == by_formula(bits)
    assert made.code_range == (0, 2**bits - 1)
    codes = np.arange(1, 2**bits)
    np.testing.assert_array_equal(made.decode(codes, None), 2.0 ** (codes - (2**bits - 1)))


@pytest.mark.parametrize("domain", ["log", "linear"])
@pytest.mark.parametrize("bits", BITS)
def test_signed_levels_are_sign_times_those_of_one_bit_less(bits: int, domain: str) -> None:
    made = grid(bits, f"pot:domain={domain}")
    positive = by_formula(bits - 1)
    assert made.levels.tolist() == [-level for level in positive[:0:-1]] + positive
    assert made.code_range == (1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1)
    assert made.code_bits == bits


def test_the_smallest_sets_are_these() -> None:
    assert grid(2).levels.tolist() == [-1, 0, 1]
    assert grid(3).levels.tolist() == [-1, -0.5, -0.25, 0, 0.25, 0.5, 1]
    assert grid(2, "pot:signed=false").levels.tolist() == [0, 0.25, 0.5, 1]


def test_levels_are_held_beyond_what_float32_holds() -> None:
    levels = grid(8, "pot:signed=false").levels
    assert levels.dtype == np.float64
    assert levels[1] == 2.0**-254
    assert len(np.unique(levels)) == 256
    assert len(np.unique(levels.astype(np.float32))) == 151


@pytest.mark.parametrize("bits", BITS)
def test_thresholds_lie_half_an_exponent_up_or_in_the_middle(bits: int) -> None:
    levels = by_formula(bits)
    rounded = grid(bits, "pot:signed=false").cuts
    exponents = np.log2(levels[1:])
    np.testing.assert_allclose(np.log2(rounded), exponents - 0.5, rtol=1e-15)
    assert np.log2(rounded[0]) == 0.5 - (2**bits - 1)  # where underflow begins
    middles = grid(bits, "pot:signed=false:domain=linear").cuts
    assert middles.tolist() == [(a + b) / 2 for a, b in itertools.pairwise(levels)]


# --- codes ---------------------------------------------------------------------------------------


def test_the_domains_part_between_the_root_of_two_and_the_middle() -> None:
    x = np.array([1, 0.72, 0.74, 0.76, 0.5, 0.36, 0.37, 0.38, 0.03], np.float32)
    assert quantize(x, 4).codes.tolist() == [7, 7, 7, 7, 6, 6, 6, 6, 2]
    linear = quantize(x, 4, "pot:domain=linear")
    assert linear.codes.tolist() == [7, 6, 6, 7, 6, 5, 5, 6, 2]


def test_what_is_given_as_codes_comes_back_as_powers_of_two_of_the_scale() -> None:
    x = np.array([-3, 1.5, 0.75, -0.375, 0], np.float32)
    q = quantize(x, 4)
    assert q.scale.tolist() == [3]
    assert q.zero_point is None
    assert q.codes.tolist() == [-7, 6, 5, -4, 0]
    assert q.dequantize().tolist() == x.tolist()


@settings(deadline=None, max_examples=80)
@given(st.floats(2.0**-30, 1.0, width=32), st.sampled_from([5, 6, 7]))
def test_the_exponent_is_rounded_as_decimal_arithmetic_rounds_it(value: float, bits: int) -> None:
    q = quantize(np.array([1.0, value], np.float32), bits, "pot:signed=false")
    with localcontext() as context:
        context.prec = 60
        exponent = Decimal(value).ln() / Decimal(2).ln()
    assert q.codes[1] == int(exponent.to_integral_value()) + 2**bits - 1


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("bits", [4, 5, 6])
def test_the_relative_error_is_bounded_above_underflow(bits: int, spec: str) -> None:
    x = np.random.default_rng(bits).uniform(0, 1, 5000).astype(np.float32)
    q = quantize(x, bits, spec)
    units = q.recipe.parts.quantizer.grid.units
    smallest = units[units > 0][0] * q.scale
    above = x > smallest * (1 if "linear" in spec else 0.5**0.5)
    assert above.sum() > 4000
    relative = np.abs(q.dequantize()[above] / x[above] - 1)
    bound = 1 / 3 if "linear" in spec else 2**0.5 - 1
    assert relative.max() <= bound * (1 + 1e-6)


def test_more_bits_than_five_buy_little() -> None:
    x = np.random.default_rng(0).normal(0, 1, 1 << 16).astype(np.float32)
    sqnr = []
    for bits in (4, 5, 6, 7, 8):
        error = quantize(x, bits).dequantize() - x
        sqnr.append(10 * np.log10(float((x**2).sum() / (error**2).sum())))
    assert all(13.5 < db < 14.5 for db in sqnr[1:])
    assert sqnr[-1] - sqnr[1] < 0.1


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("bits", BITS)
def test_the_scale_is_the_largest_magnitude(bits: int, spec: str) -> None:
    x = np.random.default_rng(bits).normal(0, 1, (20, 50)).astype(np.float32)
    q = quantize(x, bits, spec, granularity="channel:0")
    largest = (x if "signed=false" in spec else np.abs(x)).max(axis=1, keepdims=True)
    np.testing.assert_array_equal(q.scale, largest)
    assert q.bits_per_weight == bits + 32 / 50


# --- edges ---------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.floats(2.0**-126, LARGEST, width=32),
    st.booleans(),
    st.sampled_from(BITS),
    st.sampled_from(SPECS),
)
def test_a_constant_block_is_exact(value: float, negative: bool, bits: int, spec: str) -> None:
    signed = -value if negative and "signed=false" not in spec else value
    assert (
        quantize(np.full(4, signed, np.float32), bits, spec).dequantize().tolist() == [signed] * 4
    )


@pytest.mark.parametrize("spec", SPECS)
def test_decoding_below_float32_gives_zero_without_a_warning(spec: str) -> None:
    x = np.array([1e-30, 1e-33, 1e-45, 0], np.float32)
    values = quantize(x, 8, spec).dequantize()
    assert np.isfinite(values).all()
    assert values[0] == x[0]
    assert values[3] == 0

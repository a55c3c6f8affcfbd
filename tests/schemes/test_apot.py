"""apot: sums of powers of two, with symmetric at one end of k and pot at the other."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import qcore

BITS = range(2, 9)


def quantize(x: object, bits: int = 4, spec: str = "apot", **axes: str) -> qcore.QuantizedTensor:
    return qcore.quantize(np.asarray(x), qcore.Recipe(spec, bits, **axes))


def grid(bits: int, spec: str = "apot") -> qcore.LevelGrid:
    made = qcore.create("scheme", spec, bits=bits).grid
    assert isinstance(made, qcore.LevelGrid)
    return made


def units(magnitude: int, k: int = 2) -> list[float]:
    return grid(magnitude, f"apot:k={k}:signed=false").units.tolist()


# --- level sets ----------------------------------------------------------------------------------


def sums(*terms: list[int]) -> np.ndarray:
    """Every sum of one element of each term: zero, or 2 to the minus one of its exponents."""
    sets = [[0.0, *(2.0**-exponent for exponent in term)] for term in terms]
    return np.array(sorted(sum(choice) for choice in itertools.product(*sets)))


B3 = [0, 1, 2, 3, 4, 6, 8, 10]
B4 = [0, 1, 2, 3, 4, 6, 8, 9, 12, 16, 18, 24, 32, 33, 36, 48]
B5 = sums([1, 3, 6], [2, 4, 7], [5])
B6 = sums(*([1 + t, 4 + t, 7 + t] for t in range(3)))
B7 = sums([0, 3, 7], [1, 4, 8], [2, 5, 9], [6])
B8 = sums(*([i, i + 4, i + 8] for i in range(4)))


def test_two_magnitude_bits_are_one_term() -> None:
    assert units(2) == [0, 1, 2, 4]


def test_three_magnitude_bits_have_an_odd_term() -> None:
    assert units(3) == B3


def test_four_magnitude_bits_are_two_terms() -> None:
    assert units(4) == B4


@pytest.mark.parametrize(
    ("magnitude", "expected", "largest"),
    [(5, B5, 25 / 32), (6, B6, 7 / 8), (7, B7, 1.75 + 1 / 64), (8, B8, 15 / 8)],
)
def test_wider_sets_are_the_listed_sums(
    magnitude: int, expected: np.ndarray, largest: float
) -> None:
    made = grid(magnitude, "apot:signed=false")
    assert len(made.units) == 2**magnitude
    assert expected[-1] == largest
    np.testing.assert_array_equal(made.levels, expected / largest)
    assert (made.units == np.rint(made.units)).all()


def test_the_smallest_level_of_eight_magnitude_bits_is_1_over_3840() -> None:
    assert grid(8, "apot:signed=false").levels[1] == 1 / 3840


def by_formula(magnitude: int, k: int) -> np.ndarray:
    """Σ pᵢ, pᵢ in {0, 2^−i, 2^−(i+n), …, 2^−(i+(2^k−2)n)}, over i = 0 … n−1, n = magnitude / k."""
    n = magnitude // k
    return sums(*([i + j * n for j in range(2**k - 1)] for i in range(n)))


EVEN_SPLITS = [(b, k) for b in range(1, 9) for k in range(1, b + 1) if b % k == 0]


@pytest.mark.parametrize(("magnitude", "k"), EVEN_SPLITS)
def test_an_even_split_follows_the_formula(magnitude: int, k: int) -> None:
    expected = by_formula(magnitude, k)
    assert len(np.unique(expected)) == 2**magnitude
    if magnitude <= 7:  # signed
        made = grid(magnitude + 1, f"apot:k={k}")
        mirrored = np.concatenate([-expected[:0:-1], expected])
        np.testing.assert_array_equal(made.levels, mirrored / expected[-1])
    if magnitude >= 2:
        made = grid(magnitude, f"apot:k={k}:signed=false")
        np.testing.assert_array_equal(made.levels, expected / expected[-1])


@pytest.mark.parametrize("bits", BITS)
def test_signed_codes_are_sign_times_magnitude_index(bits: int) -> None:
    made = grid(bits)
    half = 2 ** (bits - 1)
    assert made.code_range == (1 - half, half - 1)
    assert made.code_bits == bits
    np.testing.assert_array_equal(made.units, -made.units[::-1])
    if bits > 2:
        np.testing.assert_array_equal(made.units[half - 1 :], units(bits - 1))


@pytest.mark.parametrize("bits", BITS)
def test_unsigned_codes_are_the_index(bits: int) -> None:
    assert grid(bits, "apot:signed=false").code_range == (0, 2**bits - 1)


@pytest.mark.parametrize("k", [1, 2, 3, 8])
def test_two_signed_bits_are_ternary(k: int) -> None:
    assert grid(2, f"apot:k={k}").units.tolist() == [-1, 0, 1]


@pytest.mark.parametrize("bits", BITS)
def test_more_bits_a_term_than_there_are_mean_one_term(bits: int) -> None:
    assert grid(bits, "apot:k=100") == grid(bits, f"apot:k={bits - 1}")
    assert grid(bits, "apot:k=100:signed=false") == grid(bits, f"apot:k={bits}:signed=false")


@pytest.mark.parametrize(
    ("spec", "fit", "too_wide"),
    [
        ("apot:k=1", [2, 3, 4, 5, 6, 7, 8], []),
        ("apot", [2, 3, 4, 5, 6], [7, 8]),
        ("apot:k=3", [2, 3, 4], [7]),
        ("apot:k=8", [2, 3, 4], [5, 6, 7, 8]),
    ],
)
def test_units_fit_int8_up_to_these_widths(spec: str, fit: list[int], too_wide: list[int]) -> None:
    for bits in fit:
        as_int8 = grid(bits, spec).as_int8()
        assert as_int8 is not None
        np.testing.assert_array_equal(as_int8, grid(bits, spec).units)
    for bits in too_wide:
        assert grid(bits, spec).as_int8() is None


def test_the_largest_units_are_these() -> None:
    assert grid(6).largest == 100
    assert grid(7).largest == 448


# --- codes ---------------------------------------------------------------------------------------


def test_a_small_example() -> None:
    x = np.array([1.0, -0.82, 0.5, 0.15, -0.04, 0.05, 0], np.float32)  # units/10 … of B3
    q = quantize(x, 4)
    assert q.scale.tolist() == [float(np.float32(0.1))]
    assert q.codes.tolist() == [7, -6, 4, 2, 0, 0, 0]
    expected = np.array([10, -8, 4, 2, 0, 0, 0], np.float32) * np.float32(0.1)
    np.testing.assert_array_equal(q.dequantize(), expected)


FLOATS = st.one_of(
    st.just(0.0),
    st.floats(2.0**-60, 2.0**60, width=32),
    st.floats(-(2.0**60), -(2.0**-60), width=32),
)
BLOCKS = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=FLOATS
)


@pytest.mark.parametrize("signed", ["true", "false"])
@pytest.mark.parametrize("bits", BITS)
@settings(deadline=None, max_examples=25)
@given(
    BLOCKS,
    st.sampled_from(["tensor", "channel:0", "token", "channel:1"]),
    st.sampled_from(["float32", "pow2", "bfloat16"]),
    st.sampled_from(["half-even", "half-away", "floor"]),
)
def test_one_bit_a_term_is_the_symmetric_scheme(
    bits: int, signed: str, x: np.ndarray, granularity: str, scale_format: str, rounding: str
) -> None:
    axes = {"granularity": granularity, "scale_format": scale_format, "rounding": rounding}
    a = quantize(x, bits, f"apot:k=1:signed={signed}", **axes)
    b = quantize(x, bits, f"symmetric:signed={signed}", **axes)
    np.testing.assert_array_equal(a.scale, b.scale, strict=True)
    np.testing.assert_array_equal(a.codes, b.codes, strict=True)
    np.testing.assert_array_equal(a.dequantize(), b.dequantize(), strict=True)


@pytest.mark.parametrize("rounding", ["half-even", "half-down", "ceil", "stochastic:3"])
@pytest.mark.parametrize("signed", ["true", "false"])
@pytest.mark.parametrize("bits", BITS)
def test_one_bit_a_term_is_the_symmetric_scheme_on_many_values(
    bits: int, signed: str, rounding: str
) -> None:
    x = np.random.default_rng(bits).normal(0, 1, (64, 512)).astype(np.float32)
    axes = {"granularity": "group:64", "rounding": rounding}
    a = quantize(x, bits, f"apot:k=1:signed={signed}", **axes)
    b = quantize(x, bits, f"symmetric:signed={signed}", **axes)
    np.testing.assert_array_equal(a.codes, b.codes, strict=True)
    np.testing.assert_array_equal(a.dequantize(), b.dequantize(), strict=True)
    np.testing.assert_array_equal(
        grid(bits, f"apot:k=1:signed={signed}").units, b.recipe.parts.quantizer.grid.units
    )


@pytest.mark.parametrize("signed", ["true", "false"])
@pytest.mark.parametrize("bits", BITS)
@settings(deadline=None, max_examples=25)
@given(BLOCKS, st.sampled_from(["half-even", "half-up", "toward-zero"]))
def test_one_term_is_pot_with_the_nearest_level(
    bits: int, signed: str, x: np.ndarray, rounding: str
) -> None:
    one_term, linear = f"apot:k={bits}:signed={signed}", f"pot:signed={signed}:domain=linear"
    np.testing.assert_array_equal(grid(bits, one_term).levels, grid(bits, linear).levels)
    a = quantize(x, bits, one_term, granularity="token", rounding=rounding)
    b = quantize(x, bits, linear, granularity="token", rounding=rounding)
    np.testing.assert_array_equal(a.codes, b.codes, strict=True)
    np.testing.assert_array_equal(a.dequantize(), b.dequantize(), strict=True)


@pytest.mark.parametrize("bits", BITS)
def test_the_scale_takes_the_largest_magnitude_to_the_largest_unit(bits: int) -> None:
    x = np.random.default_rng(bits).normal(0, 1, (20, 50)).astype(np.float32)
    q = quantize(x, bits, granularity="channel:0")
    largest = np.abs(x).max(axis=1, keepdims=True)
    np.testing.assert_array_equal(q.scale, largest / np.float32(grid(bits).largest))
    assert (np.abs(q.codes.astype(int)).max(axis=1) == 2 ** (bits - 1) - 1).all()
    assert q.bits_per_weight == bits + 32 / 50


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bits", "spec", "magnitude", "k", "fits"),
    [
        (6, "apot:k=3", 5, 3, "1, 2, 5"),
        (6, "apot:k=4", 5, 4, "1, 2, 5"),
        (8, "apot:k=3", 7, 3, "1, 2, 7"),
        (8, "apot:k=6", 7, 6, "1, 2, 7"),
        (7, "apot:k=4", 6, 4, "1, 2, 3, 6"),
        (5, "apot:k=3", 4, 3, "1, 2, 4"),
        (8, "apot:k=3:signed=false", 8, 3, "1, 2, 4, 8"),
        (8, "apot:k=5:signed=false", 8, 5, "1, 2, 4, 8"),
        (5, "apot:k=0", 4, 0, "1, 2, 4"),
        (5, "apot:k=-1", 4, -1, "1, 2, 4"),
    ],
)
def test_a_split_that_does_not_work_names_those_that_do(
    bits: int, spec: str, magnitude: int, k: int, fits: str
) -> None:
    with pytest.raises(qcore.UsageError) as caught:
        qcore.create("scheme", spec, bits=bits)
    assert str(caught.value) == (
        f"'apot': {magnitude} magnitude bits do not split into terms of k={k} bits; "
        f"k that do at bits={bits}: {fits}"
    )


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", BITS)
def test_the_splits_that_are_named_work_and_no_others(bits: int, signed: bool) -> None:
    magnitude = bits - signed
    for k in range(1, 12):
        spec = f"apot:k={k}:signed={str(signed).lower()}"
        if k >= magnitude or magnitude % k == 0 or (k == 2 and magnitude % 2 == 1):
            made = qcore.create("scheme", spec, bits=bits)
            assert len(made.grid.units) == 2**bits - signed
        else:
            with pytest.raises(qcore.UsageError, match=f"k={k} bits"):
                qcore.create("scheme", spec, bits=bits)

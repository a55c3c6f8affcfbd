"""Grids give every value the code that a brute-force search gives it, and codes their values."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qcore
from qcore import IntegerGrid, LevelGrid

HALF_EVEN = qcore.create("rounding", "half-even")
NEAREST = ["half-even", "half-up", "half-down", "half-toward-zero", "half-away", "dpu"]

# The levels of bitsandbytes' NF4: sixteen, with zero at index 7, so that 8 lie above it.
NF4 = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)

_ALL = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
FLOAT16 = _ALL[np.isfinite(_ALL)].astype(np.float32)


# --- integers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("qmin", "qmax", "bits", "dtype"),
    [
        (0, 1, 1, "u1"),
        (-1, 0, 1, "i1"),
        (-1, 1, 2, "i1"),
        (-2, 1, 2, "i1"),
        (0, 3, 2, "u1"),
        (-7, 7, 4, "i1"),
        (-8, 7, 4, "i1"),
        (0, 15, 4, "u1"),
        (0, 8, 4, "u1"),
        (-8, 8, 5, "i1"),
        (-9, -5, 5, "i1"),
        (5, 9, 4, "u1"),
        (-127, 127, 8, "i1"),
        (-128, 127, 8, "i1"),
        (0, 255, 8, "u1"),
        (-128, 128, 9, "i2"),
        (0, 256, 9, "u2"),
        (-32768, 32767, 16, "i2"),
        (0, 65535, 16, "u2"),
    ],
)
def test_an_integer_grids_codes_take_the_fewest_bits(
    qmin: int, qmax: int, bits: int, dtype: str
) -> None:
    grid = IntegerGrid(qmin, qmax)
    assert grid.code_range == (qmin, qmax)
    assert grid.code_bits == bits
    assert grid.code_dtype == np.dtype(dtype)
    assert grid.largest == max(-qmin, qmax)
    units = grid.units
    assert units.tolist() == list(range(qmin, qmax + 1))
    codes = grid.encode(units.astype(np.float32), None, HALF_EVEN)
    assert codes.dtype == grid.code_dtype
    np.testing.assert_array_equal(codes, units)
    np.testing.assert_array_equal(grid.decode(codes, None), units)


def test_an_integer_grid_clips_what_lies_outside_infinities_too() -> None:
    t = np.array([-np.inf, -1e30, -129, -128.5, 126.5, 127.4, 3e9, np.inf], np.float32)
    codes = IntegerGrid(-128, 127).encode(t, None, HALF_EVEN)
    assert codes.tolist() == [-128, -128, -128, -128, 126, 127, 127, 127]


@pytest.mark.parametrize("z", [-128, -3, 0, 1, 127, 100_000, -(2**20)])
def test_a_zero_point_is_added_after_rounding_and_taken_off_again(z: int) -> None:
    grid = IntegerGrid(-128, 127)
    zero_point = np.array([[z]], np.int32)
    units = (grid.units - z)[None, :]
    codes = grid.encode(units.astype(np.float32), zero_point, HALF_EVEN)
    assert codes.tolist() == [list(range(-128, 128))]
    np.testing.assert_array_equal(grid.decode(codes, zero_point), units)


def test_rounding_ties_do_not_depend_on_the_zero_point() -> None:
    t = np.array([[0.5, 1.5, 2.5, -0.5]], np.float32)
    for z in (0, 1, 7):
        codes = IntegerGrid(-128, 127).encode(t, np.array([[z]], np.int32), HALF_EVEN)
        assert (codes - z).tolist() == [[0, 2, 2, 0]]


@pytest.mark.parametrize("z", [None, -3])
def test_clipped_on_an_integer_grid_is_further_than_half_a_step_outside(z: int | None) -> None:
    grid = IntegerGrid(-8, 7)
    shift = z or 0
    t = np.array([-8.6, -8.5, -8.0, 0.0, 7.0, 7.5, 7.6], np.float32) - np.float32(shift)
    zero_point = None if z is None else np.array(z, np.int32)
    assert grid.clipped(t, zero_point).tolist() == [True, *[False] * 5, True]


@pytest.mark.parametrize(("qmin", "qmax"), [(3, 3), (4, -4)])
def test_an_integer_grid_needs_two_codes(qmin: int, qmax: int) -> None:
    with pytest.raises(qcore.UsageError) as caught:
        IntegerGrid(qmin, qmax)
    assert str(caught.value) == f"an integer grid needs qmin < qmax, not {qmin} and {qmax}"


@pytest.mark.parametrize(
    ("grid", "fits"),
    [
        (IntegerGrid(-128, 127), True),
        (IntegerGrid(0, 127), True),
        (IntegerGrid(0, 255), False),
        (IntegerGrid(-129, 0), False),
        (LevelGrid([-128, 0, 5, 127]), True),
        (LevelGrid([0, 1, 128]), False),
        (LevelGrid([0, 0.5, 1]), True),
        (LevelGrid([-3.5, 0, 0.25, 7]), True),
        (LevelGrid([0, 2.0**-1074, 1]), False),
        (LevelGrid(NF4), False),
    ],
)
def test_units_are_int8_where_they_are_multiples_of_one_step_that_fit(
    grid: qcore.Grid, fits: bool
) -> None:
    units = grid.as_int8()
    assert (units is not None) == fits
    if units is not None:
        assert units.dtype == np.int8
        np.testing.assert_array_equal(units * grid.step, grid.units)
        assert np.gcd.reduce(units) == 1


# --- levels --------------------------------------------------------------------------------------

CODINGS = [
    ((-4, -2, -1, 0, 1, 2, 4), -3, 3, "i1"),  # symmetric: sign × magnitude index
    ((-2, -1, 0, 1), -2, 2, "i1"),  # one more below, as two's complement has it
    ((-1, 0, 1, 2), 0, 2, "u1"),  # one more above does not fit it: an index
    (NF4, 0, 4, "u1"),
    (tuple(-level for level in reversed(NF4)), -8, 4, "i1"),  # NF4 mirrored fits
    ((-1, 0, 1), -1, 2, "i1"),
    ((-1, 0, 1, 2, 3), -1, 3, "i1"),
    ((0, 1, 2, 4), 0, 2, "u1"),
    ((0, 1), 0, 1, "u1"),
    ((-1, 0), -1, 1, "i1"),
    ((-1, 1), 0, 1, "u1"),  # no zero
    ((0.5, 1, 2), 0, 2, "u1"),
    (tuple(range(-200, 201)), -200, 9, "i2"),
    (tuple(range(300)), 0, 9, "u2"),
]


@pytest.mark.parametrize(("levels", "first", "bits", "dtype"), CODINGS)
def test_codes_count_from_zero_where_twos_complement_can(
    levels: tuple[float, ...], first: int, bits: int, dtype: str
) -> None:
    grid = LevelGrid(levels)
    assert grid.first_code == first
    assert grid.code_range == (first, first + len(levels) - 1)
    assert grid.code_bits == bits
    assert grid.code_dtype == np.dtype(dtype)
    if first:
        assert grid.units[-first] == 0


@pytest.mark.parametrize(("levels", "first", "bits", "dtype"), CODINGS)
def test_level_codes_round_trip(
    levels: tuple[float, ...], first: int, bits: int, dtype: str
) -> None:
    grid = LevelGrid(levels)
    expected = np.arange(first, first + len(levels))
    np.testing.assert_array_equal(grid.decode(expected.astype(dtype), None), levels)
    codes = grid.encode(np.array(levels, np.float32), None, HALF_EVEN)
    assert codes.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(codes, expected)


@pytest.mark.parametrize(("levels", "first", "bits", "dtype"), CODINGS)
def test_levels_are_the_units_over_the_largest(
    levels: tuple[float, ...], first: int, bits: int, dtype: str
) -> None:
    grid = LevelGrid(levels)
    assert np.abs(grid.levels).max() == 1
    np.testing.assert_allclose(grid.levels * grid.largest, grid.units, rtol=1e-15)
    assert (np.diff(grid.levels) > 0).all()


def test_the_packed_codes_of_every_coding_come_back() -> None:
    for levels, first, bits, dtype in CODINGS:
        codes = np.arange(first, first + len(levels)).astype(dtype)
        packed = qcore.pack(codes, bits)
        unpacked = qcore.unpack(packed, bits, codes.shape, signed=first < 0)
        np.testing.assert_array_equal(unpacked, codes)


def test_beyond_the_ends_is_the_end() -> None:
    t = np.array([-np.inf, -1e30, -1.0001, 1.0001, np.inf], np.float32)
    for id in (*NEAREST, "floor", "ceil", "toward-zero"):
        codes = LevelGrid(NF4).encode(t, None, qcore.create("rounding", id))
        assert codes.tolist() == [0, 0, 0, 15, 15]


def test_clipped_on_a_level_grid_is_outside_the_end_levels() -> None:
    one = np.float32(1)
    t = np.array([-1.01, -1, 0, 1, np.nextafter(one, np.float32(2)), 1.01], np.float32)
    assert LevelGrid(NF4).clipped(t, None).tolist() == [True, *[False] * 4, True]


def test_thresholds_default_to_the_midpoints() -> None:
    assert LevelGrid([0, 1, 4]).cuts.tolist() == [0.5, 2.5]
    assert LevelGrid([0, 1, 4], [0.75, 4]).cuts.tolist() == [0.75, 4]


def test_equal_levels_make_equal_grids() -> None:
    assert LevelGrid([0, 1, 4]) == LevelGrid(np.array([0.0, 1.0, 4.0]))
    assert hash(LevelGrid([0, 1])) == hash(LevelGrid((0.0, 1.0)))
    assert LevelGrid([0, 1]) != LevelGrid([0, 1], [0.25])


def test_units_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        LevelGrid([0, 1]).units[0] = 5


@pytest.mark.parametrize(
    ("units", "thresholds", "message"),
    [
        ([], None, "a level grid needs at least two units, ascending, each one once"),
        ([1], None, "a level grid needs at least two units, ascending, each one once"),
        ([0, 2, 1], None, "a level grid needs at least two units, ascending, each one once"),
        ([0, 1, 1], None, "a level grid needs at least two units, ascending, each one once"),
        ([0, np.nan], None, "a level grid needs at least two units, ascending, each one once"),
        ([0, np.inf], None, "the units of a level grid are finite"),
        ([-np.inf, 0], None, "the units of a level grid are finite"),
        ([0, 1, 2], [0.5], "a level grid has one threshold between each unit and the next"),
        ([0, 1], [0.5, 0.6], "a level grid has one threshold between each unit and the next"),
        ([0, 1, 2], [0.5, 0.6], "a level grid has one threshold between each unit and the next"),
        ([0, 1, 2], [1.5, 0.5], "a level grid has one threshold between each unit and the next"),
        ([0, 1], [0], "a level grid has one threshold between each unit and the next"),
        ([0, 1], [np.nan], "a level grid has one threshold between each unit and the next"),
    ],
)
def test_a_level_grid_refuses_what_is_none(
    units: list[float], thresholds: list[float] | None, message: str
) -> None:
    with pytest.raises(qcore.UsageError) as caught:
        LevelGrid(units, thresholds)
    assert str(caught.value) == message


def test_a_level_grid_refuses_a_zero_point() -> None:
    grid, z = LevelGrid([0, 1]), np.array([[1]], np.int32)
    message = "a level grid has no zero point; give params with a scale alone"
    for refused in (
        lambda: grid.encode(np.zeros((1, 1), np.float32), z, HALF_EVEN),
        lambda: grid.decode(np.zeros((1, 1), np.uint8), z),
    ):
        with pytest.raises(qcore.UsageError) as caught:
            refused()
        assert str(caught.value) == message


@pytest.mark.parametrize("code", [-4, 4])
def test_a_code_without_a_level_is_an_error(code: int) -> None:
    grid = LevelGrid((-4, -2, -1, 0, 1, 2, 4))
    with pytest.raises(qcore.RangeError) as caught:
        grid.decode(np.array([0, code], np.int8), None)
    assert str(caught.value) == "codes of this grid are -3 … 3; got one outside"


# --- against a brute-force search ----------------------------------------------------------------


def _splits(magnitude: int, k: int) -> bool:
    return magnitude % k == 0 or k == 2


LEVEL_SPECS = [
    (bits, f"pot:signed={str(signed).lower()}:domain=linear")
    for bits in range(2, 9)
    for signed in (True, False)
] + [
    (bits, f"apot:k={k}:signed={str(signed).lower()}")
    for bits in range(2, 9)
    for signed in (True, False)
    for k in range(1, bits - signed + 1)
    if _splits(bits - signed, k)
]


def level_grid(bits: int, spec: str) -> LevelGrid:
    grid = qcore.create("scheme", spec, bits=bits).grid
    assert isinstance(grid, LevelGrid)
    return grid


def preferred(policy: str, units: np.ndarray, codes: np.ndarray, negative: bool) -> np.ndarray:
    """The order of levels in which the first of two that are equally near wins."""
    key = {
        "half-even": np.abs(codes) % 2,
        "half-up": -units,
        "half-down": units,
        "half-toward-zero": np.abs(units),
        "half-away": -np.abs(units),
        "dpu": -units if negative else np.abs(codes) % 2,
    }[policy]
    return np.argsort(key, kind="stable")


def searched(grid: LevelGrid, t: np.ndarray, policy: str = "half-even") -> np.ndarray:
    """The codes of the nearest levels: every distance, in float64, and the least of them."""
    low, high = grid.code_range
    inside = np.clip(t.astype(np.float64), grid.units[0], grid.units[-1])
    codes = np.arange(low, high + 1)
    found = np.empty(t.shape, np.int64)
    for negative in (True, False):
        side = np.flatnonzero((t < 0) == negative)
        order = preferred(policy, grid.units, codes, negative)
        for piece in np.array_split(side, max(1, side.size // 4096)):
            distance = np.subtract.outer(inside[piece], grid.units[order])
            found[piece] = codes[order][np.abs(distance, out=distance).argmin(axis=1)]
    return found


def beside(grid: LevelGrid) -> np.ndarray:
    """Every threshold and level in float32, the floats beside them, and their neighbours'."""
    points = np.concatenate([grid.units, (grid.units[:-1] + grid.units[1:]) / 2])
    at = points.astype(np.float32)
    below = np.nextafter(at, np.float32(-np.inf))
    above = np.nextafter(at, np.float32(np.inf))
    return np.unique(np.concatenate([at, below, above]))


@pytest.mark.parametrize(("bits", "spec"), LEVEL_SPECS)
def test_every_float16_goes_to_the_nearest_level(bits: int, spec: str) -> None:
    grid = level_grid(bits, spec)
    inside = FLOAT16[np.abs(FLOAT16) <= 2 * grid.largest]
    if grid.units[0] == 0:  # a few negative ones do
        inside = inside[inside >= -0.01]
    np.testing.assert_array_equal(grid.encode(inside, None, HALF_EVEN), searched(grid, inside))


@pytest.mark.parametrize(("bits", "spec"), LEVEL_SPECS)
def test_beside_every_threshold_the_nearest_level_wins(bits: int, spec: str) -> None:
    grid = level_grid(bits, spec)
    t = beside(grid)
    for policy in NEAREST:
        codes = grid.encode(t, None, qcore.create("rounding", policy))
        np.testing.assert_array_equal(codes, searched(grid, t, policy), err_msg=policy)


@pytest.mark.parametrize("policy", NEAREST)
@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(-300, 300), min_size=2, max_size=40, unique=True).map(sorted),
    st.lists(st.integers(-700, 700).map(lambda n: n / 2), min_size=1, max_size=40),
)
def test_on_any_levels_the_nearest_wins(
    policy: str, levels: list[int], values: list[float]
) -> None:
    grid = LevelGrid(levels)
    t = np.array(values, np.float32)
    # Where the neighbours of a tie lie on both sides of zero, x's sign tells away from toward.
    if policy in ("half-toward-zero", "half-away") and 0 not in levels:
        grid = LevelGrid(sorted([*levels, 0]))
    codes = grid.encode(t, None, qcore.create("rounding", policy))
    np.testing.assert_array_equal(codes, searched(grid, t, policy))


@pytest.mark.parametrize("spec", ["pot:domain=linear", "apot", "apot:signed=false"])
def test_directed_policies_take_the_neighbour_on_their_side(spec: str) -> None:
    grid = level_grid(4, spec)
    t = np.concatenate([FLOAT16, beside(grid)])
    t = t[(grid.units[0] <= t) & (t <= grid.units[-1])]
    below = np.searchsorted(grid.units, t, side="right") - 1
    above = np.searchsorted(grid.units, t, side="left")
    expected = {"floor": below, "ceil": above, "toward-zero": np.where(t < 0, above, below)}
    for id, index in expected.items():
        codes = grid.encode(t, None, qcore.create("rounding", id))
        np.testing.assert_array_equal(codes, index + grid.first_code, err_msg=id)


# --- the exponent's own rounding -----------------------------------------------------------------


def by_exponent(t: np.ndarray, bits: int, signed: bool) -> np.ndarray:
    """PoT codes with the exponent rounded: 2^k where 2^(k − ½) ≤ |t| < 2^(k + ½), exactly.

    The exponent e of t² = m · 2^e with m in [½, 1) has it: k = ⌊log₂|t| + ½⌋ = ⌊e / 2⌋. A float32
    squared is exact in float64.
    """
    largest_code = (1 << (bits - signed)) - 1
    k = np.frexp(t.astype(np.float64) ** 2)[1] // 2
    code = np.clip(k + largest_code, 0, largest_code) * (t != 0)
    return np.sign(t) * code if signed else code * (t > 0)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", range(2, 9))
def test_every_float16_goes_to_the_nearest_exponent(bits: int, signed: bool) -> None:
    grid = level_grid(bits, f"pot:signed={str(signed).lower()}")
    for power in (0, -40):
        t = np.ldexp(FLOAT16, power)
        np.testing.assert_array_equal(grid.encode(t, None, HALF_EVEN), by_exponent(t, bits, signed))


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", range(2, 9))
def test_beside_the_root_of_two_the_nearest_exponent_wins(bits: int, signed: bool) -> None:
    grid = level_grid(bits, f"pot:signed={str(signed).lower()}")
    at = grid.cuts[np.abs(grid.cuts) > 2.0**-140].astype(np.float32)
    below, above = (np.nextafter(at, np.float32(end)) for end in (-np.inf, np.inf))
    t = np.concatenate([below, at, above])
    for policy in NEAREST:
        codes = grid.encode(t, None, qcore.create("rounding", policy))
        np.testing.assert_array_equal(codes, by_exponent(t, bits, signed), err_msg=policy)


@settings(deadline=None, max_examples=80)
@given(st.floats(2.0**-140, 4.0, width=32))
def test_the_exponent_of_any_float32_is_rounded_exactly(t: float) -> None:
    grid = level_grid(8, "pot:signed=false")
    (code,) = grid.encode(np.array([t], np.float32), None, HALF_EVEN)
    k = int(code) - 255
    square = Fraction(t) ** 2
    assert Fraction(2) ** (2 * k - 1) <= square
    assert square < Fraction(2) ** (2 * k + 1) or k == 0


@pytest.mark.parametrize("bits", range(2, 9))
def test_underflow_begins_half_an_exponent_below_the_smallest_level(bits: int) -> None:
    grid = level_grid(bits, "pot:signed=false")
    assert grid.units[1] == 2.0 ** (2 - 2**bits)
    assert grid.cuts[0] == pytest.approx(2.0 ** (0.5 - (2**bits - 1)), rel=1e-15)

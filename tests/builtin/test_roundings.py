"""Every policy agrees with its table, with exact decimal arithmetic, and on grids of levels."""

from __future__ import annotations

from collections.abc import Callable
from decimal import (
    ROUND_CEILING,
    ROUND_DOWN,
    ROUND_FLOOR,
    ROUND_HALF_DOWN,
    ROUND_HALF_EVEN,
    ROUND_HALF_UP,
    Decimal,
)
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qcore
from qcore.builtin.roundings import uniform

TIES = [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]
TABLE = {
    "half-even": [-2, -2, 0, 0, 2, 2],
    "half-up": [-2, -1, 0, 1, 2, 3],
    "half-down": [-3, -2, -1, 0, 1, 2],
    "half-toward-zero": [-2, -1, 0, 0, 1, 2],
    "half-away": [-3, -2, -1, 1, 2, 3],
    "dpu": [-2, -1, 0, 0, 2, 2],
    "floor": [-3, -2, -1, 0, 1, 2],
    "ceil": [-2, -1, 0, 1, 2, 3],
    "toward-zero": [-2, -1, 0, 0, 1, 2],
}
NEAREST = [id for id in TABLE if id.startswith("half-") or id == "dpu"]
DIRECTED = ["floor", "ceil", "toward-zero"]

# decimal's mode for positive numbers, and for negative ones. Its HALF_UP is away from zero, its
# HALF_DOWN toward zero, its DOWN toward zero.
DECIMAL = {
    "half-even": (ROUND_HALF_EVEN, ROUND_HALF_EVEN),
    "half-up": (ROUND_HALF_UP, ROUND_HALF_DOWN),
    "half-down": (ROUND_HALF_DOWN, ROUND_HALF_UP),
    "half-toward-zero": (ROUND_HALF_DOWN, ROUND_HALF_DOWN),
    "half-away": (ROUND_HALF_UP, ROUND_HALF_UP),
    "dpu": (ROUND_HALF_EVEN, ROUND_HALF_DOWN),
    "floor": (ROUND_FLOOR, ROUND_FLOOR),
    "ceil": (ROUND_CEILING, ROUND_CEILING),
    "toward-zero": (ROUND_DOWN, ROUND_DOWN),
}

ALL_FLOAT16 = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
FINITE_FLOAT16 = ALL_FLOAT16[np.isfinite(ALL_FLOAT16)].astype(np.float32)

TRAPS = [
    0.0,
    0.49999997,
    0.5,
    0.50000006,
    1.4999999,
    1.5000001,
    2.4999998,
    4194304.5,  # 2^22 + 1/2
    4194305.5,
    8388607.5,  # 2^23 − 1/2, the last float32 with a fraction
    8388609.0,  # 2^23 + 1: adding 1/2 moves it
    8388611.0,
    16777215.0,
    16777218.0,
    2147483648.0,
    9.223372e18,
    3.4028235e38,
    1.1754944e-38,
    1e-45,
]
TRAPS += [-trap for trap in TRAPS]


def rounding(spec: str) -> qcore.RoundingPolicy:
    policy = qcore.create("rounding", spec)
    assert isinstance(policy, qcore.RoundingPolicy)
    return policy


def exactly(id: str, x: np.ndarray) -> np.ndarray:
    """`x` rounded by Python's decimal."""
    positive, negative = DECIMAL[id]
    return np.array(
        [float(Decimal(v).to_integral_value(negative if v < 0 else positive)) for v in x.tolist()],
        x.dtype,
    )


# --- on integers ---------------------------------------------------------------------------------


def test_the_ten_policies_of_the_table_are_installed() -> None:
    assert {*TABLE, "stochastic"} <= set(qcore.ids("rounding"))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("id", TABLE)
def test_a_tie_goes_where_the_table_says(id: str, dtype: type) -> None:
    rounded = rounding(id).round(np.array(TIES, dtype))
    assert rounded.tolist() == TABLE[id]
    assert rounded.dtype == dtype


@pytest.mark.parametrize("id", TABLE)
def test_every_finite_float16_rounds_as_in_decimal_arithmetic(id: str) -> None:
    np.testing.assert_array_equal(
        rounding(id).round(FINITE_FLOAT16), exactly(id, FINITE_FLOAT16), strict=True
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("id", TABLE)
def test_what_trips_the_usual_formulas_rounds_as_in_decimal_arithmetic(
    id: str, dtype: type
) -> None:
    x = np.array(TRAPS, np.float32).astype(dtype)
    if dtype is np.float64:
        x = np.append(x, [0.49999999999999994, -0.49999999999999994, 2.0**52 + 1, -(2.0**52) - 1])
    np.testing.assert_array_equal(rounding(id).round(x), exactly(id, x), strict=True)


@pytest.mark.parametrize("id", TABLE)
@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.one_of(
            st.floats(width=32, allow_nan=False, allow_infinity=False),
            st.floats(-300, 300, width=32),
            st.integers(-(2**23), 2**23).map(lambda n: n / 2),
            st.sampled_from(TRAPS),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_any_float32_rounds_as_in_decimal_arithmetic(id: str, values: list[float]) -> None:
    x = np.array(values, np.float32)
    np.testing.assert_array_equal(rounding(id).round(x), exactly(id, x), strict=True)


@pytest.mark.parametrize("spec", [*TABLE, "stochastic:3"])
@pytest.mark.parametrize("values", [[*TIES, 0.3, -7.9, 4.0], [0.3, -7.9, 4.0]])
def test_rounding_in_place_gives_the_same(spec: str, values: list[float]) -> None:
    policy = rounding(spec)
    x = np.array(values, np.float32)
    expected = policy.round(x.copy())
    assert policy.round(x, out=x) is x
    np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("spec", [*TABLE, "stochastic:3"])
def test_without_out_the_values_are_left_as_they_are(spec: str) -> None:
    x = np.array([*TIES, 0.3], np.float32)
    x.flags.writeable = False
    before = x.copy()
    rounding(spec).round(x)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("spec", [*TABLE, "stochastic:3"])
def test_large_whole_numbers_stay_without_a_warning(spec: str) -> None:
    x = np.array([2.0**24, -(2.0**24), 1e9, -3e38], np.float32)  # x + 1 is x
    np.testing.assert_array_equal(rounding(spec).round(x), x)


@pytest.mark.parametrize("id", TABLE)
@pytest.mark.parametrize(
    "arrange",
    [
        lambda x: x.reshape(2, 3),
        lambda x: np.asfortranarray(x.reshape(3, 2)),
        lambda x: np.repeat(x, 2)[::2],
        lambda x: x[:0],
    ],
    ids=["rows", "columns first", "strided", "empty"],
)
def test_shape_and_memory_layout_do_not_matter(
    id: str, arrange: Callable[[np.ndarray], np.ndarray]
) -> None:
    x = arrange(np.array(TIES, np.float32))
    rounded = rounding(id).round(x)
    assert rounded.shape == x.shape
    np.testing.assert_array_equal(rounded, exactly(id, x.ravel()).reshape(x.shape))


@pytest.mark.parametrize("id", TABLE)
@pytest.mark.parametrize("value", [2.5, -2.5, 0.3])
def test_an_array_without_axes_rounds_like_any_other(id: str, value: float) -> None:
    x = np.array(value, np.float32)
    assert float(rounding(id).round(x)) == exactly(id, x.reshape(1))[0]


# --- on levels -----------------------------------------------------------------------------------

LEVELS = (-4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0)
"""Codes −3 … 3, so that the middle of each gap is a tie between the same codes as in the table."""

MIDDLES = [-3.0, -1.5, -0.5, 0.5, 1.5, 3.0]


def between(x: list[float], lower_codes: list[int]) -> qcore.Gap:
    """Where `x` lies between its neighbours among `LEVELS`."""
    lower = np.array([LEVELS[code + 3] for code in lower_codes])
    upper = np.array([LEVELS[code + 4] for code in lower_codes])
    codes = np.array(lower_codes)
    return qcore.Gap(np.array(x, np.float32), lower, upper, (lower + upper) / 2, codes)


@pytest.mark.parametrize("id", TABLE)
def test_a_tie_between_levels_goes_to_the_code_that_the_table_says(id: str) -> None:
    lower_codes = [-3, -2, -1, 0, 1, 2]
    up = rounding(id).goes_up(between(MIDDLES, lower_codes))
    assert (np.array(lower_codes) + up).tolist() == TABLE[id]


@pytest.mark.parametrize("id", TABLE)
def test_a_level_grid_asks_the_policy(id: str) -> None:
    codes = qcore.LevelGrid(LEVELS).encode(np.array(MIDDLES, np.float32), None, rounding(id))
    assert codes.tolist() == TABLE[id]


@pytest.mark.parametrize("id", NEAREST)
def test_beside_the_middle_the_nearer_level_wins(id: str) -> None:
    grid = qcore.LevelGrid(LEVELS)
    middles = np.array(MIDDLES, np.float32)
    below = grid.encode(np.nextafter(middles, np.float32(-np.inf)), None, rounding(id))
    above = grid.encode(np.nextafter(middles, np.float32(np.inf)), None, rounding(id))
    assert below.tolist() == [-3, -2, -1, 0, 1, 2]
    assert above.tolist() == [-2, -1, 0, 1, 2, 3]


@pytest.mark.parametrize("id", DIRECTED)
def test_a_directed_policy_looks_at_the_sign_alone(id: str) -> None:
    x = np.array([-3.9, -1.1, -0.001, 0.001, 1.999, 3.999], np.float32)
    codes = qcore.LevelGrid(LEVELS).encode(x, None, rounding(id))
    assert codes.tolist() == TABLE[id]


@pytest.mark.parametrize("spec", [*TABLE, "stochastic:5"])
def test_a_level_is_its_own_neighbour(spec: str) -> None:
    x = np.array(LEVELS, np.float32)
    codes = qcore.LevelGrid(LEVELS).encode(x, None, rounding(spec))
    assert codes.tolist() == [-3, -2, -1, 0, 1, 2, 3]


@pytest.mark.parametrize(
    ("levels", "codes"),
    [
        ((0.5, 1.0, 2.0, 4.0), [0, 2, 2]),  # no zero: a code is an index from 0
        ((-4.0, -2.0, -1.0, -0.5), [0, 2, 2]),
        ((0.0, 1.0, 2.0, 4.0), [0, 2, 2]),
        ((-2.0, -1.0, 0.0, 1.0), [-2, 0, 0]),
    ],
)
def test_even_is_the_even_code_whatever_it_counts_from(
    levels: tuple[float, ...], codes: list[int]
) -> None:
    middles = (np.array(levels[1:]) + levels[:-1]) / 2
    encoded = qcore.LevelGrid(levels).encode(
        middles.astype(np.float32), None, rounding("half-even")
    )
    assert encoded.tolist() == codes


def test_a_tie_is_at_the_threshold_where_that_is_not_the_middle() -> None:
    grid = qcore.LevelGrid((0.0, 1.0, 2.0), thresholds=(0.25, 1.75))
    t = np.array([0.25, 0.2500001, 0.5, 1.5, 1.75], np.float32)
    assert grid.encode(t, None, rounding("half-even")).tolist() == [0, 1, 1, 1, 2]
    assert grid.encode(t, None, rounding("half-down")).tolist() == [0, 1, 1, 1, 1]


# --- stochastic ----------------------------------------------------------------------------------

COUNT = 100_000


@pytest.mark.parametrize("value", [0.03, 0.3, 0.5, 0.75, -0.3, -2.9, 41.125])
@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_stochastic_is_unbiased(value: float, seed: int) -> None:
    x = np.full(COUNT, value, np.float32)
    rounded = rounding(f"stochastic:{seed}").round(x)
    assert set(rounded.tolist()) <= {np.floor(value), np.floor(value) + 1}
    fraction = value - np.floor(value)
    deviation = np.sqrt(fraction * (1 - fraction) / COUNT)
    assert abs(float(rounded.mean(dtype=np.float64)) - float(x[0])) < 5 * deviation


@pytest.mark.parametrize("value", [3.5, 2.25, -3.25, 0.9])
def test_stochastic_is_unbiased_between_levels(value: float) -> None:
    grid = qcore.LevelGrid(LEVELS)
    t = np.full(COUNT, value, np.float32)
    values = grid.decode(grid.encode(t, None, rounding("stochastic:4")), None)
    assert len(set(values.tolist())) == 2
    deviation = (values.max() - values.min()) / 2 / np.sqrt(COUNT)
    assert abs(float(values.mean()) - value) < 5 * deviation


@pytest.mark.parametrize("seed", [0, 7, -1, 2**64 - 1, 10**30])
def test_u_is_even_on_the_unit_interval(seed: int) -> None:
    u = uniform(seed, np.arange(COUNT, dtype=np.uint64))
    assert u.min() >= 0
    assert u.max() < 1
    counts = np.histogram(u, 50, (0, 1))[0]
    chi_square = float(((counts - COUNT / 50) ** 2).sum() / (COUNT / 50))
    assert 15 < chi_square < 110  # 49 degrees of freedom: 49 ± 10
    assert abs(float(np.corrcoef(u[1:], u[:-1])[0, 1])) < 5 / np.sqrt(COUNT)


def splitmix(state: int) -> int:
    """SplitMix64's output for a state, in Python's integers."""
    z = (state + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def test_u_is_the_documented_hash() -> None:
    assert splitmix(0) == 0xE220A8397B1DCDAF  # the published first output of seed 0
    for seed in (0, 1, 2**63, -5):
        for position in (0, 1, 77, 2**40 + 1, 2**64 - 1):
            hashed = splitmix((splitmix(seed % 2**64) + position) % 2**64)
            u = uniform(seed, np.array([position], np.uint64))
            assert u.tolist() == [(hashed >> 11) * 2.0**-53]


def test_a_value_goes_up_where_u_is_below_its_fraction() -> None:
    x = np.random.default_rng(3).normal(0, 9, 1000).astype(np.float32)
    u = uniform(11, np.arange(1000, dtype=np.uint64))
    lower = np.floor(x.astype(np.float64))
    np.testing.assert_array_equal(
        rounding("stochastic:11").round(x), lower + (u < x - lower), strict=False
    )


def test_seeds_are_taken_modulo_2_to_the_64() -> None:
    index = np.arange(100, dtype=np.uint64)
    np.testing.assert_array_equal(uniform(-1, index), uniform(2**64 - 1, index))
    np.testing.assert_array_equal(uniform(2**64 + 5, index), uniform(5, index))


def test_seeds_differ() -> None:
    x = np.full(1000, 0.5, np.float32)
    drawn = {seed: rounding(f"stochastic:{seed}").round(x).tobytes() for seed in range(20)}
    assert len(set(drawn.values())) == 20
    assert drawn[0] == rounding("stochastic").round(x).tobytes()


def test_an_element_is_rounded_by_its_position_in_any_piece() -> None:
    x = np.random.default_rng(0).normal(0, 3, (40, 30)).astype(np.float32)
    index = np.arange(x.size, dtype=np.uint64).reshape(x.shape)
    policy = rounding("stochastic:9")
    whole = policy.round(x)
    for piece in (np.s_[:7], np.s_[13:29, 4:11], np.s_[::3, ::-2]):
        np.testing.assert_array_equal(policy.at(index[piece]).round(x[piece]), whole[piece])


@pytest.mark.parametrize("scheme", ["symmetric", "apot"])
@pytest.mark.parametrize(
    "granularity", ["tensor", "channel:0", "channel:1", "group:25", "block:60:5"]
)
def test_stochastic_codes_depend_on_seed_and_position_alone(scheme: str, granularity: str) -> None:
    x = np.random.default_rng(1).uniform(-1, 1, (600, 300)).astype(np.float32)

    def codes(x: Any, seed: int = 5, granularity: str = granularity, **options: Any) -> np.ndarray:
        recipe = qcore.Recipe(scheme, 6, granularity, f"stochastic:{seed}", observer="fixed:-1:1")
        return qcore.quantize(x, recipe, **options).codes

    expected = codes(x, granularity="tensor")
    np.testing.assert_array_equal(codes(x), expected)
    np.testing.assert_array_equal(codes(x, threads=1), expected)
    np.testing.assert_array_equal(codes(np.asfortranarray(x)), expected)
    np.testing.assert_array_equal(codes(x[:120]), expected[:120])  # the same C-order indices
    assert (codes(x, seed=6) != expected).any()


# --- as text -------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [*TABLE, "stochastic", "stochastic:7", "stochastic:-3"])
def test_a_policy_is_written_as_it_is_read(spec: str) -> None:
    policy = rounding(spec)
    assert str(policy) == spec
    assert type(policy).from_config(policy.config()) == policy

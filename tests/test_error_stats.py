"""Error sums merge in any split, and are what their formulas say."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from qcore.error_stats import SUMS, ErrorStats, measure_errors

Floats = NDArray[np.float32]
MEASURED = tuple(name for name in SUMS if name != "clipped")
FLOATS = st.floats(-(2.0**50), 2.0**50, width=32)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Floats, Floats]:
    shape = draw(hnp.array_shapes(max_dims=2, min_side=0, max_side=30))
    x = draw(hnp.arrays(np.float32, shape, elements=FLOATS))
    return x, draw(hnp.arrays(np.float32, shape, elements=FLOATS))


def assert_same(a: ErrorStats, b: ErrorStats, magnitude: float) -> None:
    """Equal but for the order of float64 additions, whose terms have this sum of magnitudes."""
    assert (a.count, a.stored_bits) == (b.count, b.stored_bits)
    assert a.max_e == b.max_e
    for name in ("x2", "e2", "xy", "y2", "abs_e"):
        assert getattr(a, name) == pytest.approx(getattr(b, name), rel=1e-12, abs=magnitude * 1e-12)


@settings(deadline=None, max_examples=80)
@given(pairs())
def test_each_sum_is_its_formula_in_float64(pair: tuple[Floats, Floats]) -> None:
    x, values = (a.astype(np.float64) for a in pair)
    e = values - x
    stats = measure_errors(*pair, SUMS)
    assert stats.count == x.size
    assert stats.stored_bits == 0
    assert stats.x2 == pytest.approx(np.sum(x**2), rel=1e-12)
    assert stats.e2 == pytest.approx(np.sum(e**2), rel=1e-12)
    y = values
    assert stats.xy == pytest.approx(np.sum(x * y), rel=1e-12, abs=1e-12 * np.sum(np.abs(x * y)))
    assert stats.y2 == pytest.approx(np.sum(y * y), rel=1e-12)
    assert stats.abs_e == pytest.approx(np.sum(np.abs(e)), rel=1e-12)
    assert stats.max_e == (np.max(np.abs(e)) if x.size else 0)
    assert math.isnan(stats.clipped)  # the quantizer's to count


@settings(deadline=None, max_examples=80)
@given(pairs(), st.lists(st.integers(0, 900), max_size=6))
def test_any_split_merges_to_the_whole(pair: tuple[Floats, Floats], cuts: list[int]) -> None:
    x, values = (a.ravel() for a in pair)
    bounds = sorted({0, x.size, *(cut for cut in cuts if cut < x.size)})
    parts = [measure_errors(x[a:b], values[a:b], MEASURED) for a, b in itertools.pairwise(bounds)]
    merged = functools.reduce(ErrorStats.merge, parts, ErrorStats())
    whole = measure_errors(x, values, MEASURED)
    wide = x.astype(np.float64)
    magnitude = float(np.abs(wide) @ np.abs(values - wide)) if x.size else 0.0
    assert_same(merged, whole, magnitude)


STATS = st.builds(
    ErrorStats,
    count=st.integers(0, 1 << 40),
    stored_bits=st.integers(0, 1 << 50),
    x2=st.floats(0, 1e300),
    e2=st.floats(0, 1e300),
    xy=st.floats(0, 1e300),
    y2=st.floats(0, 1e300),
    abs_e=st.floats(0, 1e300),
    max_e=st.floats(0, 1e300),
    clipped=st.integers(0, 1 << 40).map(float),
)


@settings(deadline=None, max_examples=80)
@given(STATS, STATS, STATS)
def test_merging_is_associative_and_commutative_and_has_a_neutral_element(
    a: ErrorStats, b: ErrorStats, c: ErrorStats
) -> None:
    left, right = a.merge(b).merge(c), a.merge(b.merge(c))
    assert_same(left, right, 0.0)
    assert left.clipped == right.clipped  # whole numbers, so exact
    assert a.merge(b) == b.merge(a)
    assert ErrorStats().merge(a) == a


@pytest.mark.parametrize("asked", [set(), *({name} for name in MEASURED), {"x2", "e2"}])
def test_sums_that_are_not_asked_for_are_nan_and_stay_so_when_merged(asked: set[str]) -> None:
    x, values = np.float32([1, -2, 3]), np.float32([1.5, -2, 2])
    full = measure_errors(x, values, SUMS)
    stats = measure_errors(x, values, asked)
    for found in (stats, stats.merge(full), full.merge(stats), ErrorStats().merge(stats)):
        for name in MEASURED:
            assert math.isnan(getattr(found, name)) == (name not in asked)
    for name in asked:
        assert getattr(stats, name) == getattr(full, name)


def test_the_worked_example() -> None:
    stats = measure_errors(np.float32([[1, -2], [3, 0]]), np.float32([[1.5, -2], [2, 0]]), SUMS)
    assert (stats.count, stats.x2, stats.e2, stats.xy) == (4, 14, 1.25, 11.5)
    assert (stats.abs_e, stats.max_e) == (1.5, 1)


def test_errors_are_taken_in_float64() -> None:
    largest = np.finfo(np.float32).max
    x, values = np.float32([largest, 1e-30]), np.float32([-largest, 0])
    stats = measure_errors(x, values, SUMS)
    assert stats.max_e == 2 * float(largest)
    assert stats.e2 == (2 * float(largest)) ** 2
    tiny = measure_errors(x[1:], values[1:], SUMS)
    assert tiny.e2 == pytest.approx(1e-60, rel=1e-6)


def test_memory_order_does_not_pair_elements_wrongly() -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    values = x * 2
    assert measure_errors(x, np.asfortranarray(values), SUMS).xy == 2 * (x * x).sum()

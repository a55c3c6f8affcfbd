"""Bins hold what lies between their edges; histograms merge and tell percentiles."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from qcore.float_bins import Histogram, edges_of

finite = st.floats(-(2.0**127), 2.0**127, width=32)
some = arrays(np.float32, st.integers(1, 200), elements=finite)


def bins_of(values: NDArray[np.float32]) -> NDArray[np.int32]:
    """The bin of each value, by its definition."""
    raw = (values + np.float32(0)).view(np.int32)  # −0 is 0
    return np.where(raw < 0, ~((raw & 0x7FFFFFFF) >> 18), raw >> 18).astype(np.int32)


@given(some)
def test_a_bin_holds_what_lies_between_its_edges(values: NDArray[np.float32]) -> None:
    bins = bins_of(values)
    low, high = edges_of(bins)
    assert ((low <= values) & (values <= high)).all()
    assert (values[bins >= 0] < high[bins >= 0]).all()
    assert (values[bins < 0] > low[bins < 0]).all()
    far = np.maximum(np.abs(low), np.abs(high))
    normal = far > 2.0**-125
    assert ((high - low)[normal] <= far[normal] / 32 * (1 + 1e-9)).all()


@given(some, some)
def test_histograms_merge(a: NDArray[np.float32], b: NDArray[np.float32]) -> None:
    both = np.concatenate([a, b])
    merged = Histogram.of(a, ones=np.ones(a.size)).merge(Histogram.of(b, ones=np.ones(b.size)))
    whole = Histogram.of(both)
    np.testing.assert_array_equal(merged.bins, whole.bins)
    np.testing.assert_array_equal(merged.counts, whole.counts)
    np.testing.assert_array_equal(merged.sums["ones"], whole.counts)
    assert merged.count == both.size
    alone = Histogram().merge(whole)
    np.testing.assert_array_equal(alone.counts, whole.counts)


@given(some, st.floats(0, 100))
def test_a_percentile_is_that_of_the_values_within_half_a_bin(
    values: NDArray[np.float32], percent: float
) -> None:
    rank = max(1, math.ceil(Fraction(str(percent)) * values.size / 100))
    exact = float(np.sort(values)[rank - 1])
    found = Histogram.of(values).percentile(percent)
    assert abs(found - exact) <= abs(exact) / 63 + 2.0**-130


@pytest.mark.parametrize(("percent", "count"), [(99.9, 1000), (55, 100), (7, 100)])
def test_a_rank_that_is_whole_is_not_rounded_up(percent: float, count: int) -> None:
    rank = round(percent * count / 100)
    assert math.ceil(percent / 100 * count) == rank + 1  # what floating point makes of it
    steps = np.repeat(np.array([1, 2], np.float32), [rank, count - rank])
    found = Histogram.of(steps)
    assert found.percentile(percent) < 2 <= found.percentile(percent + 0.001)


@given(some)
def test_magnitudes_are_those_of_the_absolute_values(values: NDArray[np.float32]) -> None:
    found, expected = Histogram.of(values).magnitudes, Histogram.of(np.abs(values))
    np.testing.assert_array_equal(found.bins, expected.bins)
    np.testing.assert_array_equal(found.counts, expected.counts)


def test_more_values_than_are_looked_at_together_are_all_counted() -> None:
    values = np.random.default_rng(0).standard_normal(100_001).astype(np.float32)
    found = Histogram.of(values, squares=values.astype(np.float64) ** 2)
    bins, counts = np.unique(bins_of(values), return_counts=True)
    np.testing.assert_array_equal(found.bins, bins)
    np.testing.assert_array_equal(found.counts, counts)
    squares = [np.square(values[bins_of(values) == bin], dtype=np.float64).sum() for bin in bins]
    np.testing.assert_allclose(found.sums["squares"], squares, rtol=1e-12)


def test_the_largest_float_has_a_percentile() -> None:
    largest = np.finfo(np.float32).max
    found = Histogram.of(np.array([largest, -largest], np.float32))
    assert largest * 0.98 < found.percentile(100) <= largest
    assert -largest <= found.percentile(1) < -largest * 0.98


def test_minus_zero_is_zero() -> None:
    found = Histogram.of(np.array([0.0, -0.0], np.float32))
    assert (found.bins.tolist(), found.counts.tolist()) == ([0], [2])

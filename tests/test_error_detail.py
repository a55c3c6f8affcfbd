"""Histograms of errors tell percentiles and deciles, against whole sorted arrays."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from qcore.error_detail import HISTOGRAMS, decile_sums, drawn, measure_histograms
from qcore.error_stats import STATS, SUMS, ErrorStats, measure_errors
from qcore.float_bins import Histogram

Floats = NDArray[np.float32]
DECILES = range(1, 11)
LARGEST = float(np.finfo(np.float32).max)
BIN = 1 / 32


def normal(count: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(count).astype(np.float32)


def assert_same(a: Histogram, b: Histogram) -> None:
    """The same counts, and sums but for the order of their additions."""
    np.testing.assert_array_equal(a.bins, b.bins)
    np.testing.assert_array_equal(a.counts, b.counts)
    assert a.sums.keys() == b.sums.keys()
    for name, own in a.sums.items():
        np.testing.assert_allclose(own, b.sums[name], rtol=1e-12)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Floats, Floats]:
    floats = st.floats(-(2.0**50), 2.0**50, width=32)
    shape = draw(st.integers(1, 60))
    return tuple(draw(hnp.arrays(np.float32, shape, elements=floats)) for _ in "xy")  # type: ignore[return-value]


@settings(deadline=None, max_examples=50)
@given(pairs(), st.floats(0, 100))
def test_a_percentile_of_the_errors_is_the_nearest_rank_within_a_64th(
    pair: tuple[Floats, Floats], percent: float
) -> None:
    x, values = pair
    exact = np.sort(np.abs(values.astype(np.float64) - x))
    rank = max(1, int(np.ceil(percent / 100 * x.size)))
    found = measure_histograms(x, values, ("errors",))["errors"].percentile(percent)
    assert found == pytest.approx(exact[rank - 1], rel=1 / 63, abs=2.0**-130)


@pytest.mark.parametrize("percent", [50, 95, 99])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_percentiles_agree_with_numpys(percent: float, scale: float) -> None:
    x = normal(100_000) * np.float32(scale)
    values = x + normal(x.size, 1) * np.float32(scale * 0.01)
    error = np.abs(values.astype(np.float64) - x)
    expected = np.percentile(error, percent, method="inverted_cdf")
    found = measure_histograms(x, values, ("errors",))["errors"].percentile(percent)
    assert found == pytest.approx(expected, rel=1 / 63)


@pytest.mark.parametrize("kind", ["normal", "rounded", "wide"])
def test_deciles_are_those_of_sorted_elements_but_for_a_bin(kind: str) -> None:
    """Each sum lies between those of the deciles moved by a bin's width down and up."""
    x = normal(200_000)
    x = {"normal": x, "rounded": np.round(x, 1), "wide": np.exp(3 * x)}[kind].astype(np.float32)
    values = np.round(x.astype(np.float64) * 4).astype(np.float32) / np.float32(4)
    order = np.argsort(np.abs(x), kind="stable")
    magnitude = np.abs(x[order]).astype(np.float64)
    ends = np.linspace(0, x.size, 11)
    found = measure_histograms(x, values, ("magnitudes",))["magnitudes"]
    for number in DECILES:
        x2, e2 = decile_sums(found, number)
        part = magnitude[int(ends[number - 1]) : int(ends[number])]
        assert x2 == pytest.approx(part @ part, rel=2 * BIN)
        near = (magnitude >= part[0] * (1 - BIN)) & (magnitude <= part[-1] * (1 + BIN))
        sure = (magnitude > part[0] * (1 + BIN)) & (magnitude < part[-1] * (1 - BIN))
        error = (values.astype(np.float64) - x)[order] ** 2
        assert error[sure].sum() * (1 - 1e-9) <= e2 <= error[near].sum() * (1 + 1e-9)


@settings(deadline=None, max_examples=50)
@given(pairs())
def test_ten_deciles_are_the_whole(pair: tuple[Floats, Floats]) -> None:
    stats = measure_errors(*pair, STATS)
    sums = [decile_sums(stats.magnitudes, number) for number in DECILES]
    assert sum(x2 for x2, _ in sums) == pytest.approx(stats.x2, rel=1e-9)
    assert sum(e2 for _, e2 in sums) == pytest.approx(stats.e2, rel=1e-9)


@pytest.mark.parametrize("count", [1, 3, 10, 12_345])
def test_the_deciles_of_a_constant_are_alike(count: int) -> None:
    x = np.full(count, -0.7, np.float32)
    found = measure_histograms(x, np.full(count, -0.5, np.float32), ("magnitudes",))["magnitudes"]
    for number in DECILES:
        assert decile_sums(found, number) == pytest.approx((0.049 * count, 0.004 * count), rel=1e-5)


def test_what_is_drawn_is_numpys_histogram_of_these_edges() -> None:
    x = normal(50_000)
    x[:100] = 0
    values = np.round(x * 8) / np.float32(8)
    shape = drawn(measure_histograms(x, values, ("errors",))["errors"])
    error = np.abs(values.astype(np.float64) - x)
    counts, _ = np.histogram(error, shape["edges"])
    assert shape["counts"] == counts.tolist()
    assert sum(shape["counts"]) == x.size
    assert shape["edges"][0] == 0
    assert (np.diff(shape["edges"]) > 0).all()
    assert len(shape["edges"]) < 1000  # a wide gap is one bin


def test_errors_beyond_float32_are_its_largest() -> None:
    x, values = np.float32([LARGEST, 1]), np.float32([-LARGEST, 1])
    shape = drawn(measure_histograms(x, values, ("errors",))["errors"])
    assert shape["counts"][-1] == 1
    assert shape["edges"][-1] == LARGEST


def test_float64_is_measured_as_it_is() -> None:
    x = np.array([1 + 2.0**-40, -2])
    found = measure_histograms(x, np.float32([1, -2]), HISTOGRAMS)
    assert found["errors"].percentile(99) == pytest.approx(2.0**-40, rel=1 / 63)
    assert found["magnitudes"].sums["e2"].sum() == 2.0**-80


@settings(deadline=None, max_examples=50)
@given(pairs(), st.lists(st.integers(0, 60), max_size=4))
def test_any_split_merges_to_the_whole(pair: tuple[Floats, Floats], cuts: list[int]) -> None:
    x, values = pair
    bounds = sorted({0, x.size, *(cut for cut in cuts if cut < x.size)})
    parts = [measure_errors(x[a:b], values[a:b], STATS) for a, b in itertools.pairwise(bounds)]
    merged = functools.reduce(ErrorStats.merge, parts, ErrorStats())
    whole = measure_errors(x, values, STATS)
    for name in HISTOGRAMS:
        assert_same(getattr(merged, name), getattr(whole, name))


def test_long_arrays_are_measured_in_pieces_to_the_same_counts() -> None:
    x = normal(300_000)
    values = x + normal(x.size, 1)
    found = measure_histograms(x, values, HISTOGRAMS)
    error = values.astype(np.float64) - x
    squares: dict[str, Any] = {"x2": x.astype(np.float64) ** 2, "e2": error**2}
    assert_same(found["errors"], Histogram.of(np.abs(error).astype(np.float32)))
    assert_same(found["magnitudes"], Histogram.of(np.abs(x), **squares))


@pytest.mark.parametrize("asked", [*HISTOGRAMS])
def test_a_histogram_that_is_not_asked_for_is_empty_and_stays_so_when_merged(asked: str) -> None:
    x, values = np.float32([1, -2, 3]), np.float32([1.5, -2, 2])
    (other,) = set(HISTOGRAMS) - {asked}
    stats, full = measure_errors(x, values, {asked}), measure_errors(x, values, STATS)
    bits = ErrorStats(stored_bits=8)  # of no elements: it knows all of them
    for found in (
        stats,
        stats.merge(full),
        full.merge(stats),
        bits.merge(stats),
        stats.merge(bits),
    ):
        assert not getattr(found, other).count
        assert getattr(found, asked).count == found.count
    sums = measure_errors(x, values, SUMS)
    assert not any(getattr(sums.merge(full), name).count for name in HISTOGRAMS)


def test_without_elements_nothing_is_known_and_nothing_lost() -> None:
    none = np.float32([])
    empty = measure_errors(none, none, STATS)
    full = measure_errors(np.float32([1]), np.float32([2]), STATS)
    assert_same(empty.merge(full).errors, full.errors)
    assert_same(full.merge(empty).errors, full.errors)

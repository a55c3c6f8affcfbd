"""Percentiles of the error and the error by magnitude, as metrics."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import qcore
from qcore.error_stats import STATS, SUMS, ErrorStats, measure_errors

DECILES = [f"decile:{number}" for number in range(1, 11)]


def metric(spec: str) -> Any:
    return qcore.create("metric", spec)


def stats_of(x: Any, values: Any) -> ErrorStats:
    return measure_errors(np.float32(x), np.float32(values), STATS)


def test_a_percentile_is_the_middle_of_its_bin() -> None:
    values = np.concatenate([np.full(90, 1.0), np.full(8, 3.0), np.full(2, 100.0)])
    stats = stats_of(np.zeros(100), values)
    found = [metric(id).from_stats(stats) for id in ("p50", "p95", "p99")]
    assert found == [1 + 1 / 64, 3 + 1 / 32, 101]  # bins 1 … 33/32, 3 … 49/16, 100 … 102


def test_without_error_a_percentile_is_zero() -> None:
    assert metric("p99").from_stats(stats_of([1, -2], [1, -2])) == 0


def test_a_decile_is_the_sqnr_of_its_elements() -> None:
    x = np.arange(1, 11) * 2.0
    values = x + np.linspace(0.1, 1, 10)
    stats = stats_of(x, values)
    for number, spec in enumerate(DECILES, 1):
        expected = 10 * math.log10((2.0 * number) ** 2 / (0.1 * number) ** 2)
        assert metric(spec).from_stats(stats) == pytest.approx(expected, abs=1e-5)


def test_a_decile_without_signal_has_no_sqnr_and_an_exact_one_an_infinite_one() -> None:
    stats = stats_of([0] * 4 + [1] * 6, [0] * 2 + [1] * 8)
    found = [metric(spec).from_stats(stats) for spec in DECILES]
    assert found[:4] == [-math.inf] * 4  # the four zeros are alike: half of each is an error
    assert found[4:] == [math.inf] * 6
    assert math.isnan(metric("decile:1").from_stats(stats_of([0, 1], [0, 1])))


@pytest.mark.parametrize("number", [0, 11, -1])
def test_there_are_ten_deciles(number: int) -> None:
    with pytest.raises(qcore.UsageError, match=f"'decile:{number}': a decile is 1,"):
        metric(f"decile:{number}")


@pytest.mark.parametrize("spec", ["p50", "p95", "p99", "decile:1", "decile:10"])
def test_what_nobody_asked_for_gives_no_number(spec: str) -> None:
    stats = measure_errors(np.float32([1]), np.float32([2]), SUMS)
    assert math.isnan(metric(spec).from_stats(stats))


@pytest.mark.parametrize("backend", ["numpy", "reference"])
def test_a_comparison_pools_them_over_tensors(backend: str) -> None:
    rng = np.random.default_rng(0)
    x = {name: rng.laplace(size=(40, 64)).astype(np.float32) for name in "ab"}
    asked = ["p50", "p95", "p99", *DECILES]
    recipe = "symmetric bits=4 observer=fixed:-5:5"
    found = qcore.compare(x, recipe, metrics=asked, backend=backend).summary()[0]
    both = np.concatenate([x["a"], x["b"]])
    stats = stats_of(both, qcore.fake_quantize(both, recipe))
    for spec in asked:
        assert found.metrics[spec] == pytest.approx(metric(spec).from_stats(stats), rel=1e-5)


def test_a_comparison_says_how_errors_are_spread_where_that_is_asked_for() -> None:
    x = {name: np.random.default_rng(0).normal(size=(8, 9)) for name in "ab"}
    plain = qcore.compare(x, "symmetric bits=4").to_dict()
    asked = qcore.compare(x, "symmetric bits=4", metrics="p99").to_dict()
    for part, elements in (("results", 72), ("summary", 144)):
        assert "error_histogram" not in plain[part][0]
        histogram = asked[part][0]["error_histogram"]
        assert sum(histogram["counts"]) == elements
        assert len(histogram["edges"]) == len(histogram["counts"]) + 1

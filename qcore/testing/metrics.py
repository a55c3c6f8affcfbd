"""Checks of metrics: a number from the sums that were asked for, whatever these are."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any, Literal, get_args

import numpy as np

from qcore.error_detail import HISTOGRAMS
from qcore.error_stats import STATS, ErrorStats, measure_errors
from qcore.float_bins import Histogram
from qcore.interfaces.metric import Metric
from qcore.testing.laws import given, law, require

_SCOPES = get_args(Literal["tensor", "output"])


def _stats(noise: float, seed: int = 0, count: int = 50) -> ErrorStats:
    """The sums of random values and their renderings; every one is known."""
    random = np.random.default_rng(seed)
    x = random.standard_normal(count).astype(np.float32)
    values = (x + noise * random.standard_normal(count)).astype(np.float32)
    stats = measure_errors(x, values, STATS)
    known: dict[str, Any] = {
        "clipped": float(count // 10),
        "stored_bits": count * 5,
        "expected_e2": stats.e2,
    }
    return dataclasses.replace(stats, **known)


def _histograms(x2: float, e2: float) -> dict[str, Any]:
    """Those of one element, as far as float32 holds it."""
    x, e = (np.array([min(math.sqrt(square), 1e38)], np.float32) for square in (x2, e2))
    sums = {"x2": np.array([x2]), "e2": np.array([e2])}
    return {"errors": Histogram.of(e), "magnitudes": Histogram.of(x, **sums)}


@law
def check_metric_needs(metric: Metric) -> None:
    """It needs sums that there are; title, best and scope are what the tables know."""
    needs = metric.needs
    require(isinstance(needs, frozenset), f"needs is a {type(needs).__name__}, no frozenset")
    unknown = sorted(set(needs) - set(STATS))
    require(not unknown, f"there are no sums {unknown}; they are {', '.join(STATS)}")
    require(metric.best in ("low", "high"), f"best is {metric.best!r}, neither low nor high")
    require(metric.scope in _SCOPES, f"scope is {metric.scope!r}, neither tensor nor output")
    require(isinstance(metric.title, str), f"title is {metric.title!r}")


@law
def check_metric_gives_a_number(metric: Metric) -> None:
    """from_stats gives a float, and a finite one for ordinary sums."""
    for noise, seed in ((0.1, 0), (1.0, 1), (1e-3, 2)):
        with given(f"noise of {noise} on 50 normal values"):
            value = metric.from_stats(_stats(noise, seed))
            require(isinstance(value, float), f"got {value!r}, no float")
            require(math.isfinite(value), f"got {value}")


@law
def check_metric_asks_for_what_it_reads(metric: Metric) -> None:
    """A sum that is not among needs is never read: unasked for it is NaN, a histogram empty."""
    stats = _stats(0.1)
    expected = metric.from_stats(stats)
    for name in sorted(set(STATS) - metric.needs):
        unknown, word = (Histogram(), "empty") if name in HISTOGRAMS else (math.nan, "NaN")
        without: dict[str, Any] = {name: unknown}
        with given(f"{name}, which is not asked for, as {word}"):
            found = metric.from_stats(dataclasses.replace(stats, **without))
            require(found == expected, f"expected {expected}, got {found}")


@law
def check_metric_of_degenerate_sums(metric: Metric) -> None:
    """Where it is not defined it is NaN or infinite, never an exception."""
    ends = (0.0, 5e-324, 1.0, 1e76, 1e300)
    for x2, e2, y2 in itertools.product(ends, repeat=3):
        sums = ErrorStats(1, 32, 0, x2, e2, min(x2, y2), y2, e2, e2, 0.0)
        for stats in (sums, dataclasses.replace(sums, **_histograms(x2, e2))):
            with given(f"one element, {stats}"):
                value = metric.from_stats(stats)
                require(isinstance(value, float), f"got {value!r}, no float")


@law
def check_metric_merges(metric: Metric) -> None:
    """It follows from merged sums: of both halves together, in either order, it is one number."""
    a, b = _stats(0.1, 3), _stats(0.5, 4)
    first, second = metric.from_stats(a.merge(b)), metric.from_stats(b.merge(a))
    require(
        math.isclose(first, second, rel_tol=1e-9),
        f"{first} for one order of merging, {second} for the other",
    )
    require(math.isfinite(first), f"got {first} for merged sums")
    again = metric.from_stats(a.merge(b))
    require(again == first, f"the same sums gave {first}, then {again}")


@law
def check_metric_knows_better_from_worse(metric: Metric) -> None:
    """Of two renderings the closer one is not the worse one, by the direction that best says."""
    close, far = metric.from_stats(_stats(0.01, 5)), metric.from_stats(_stats(0.3, 5))
    better = close <= far if metric.best == "low" else close >= far
    require(
        better,
        f"best is {metric.best}, but noise of 0.01 gives {close:.6g} and of 0.3 {far:.6g}",
    )


CHECKS = (
    check_metric_needs,
    check_metric_gives_a_number,
    check_metric_asks_for_what_it_reads,
    check_metric_of_degenerate_sums,
    check_metric_merges,
    check_metric_knows_better_from_worse,
)

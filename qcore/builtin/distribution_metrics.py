"""Metrics of how errors are spread: percentiles, and the error of small and of large elements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from qcore.builtin.metrics import SqnrDb
from qcore.error_detail import decile_sums
from qcore.error_stats import ErrorStats
from qcore.errors import UsageError
from qcore.interfaces.metric import Metric


class ErrorPercentile(Metric):
    """The percentile of |e| by nearest rank, value units: the middle of its bin.

    A bin is 1/32 of its lower edge wide at most, so this is within 1/64 of the percentile itself;
    errors below 2⁻¹³¹ are 0.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"errors"})
    percent: ClassVar[float]

    def from_stats(self, stats: ErrorStats) -> float:
        return stats.errors.percentile(self.percent)


@dataclass(frozen=True)
class P50(ErrorPercentile):
    """Median of |e|: half of the errors are no larger, to 1/64 of it; value units."""

    id: ClassVar[str] = "p50"
    title: ClassVar[str] = "p50 error"
    percent: ClassVar[float] = 50


@dataclass(frozen=True)
class P95(ErrorPercentile):
    """95th percentile of |e|, to 1/64 of it, value units."""

    id: ClassVar[str] = "p95"
    title: ClassVar[str] = "p95 error"
    percent: ClassVar[float] = 95


@dataclass(frozen=True)
class P99(ErrorPercentile):
    """99th percentile of |e|, to 1/64 of it, value units."""

    id: ClassVar[str] = "p99"
    title: ClassVar[str] = "p99 error"
    percent: ClassVar[float] = 99


@dataclass(frozen=True)
class Decile(Metric):
    """SQNR of one tenth of the elements, by |x|: 1 the smallest to 10 the largest; dB."""

    id: ClassVar[str] = "decile"
    needs: ClassVar[frozenset[str]] = frozenset({"magnitudes"})
    best: ClassVar[str] = "high"
    number: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= 10:
            raise UsageError(f"'{self}': a decile is 1, of the smallest elements, to 10")

    def from_stats(self, stats: ErrorStats) -> float:
        if not stats.magnitudes.bins.size:
            return float("nan")
        x2, e2 = decile_sums(stats.magnitudes, self.number)
        return SqnrDb().from_stats(ErrorStats(x2=x2, e2=e2))

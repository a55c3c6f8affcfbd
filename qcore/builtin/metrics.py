"""The metrics that engineers compare by."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from qcore.error_stats import EXPECTED, ErrorStats
from qcore.interfaces.metric import Metric


@dataclass(frozen=True)
class SqnrDb(Metric):
    """Signal over quantization noise: 10·log₁₀(Σx² / Σe²), dB. Infinite without error."""

    id: ClassVar[str] = "sqnr_db"
    needs: ClassVar[frozenset[str]] = frozenset({"x2", "e2"})
    title: ClassVar[str] = "SQNR dB"
    best: ClassVar[str] = "high"

    def from_stats(self, stats: ErrorStats) -> float:
        if stats.x2 == 0:
            return math.nan if stats.e2 == 0 else -math.inf
        return 10 * (math.log10(stats.x2) - math.log10(stats.e2)) if stats.e2 else math.inf


@dataclass(frozen=True)
class ExpectedSqnrDb(Metric):
    """The SQNR that theory expects on values of the distribution that fits the tensor, dB.

    Normal, uniform or Student's t with its mean, deviation and kurtosis, or half-normal for what a
    ReLU leaves; blocks of independent values. NaN where theory has no answer: a scheme that is no
    grid, a stochastic policy, an observer other than minmax and fixed.
    """

    id: ClassVar[str] = "expected_sqnr_db"
    needs: ClassVar[frozenset[str]] = frozenset({"x2", EXPECTED})
    title: ClassVar[str] = "expected dB"
    best: ClassVar[str] = "high"

    def from_stats(self, stats: ErrorStats) -> float:
        if math.isnan(stats.expected_e2):
            return math.nan
        return SqnrDb().from_stats(dataclasses.replace(stats, e2=stats.expected_e2))


@dataclass(frozen=True)
class Mse(Metric):
    """Mean squared error: Σe² / n."""

    id: ClassVar[str] = "mse"
    needs: ClassVar[frozenset[str]] = frozenset({"e2"})
    title: ClassVar[str] = "MSE"

    def from_stats(self, stats: ErrorStats) -> float:
        return stats.e2 / stats.count


@dataclass(frozen=True)
class Rmse(Metric):
    """Root mean squared error: √(Σe² / n), value units."""

    id: ClassVar[str] = "rmse"
    needs: ClassVar[frozenset[str]] = frozenset({"e2"})
    title: ClassVar[str] = "RMSE"

    def from_stats(self, stats: ErrorStats) -> float:
        return math.sqrt(stats.e2 / stats.count)


@dataclass(frozen=True)
class Mae(Metric):
    """Mean absolute error: Σ|e| / n, value units."""

    id: ClassVar[str] = "mae"
    needs: ClassVar[frozenset[str]] = frozenset({"abs_e"})
    title: ClassVar[str] = "MAE"

    def from_stats(self, stats: ErrorStats) -> float:
        return stats.abs_e / stats.count


@dataclass(frozen=True)
class MaxAbs(Metric):
    """Largest absolute error: max |e|, value units."""

    id: ClassVar[str] = "max_abs"
    needs: ClassVar[frozenset[str]] = frozenset({"max_e"})
    title: ClassVar[str] = "max error"

    def from_stats(self, stats: ErrorStats) -> float:
        return stats.max_e


@dataclass(frozen=True)
class RelL2(Metric):
    """Relative error: √(Σe² / Σx²)."""

    id: ClassVar[str] = "rel_l2"
    needs: ClassVar[frozenset[str]] = frozenset({"x2", "e2"})
    title: ClassVar[str] = "rel L2"

    def from_stats(self, stats: ErrorStats) -> float:
        return math.sqrt(stats.e2 / stats.x2) if stats.x2 else math.nan


@dataclass(frozen=True)
class Nsr(Metric):
    """Noise over signal, the inverse of SQNR as a ratio: Σe² / Σx²."""

    id: ClassVar[str] = "nsr"
    needs: ClassVar[frozenset[str]] = frozenset({"x2", "e2"})
    title: ClassVar[str] = "NSR"

    def from_stats(self, stats: ErrorStats) -> float:
        return stats.e2 / stats.x2 if stats.x2 else math.nan


@dataclass(frozen=True)
class Cosine(Metric):
    """Cosine of the angle between x and x̂: Σx·x̂ / √(Σx² · Σx̂²)."""

    id: ClassVar[str] = "cosine"
    needs: ClassVar[frozenset[str]] = frozenset({"x2", "xy", "y2"})
    title: ClassVar[str] = "cosine"
    best: ClassVar[str] = "high"

    def from_stats(self, stats: ErrorStats) -> float:
        if stats.x2 == 0 or stats.y2 == 0:
            return math.nan
        cosine = stats.xy / (math.sqrt(stats.x2) * math.sqrt(stats.y2))
        return math.copysign(1.0, cosine) if abs(cosine) > 1 else cosine


@dataclass(frozen=True)
class Clipped(Metric):
    """The fraction of elements that lie outside what the grid covers."""

    id: ClassVar[str] = "clipped"
    needs: ClassVar[frozenset[str]] = frozenset({"clipped"})

    def from_stats(self, stats: ErrorStats) -> float:
        return stats.clipped / stats.count


@dataclass(frozen=True)
class BitsPerWeight(Metric):
    """What is stored, scales, zero points and tables included, in bits an element."""

    id: ClassVar[str] = "bits_per_weight"
    title: ClassVar[str] = "bits/w"

    def from_stats(self, stats: ErrorStats) -> float:
        return stats.stored_bits / stats.count


@dataclass(frozen=True)
class OutputSqnrDb(Metric):
    """SQNR of the layer's output y = x · wᵀ, weights and activations quantized: dB."""

    id: ClassVar[str] = "output_sqnr_db"
    needs: ClassVar[frozenset[str]] = SqnrDb.needs
    title: ClassVar[str] = "out SQNR dB"
    best: ClassVar[str] = "high"
    scope: ClassVar[Literal["tensor", "output"]] = "output"

    def from_stats(self, stats: ErrorStats) -> float:
        return SqnrDb().from_stats(stats)


@dataclass(frozen=True)
class OutputRelL2(Metric):
    """Relative error of the layer's output y = x · wᵀ: √(Σe² / Σy²)."""

    id: ClassVar[str] = "output_rel_l2"
    needs: ClassVar[frozenset[str]] = RelL2.needs
    title: ClassVar[str] = "out rel L2"
    scope: ClassVar[Literal["tensor", "output"]] = "output"

    def from_stats(self, stats: ErrorStats) -> float:
        return RelL2().from_stats(stats)

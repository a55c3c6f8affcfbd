"""Histograms of floats in bins of equal precision: 32 to every power of two.

A bin holds the float32 values that agree in sign, exponent and the first five bits of the mantissa,
so that one pass over data of any range suffices, and histograms merge by adding. Its upper edge is
at most 1/32 above its lower one. Zero has a bin with the numbers below 2^−131.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

_DROPPED = 18  # bits of the mantissa that a bin does not tell apart
_HALF = 1 << (31 - _DROPPED)  # bins of one sign

Bins = NDArray[np.int32]


def bins_of(values: NDArray[np.float32]) -> Bins:
    """The bin of each value: 0 and up for positive values, −1 and down for negative ones."""
    raw = (values + np.float32(0)).view(np.int32)  # −0 is 0
    return np.where(raw < 0, ~((raw & 0x7FFFFFFF) >> _DROPPED), raw >> _DROPPED).astype(np.int32)


def edges_of(bins: Bins) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The lower and the upper edge of each bin; a bin holds the edge that is nearer to zero."""
    magnitude = np.where(bins < 0, ~bins, bins).astype(np.int32)
    near, far = (_float(magnitude + step) for step in (0, 1))
    negative = bins < 0
    return np.where(negative, -far, near), np.where(negative, -near, far)


def _float(magnitude: Bins) -> NDArray[np.float64]:
    return (magnitude << _DROPPED).astype(np.int32).view(np.float32).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Histogram:
    """What was seen in each bin that is not empty.

    Attributes:
        bins: (m,) int32, ascending.
        counts: (m,) int64, > 0.
        sums: named (m,) float64, what else was added up over the values of each bin.
    """

    bins: Bins = field(default_factory=lambda: np.empty(0, np.int32))
    counts: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    sums: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    @classmethod
    def of(cls, values: NDArray[np.float32], **weights: NDArray[Any]) -> Self:
        """The histogram of finite float32 values, any shape.

        Args:
            values: what is counted.
            weights: named, in the shape of `values`: summed over the values of each bin.
        """
        index = bins_of(values.ravel()) + _HALF
        counts = np.bincount(index, minlength=2 * _HALF)
        taken = np.flatnonzero(counts)
        sums: dict[str, NDArray[np.float64]] = {
            name: np.bincount(index, weight.ravel(), minlength=2 * _HALF)[taken].astype(np.float64)
            for name, weight in weights.items()
        }
        return cls((taken - _HALF).astype(np.int32), counts[taken].astype(np.int64), sums)

    def merge(self, other: Self) -> Self:
        """The histogram of both together; both have the same sums, or one is empty."""
        bins, where = np.unique(np.concatenate([self.bins, other.bins]), return_inverse=True)

        def total(own: NDArray[Any], others: NDArray[Any], dtype: type[Any]) -> NDArray[Any]:
            added = np.zeros(bins.size, dtype)
            np.add.at(added, where, np.concatenate([own, others]))
            return added

        empty = np.empty(0)
        sums = {
            name: total(self.sums.get(name, empty), other.sums.get(name, empty), np.float64)
            for name in [*self.sums, *(name for name in other.sums if name not in self.sums)]
        }
        return type(self)(bins, total(self.counts, other.counts, np.int64), sums)

    @property
    def count(self) -> int:
        """How many values there are."""
        return int(self.counts.sum())

    def percentile(self, percent: float) -> float:
        """The middle of the bin of the nearest-rank percentile, within 1/64 of the value itself.

        NaN without values. The bin of zero gives 0.
        """
        if not self.counts.size:
            return np.nan
        rank = max(1, int(np.ceil(percent / 100 * self.count)))
        place = int(np.searchsorted(np.cumsum(self.counts), rank))
        bin = self.bins[place : place + 1]
        if bin[0] in (0, -1):
            return 0.0
        low, high = edges_of(bin)
        return float((low[0] + high[0]) / 2)

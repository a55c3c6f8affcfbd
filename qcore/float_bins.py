"""Histograms of floats in bins of equal precision: 32 to every power of two.

A bin holds the float32 values that agree in sign, exponent and the first five bits of the mantissa,
so that one pass over data of any range suffices, and histograms merge by adding. Its upper edge is
at most 1/32 above its lower one. Zero has a bin with the numbers below 2^−131.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from qcore.ranks import nearest_rank

_DROPPED = 18  # bits of the mantissa that a bin does not tell apart
_HALF = 1 << (31 - _DROPPED)  # bins of one sign
_LARGEST = float(np.finfo(np.float32).max)

BIN_WIDTH = 1 / 32
"""How far a bin extends, as a part of its edge nearer to zero, at most."""

MOST_AT_ONCE = 1 << 15
"""Values looked at together, so that they stay in cache."""

Bins = NDArray[np.int32]


def edges_of(bins: Bins) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The lower and the upper edge of each bin; a bin holds the edge that is nearer to zero."""
    magnitude = np.where(bins < 0, ~bins, bins).astype(np.int32)
    near, far = (_float(magnitude + step) for step in (0, 1))
    negative = bins < 0
    return np.where(negative, -far, near), np.where(negative, -near, far)


def _float(magnitude: Bins) -> NDArray[np.float64]:
    return (magnitude << _DROPPED).astype(np.int32).view(np.float32).astype(np.float64)


class _Scratch(threading.local):
    """Memory that each thread keeps: to be given it anew takes longer than to count."""

    def __init__(self) -> None:
        self._bits = np.empty(MOST_AT_ONCE, np.uint32)
        self._index = np.empty(MOST_AT_ONCE, np.intp)

    def leading_bits(self, values: NDArray[np.float32]) -> NDArray[np.intp]:
        """The bits that tell bins apart: from 0 for values upwards from 0, from `_HALF` for values
        downwards.
        """
        bits, index = self._bits[: values.size], self._index[: values.size]
        np.add(values, np.float32(0), out=bits.view(np.float32))  # −0 is 0
        np.right_shift(bits, np.uint32(_DROPPED), out=bits)
        index[...] = bits
        return index


_SCRATCH = _Scratch()


def _ascending(of_leading: NDArray[Any]) -> NDArray[Any]:
    """What was found for each value of the leading bits, in the order of the bins."""
    return np.concatenate([of_leading[: _HALF - 1 : -1], of_leading[:_HALF]])


class Tally:
    """What falls into each bin, in arrays as long as there are bins until all is seen."""

    def __init__(self, *names: str) -> None:
        self._counts = np.zeros(2 * _HALF, np.int64)
        self._sums = {name: np.zeros(2 * _HALF) for name in names}

    def add(self, values: NDArray[np.float32], **weights: NDArray[Any]) -> None:
        """Count a piece, at most `MOST_AT_ONCE` values (n,), and add up the weight of each."""
        leading = _SCRATCH.leading_bits(values)
        self._counts += np.bincount(leading, minlength=2 * _HALF)
        for name, weight in weights.items():
            self._sums[name] += np.bincount(leading, weight, 2 * _HALF)

    def found(self) -> tuple[Bins, NDArray[np.int64], dict[str, NDArray[np.float64]]]:
        """The bins that are not empty, with their counts and sums, as a histogram has them."""
        counts = _ascending(self._counts)
        taken = np.flatnonzero(counts)
        sums = {name: _ascending(added)[taken] for name, added in self._sums.items()}
        return (taken - _HALF).astype(np.int32), counts[taken], sums


@dataclass(frozen=True, eq=False)
class Histogram:
    """What was seen in each bin that is not empty.

    Attributes:
        bins: (m,) int32, ascending: 0 and up for positive values, −1 and down for negative ones.
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
        flat, others = values.ravel(), {name: each.ravel() for name, each in weights.items()}
        tally = Tally(*weights)
        for start in range(0, flat.size, MOST_AT_ONCE):
            piece = slice(start, start + MOST_AT_ONCE)
            tally.add(flat[piece], **{name: weight[piece] for name, weight in others.items()})
        return cls(*tally.found())

    @classmethod
    def merged(cls, parts: Iterable[Self]) -> Self:
        """The histogram of all parts together; they have the same sums, but for empty ones."""
        some = list(parts) or [cls()]
        if len(some) == 1:
            return some[0]
        index = np.concatenate([part.bins for part in some]) + _HALF
        counts = np.bincount(index, np.concatenate([part.counts for part in some]), 2 * _HALF)
        taken = np.flatnonzero(counts)
        sums: dict[str, NDArray[np.float64]] = {}
        for name in dict.fromkeys(name for part in some for name in part.sums):
            added = np.concatenate([part.sums.get(name, np.empty(0)) for part in some])
            sums[name] = np.bincount(index, added, 2 * _HALF)[taken].astype(np.float64)
        return cls((taken - _HALF).astype(np.int32), counts[taken].astype(np.int64), sums)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        same = np.array_equal(self.bins, other.bins) and np.array_equal(self.counts, other.counts)
        return (
            same
            and self.sums.keys() == other.sums.keys()
            and all(np.array_equal(own, other.sums[name]) for name, own in self.sums.items())
        )

    def __hash__(self) -> int:
        return hash((self.bins.tobytes(), self.counts.tobytes()))

    def merge(self, other: Self) -> Self:
        """The histogram of both together; both have the same sums, or one is empty."""
        return self.merged([self, other])

    @property
    def magnitudes(self) -> Self:
        """The histogram of the absolute values, without sums."""
        negative = self.bins < 0
        halves = ((~self.bins[negative], negative), (self.bins[~negative], ~negative))
        return self.merged(type(self)(bins, self.counts[which]) for bins, which in halves)

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
        rank = max(1, nearest_rank(percent, self.count))
        place = int(np.searchsorted(np.cumsum(self.counts), rank))
        bin = self.bins[place : place + 1]
        if bin[0] in (0, -1):
            return 0.0
        low, high = np.clip(edges_of(bin), -_LARGEST, _LARGEST)  # beyond the last one is infinity
        return float((low[0] + high[0]) / 2)

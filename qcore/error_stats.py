"""Sums over elements from which every metric follows, and which merge in any split."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from qcore.error_detail import HISTOGRAMS, measure_histograms
from qcore.float_bins import Histogram

SUMS = ("x2", "e2", "xy", "y2", "abs_e", "max_e", "clipped")
"""The sums that are one number, by the name of their field in `ErrorStats`."""

MEASURED = (*SUMS, *HISTOGRAMS)
"""What a backend measures."""

EXPECTED = "expected_e2"
"""What follows from the tensor and the recipe alone."""

STATS = (*MEASURED, EXPECTED)
"""All that a metric may ask for."""

_NONE = Histogram()

_PIECE = 1 << 13
"""Elements summed at once: they stay in cache, and are too few for a BLAS to share among threads,
so that the sums are the same to the last bit however many it has."""


@dataclass(frozen=True)
class ErrorStats:
    """Sums over elements x, their renderings y = x̂, and errors e = x̂ − x, in float64.

    A sum that was not asked for is NaN, and a histogram is empty.

    Attributes:
        count: elements.
        stored_bits: what the packed codes, scales, zero points and tables take.
        nonfinite: elements that were NaN or infinite and have been replaced.
        x2: Σx². e2: Σe². xy: Σx·x̂. y2: Σx̂². abs_e: Σ|e|. max_e: max |e|.
        clipped: how many elements lie outside what the grid covers.
        errors: how often each |e| was met, in bins.
        magnitudes: how often each |x| was met, in bins, with the sums `x2` and `e2` of each.
        expected_e2: the Σe² that theory expects, of a whole tensor; no backend knows it.
    """

    count: int = 0
    stored_bits: int = 0
    nonfinite: int = 0
    x2: float = 0.0
    e2: float = 0.0
    xy: float = 0.0
    y2: float = 0.0
    abs_e: float = 0.0
    max_e: float = 0.0
    clipped: float = 0.0
    errors: Histogram = _NONE
    magnitudes: Histogram = _NONE
    expected_e2: float = 0.0

    def merge(self, other: Self) -> Self:
        """The stats of both sets of elements together."""
        unknown = math.isnan(self.max_e) or math.isnan(other.max_e)
        return type(self)(
            count=self.count + other.count,
            stored_bits=self.stored_bits + other.stored_bits,
            nonfinite=self.nonfinite + other.nonfinite,
            x2=self.x2 + other.x2,
            e2=self.e2 + other.e2,
            xy=self.xy + other.xy,
            y2=self.y2 + other.y2,
            abs_e=self.abs_e + other.abs_e,
            max_e=math.nan if unknown else max(self.max_e, other.max_e),
            clipped=self.clipped + other.clipped,
            errors=self._merged(self.errors, other, other.errors),
            magnitudes=self._merged(self.magnitudes, other, other.magnitudes),
            expected_e2=self.expected_e2 + other.expected_e2,
        )

    def with_histograms(
        self, x: NDArray[np.floating[Any]], values: NDArray[np.float32], sums: Collection[str]
    ) -> Self:
        """The same, with the histograms among `sums`, of `values` as a rendering of `x`.

        Args:
            x: float32 or float64, any shape, finite.
            values: float32, of the same shape.
            sums: some of `MEASURED`.
        """
        if not any(name in sums for name in HISTOGRAMS):
            return self
        found = measure_histograms(x.ravel(), values.ravel(), sums)
        return dataclasses.replace(
            self,
            errors=found.get("errors", self.errors),
            magnitudes=found.get("magnitudes", self.magnitudes),
        )

    def _merged(self, own: Histogram, other: Self, others: Histogram) -> Histogram:
        """Both histograms together; none where there are elements that one does not know of."""
        if not own.bins.size:
            return own if self.count else others
        if not others.bins.size:
            return others if other.count else own
        return own.merge(others)


def measure_errors(
    x: NDArray[np.floating[Any]], values: NDArray[np.float32], sums: Collection[str]
) -> ErrorStats:
    """The stats of `values` as a rendering of `x`, every sum in float64: the reference.

    Args:
        x: float32 or float64, any shape, finite.
        values: float32, of the same shape.
        sums: which of `MEASURED` to compute; `clipped` is the quantizer's to count.
    """
    x, values = x.ravel(), values.ravel()
    stats = ErrorStats(clipped=math.nan)
    for start in range(0, x.size, _PIECE):
        piece = slice(start, start + _PIECE)
        stats = stats.merge(_of_piece(x[piece], values[piece], sums))
    if not x.size:
        return _of_piece(x, values, sums)
    return stats.with_histograms(x, values, sums)


def _of_piece(
    x: NDArray[np.floating[Any]], values: NDArray[np.float32], sums: Collection[str]
) -> ErrorStats:
    wide, rendered = x.astype(np.float64), values.astype(np.float64)
    error = rendered - wide
    return ErrorStats(
        count=x.size,
        x2=float(wide @ wide) if "x2" in sums else math.nan,
        e2=float(error @ error) if "e2" in sums else math.nan,
        xy=float(wide @ rendered) if "xy" in sums else math.nan,
        y2=float(rendered @ rendered) if "y2" in sums else math.nan,
        abs_e=float(np.abs(error).sum()) if "abs_e" in sums else math.nan,
        max_e=float(np.abs(error).max(initial=0.0)) if "max_e" in sums else math.nan,
        clipped=math.nan,
    )

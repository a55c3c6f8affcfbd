"""Sums over elements from which every metric follows, and which merge in any split."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

SUMS = ("x2", "e2", "xy", "y2", "abs_e", "max_e", "clipped")
"""The sums that a metric may ask for, by the name of their field in `ErrorStats`."""

_PIECE = 1 << 13
"""Elements summed at once: they stay in cache, and are too few for a BLAS to share among threads,
so that the sums are the same to the last bit however many it has."""


@dataclass(frozen=True)
class ErrorStats:
    """Sums over elements x, their renderings y = x̂, and errors e = x̂ − x, in float64.

    A sum that was not asked for is NaN.

    Attributes:
        count: elements.
        stored_bits: what the packed codes, scales, zero points and tables take.
        nonfinite: elements that were NaN or infinite and have been replaced.
        x2: Σx². e2: Σe². xy: Σx·x̂. y2: Σx̂². abs_e: Σ|e|. max_e: max |e|.
        clipped: how many elements lie outside what the grid covers.
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
        )


def measure_errors(
    x: NDArray[np.floating[Any]], values: NDArray[np.float32], sums: Collection[str]
) -> ErrorStats:
    """The stats of `values` as a rendering of `x`, every sum in float64: the reference.

    Args:
        x: float32 or float64, any shape, finite.
        values: float32, of the same shape.
        sums: which of `SUMS` to compute; `clipped` is the quantizer's to count.
    """
    x, values = x.ravel(), values.ravel()
    stats = ErrorStats(clipped=math.nan)
    for start in range(0, x.size, _PIECE):
        piece = slice(start, start + _PIECE)
        stats = stats.merge(_of_piece(x[piece], values[piece], sums))
    return stats if x.size else _of_piece(x, values, sums)


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

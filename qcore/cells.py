"""Cells: equal parts of a range, in which values are counted, for a small drawing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qcore.float_bins import BIN_WIDTH, Histogram, edges_of

CELLS = 11
"""It is odd, so that the zeros of an even range are in the middle of one."""


def shared_out(histogram: Histogram, lo: float, hi: float) -> NDArray[np.int64]:
    """How many values lie in each cell of [lo, hi], which holds them all.

    A bin across the border of two is shared out evenly. A constant is in the middle.
    """
    if not hi > lo:
        return np.where(np.arange(CELLS) == CELLS // 2, histogram.count, 0)
    edges = np.clip(edges_of(histogram.bins), lo, hi)
    upto = np.cumsum(histogram.counts)
    below = np.stack([upto - histogram.counts, upto])
    borders = np.interp(np.linspace(lo, hi, CELLS + 1), edges.T.ravel(), below.T.ravel())
    borders[[0, -1]] = 0, histogram.count  # a bin that is cut to nothing is in too
    return np.diff(np.rint(borders)).astype(np.int64)


def too_coarse(lo: float, hi: float) -> bool:
    """Whether a histogram's bin can be wider than a cell: the values are far from zero."""
    return 0 < hi - lo < CELLS * BIN_WIDTH * max(abs(lo), abs(hi))


def counted(values: NDArray[np.float32], lo: float, hi: float) -> NDArray[np.int64]:
    """How many of some values in [lo, hi] lie in each cell."""
    place = (values.astype(np.float64) - lo) * (CELLS / (hi - lo))
    return np.bincount(np.minimum(place.astype(np.intp), CELLS - 1), minlength=CELLS)

"""Histograms of how large errors are, and of where: what percentiles and deciles follow from."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.float_bins import Histogram, Tally, edges_of

_SUMS: dict[str, tuple[str, ...]] = {"errors": (), "magnitudes": ("x2", "e2")}

HISTOGRAMS = tuple(_SUMS)
"""The histograms that a metric may ask for, by the name of their field in `ErrorStats`."""

_PIECE = 1 << 13
"""Elements looked at once: what is computed of them stays in cache, and NumPy has memory for it."""

_LARGEST = float(np.finfo(np.float32).max)

Floats = NDArray[np.floating[Any]]


def measure_histograms(
    x: Floats, values: NDArray[np.float32], names: Collection[str]
) -> dict[str, Histogram]:
    """Histograms of `values` as a rendering of `x`, by name.

    Every |e| and |x| is binned as float32; Σx² and Σe² of a bin are in float64.

    Args:
        x: float32 or float64, one axis, finite.
        values: float32, of the same shape.
        names: those of `HISTOGRAMS` among them are computed.
    """
    found = {name: Tally(*_SUMS[name]) for name in HISTOGRAMS if name in names}
    for start in range(0, x.size if found else 0, _PIECE):
        piece = slice(start, start + _PIECE)
        own = x[piece]
        error = np.subtract(values[piece], own, dtype=np.float64)
        if "errors" in found:
            found["errors"].add(_magnitudes(error))
        if "magnitudes" in found:
            squares = {"x2": np.square(own, dtype=np.float64), "e2": np.square(error)}
            found["magnitudes"].add(_magnitudes(own), **squares)
    return {name: Histogram(*tally.found()) for name, tally in found.items()}


def _magnitudes(values: Floats) -> NDArray[np.float32]:
    """|values| in float32, those beyond it as its largest."""
    return np.fmin(np.abs(values), _LARGEST).astype(np.float32, copy=False)


def decile_sums(magnitudes: Histogram, number: int) -> tuple[float, float]:
    """Σx² and Σe² of one tenth of the elements in the order of |x|, 1 the smallest.

    A bin across the border of two tenths gives each its share: the elements of a bin are taken for
    equal, so that any number of elements has ten tenths, and those of a constant are alike.
    """
    counts, count = magnitudes.counts, magnitudes.count
    ends = np.cumsum(counts)
    after, upto = (number - 1) * count / 10, number * count / 10
    inside = np.minimum(ends, upto) - np.maximum(ends - counts, after)
    share = np.maximum(inside, 0) / counts
    x2, e2 = ((share * magnitudes.sums[name]).sum() for name in ("x2", "e2"))
    return float(x2), float(e2)


def drawn(histogram: Histogram) -> dict[str, list[Any]]:
    """Ascending edges, m + 1, and the m counts between them, as `matplotlib.pyplot.stairs` takes
    them: where nothing was seen for several bins, there is a single empty one.
    """
    low, high = (np.minimum(edges, _LARGEST) for edges in edges_of(histogram.bins))
    edges = np.union1d(low, high)
    counts = np.zeros(edges.size - 1, np.int64)
    counts[np.searchsorted(edges, low)] = histogram.counts
    return {"edges": edges.tolist(), "counts": counts.tolist()}

"""What a tensor holds: its range, moments, tails and channels, from sums over chunks that merge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from qcore.arithmetic import chunk_arithmetic
from qcore.blocking import Layout
from qcore.builtin.granularities import Channel, Tensor
from qcore.cells import counted, shared_out, too_coarse
from qcore.chunk import Chunk
from qcore.errors import NonFiniteError
from qcore.float_bins import Histogram
from qcore.moments import Moments
from qcore.observing import Source
from qcore.scheduling import Job

SHORTEST_CHANNEL = 32
"""Fewer elements are no channel here: a float32 scale would take more than a bit of each."""

_TAIL = 99.9
_CHUNK = 1 << 18
_MOST_TASKS = 256
"""So many histograms at most are kept until a tensor is read, however large it is."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TensorStatistics:
    """What the finite elements x of a tensor are like, as float32. What is not defined is NaN.

    Attributes:
        count: how many there are.
        nonfinite: how many are NaN or infinite, or become so in float32, and are left out.
        zeros: how many are 0.
        min: the least.
        max: the greatest.
        mean: their mean.
        deviation: the standard deviation √(Σ(x − mean)²/n).
        skew: Σ(x − mean)³/n ÷ deviation³.
        kurtosis: the excess, Σ(x − mean)⁴/n ÷ deviation⁴ − 3: 0 for normal data, 3 for Laplace.
        p999: the 99.9th percentile of |x|, within 1/64.
        cells: how many lie in each of 11 equal parts of [min, max], a bin of `histogram` across the
            border of two shared out evenly.
        histogram: of x, in bins of equal precision.
        channel_maxima: (channels,) float32, max |x| for each index along the first axis, of tensors
            of two dimensions and more with at least `SHORTEST_CHANNEL` elements a channel.
    """

    KEYS: ClassVar = (
        "count", "nonfinite", "zeros", "min", "max", "mean", "deviation", "skew", "kurtosis",
        "p999", "outlier_ratio", "channel_spread", "cells",
    )  # fmt: skip

    count: int
    nonfinite: int
    zeros: int
    min: float
    max: float
    mean: float
    deviation: float
    skew: float
    kurtosis: float
    p999: float
    cells: tuple[int, ...]
    histogram: Histogram
    channel_maxima: Floats

    @property
    def max_abs(self) -> float:
        """The greatest |x|."""
        return max(abs(self.min), abs(self.max))

    @property
    def outlier_ratio(self) -> float:
        """How many times the 99.9th percentile of |x| the greatest |x| is."""
        if self.p999:
            return self.max_abs / self.p999
        return math.inf if self.max_abs else math.nan

    @property
    def channel_spread(self) -> float:
        """How many times the median of the channels' max |x| the greatest is, zeros left out."""
        maxima = self.channel_maxima[self.channel_maxima > 0]
        if not maxima.size:
            return math.nan
        return self.max_abs / float(np.median(maxima.astype(np.float64)))  # it adds two

    def to_dict(self) -> dict[str, Any]:
        """The numbers by `KEYS`, flat, as JSON holds them: what is not defined is None."""
        found = {key: getattr(self, key) for key in self.KEYS}
        return {key: None if _undefined(value) else value for key, value in found.items()}


def _undefined(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


@dataclass(frozen=True, eq=False)
class Sums:
    """What is added up over some elements, and merges.

    Attributes:
        nonfinite: how many are NaN or infinite, and in none of the rest.
        zeros: how many are 0.
        lo: the least; infinite without elements.
        hi: the greatest.
        moments: their moments.
        histogram: their histogram.
    """

    nonfinite: int = 0
    zeros: int = 0
    lo: float = math.inf
    hi: float = -math.inf
    moments: Moments = field(default_factory=Moments)
    histogram: Histogram = field(default_factory=Histogram)

    @classmethod
    def merged(cls, parts: Sequence[Self]) -> Self:
        """All parts together; the same to the last bit for the same parts in the same order."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            sum(part.nonfinite for part in parts),
            sum(part.zeros for part in parts),
            min((part.lo for part in parts), default=math.inf),
            max((part.hi for part in parts), default=-math.inf),
            Moments.merged(part.moments for part in parts),
            Histogram.merged(part.histogram for part in parts),
        )


def measure_statistics(tensor: NDArray[Any]) -> Job[TensorStatistics]:
    """The statistics of a tensor of numbers, as a job.

    It is read once; and once more for `cells` where its values are so much alike that a bin of the
    histogram is wider than a cell.

    Args:
        tensor: floats, integers or booleans, of any shape.
    """
    in_channels = tensor.ndim > 1 and tensor.size >= SHORTEST_CHANNEL * max(1, len(tensor))
    layout = Layout.of(Channel(0) if in_channels else Tensor(), tensor.shape)
    source = Source(tensor.reshape(layout.shape), layout)
    chunks = layout.chunks(_CHUNK, whole=False)
    size = max(1, -(-len(chunks) // _MOST_TASKS))
    runs = [chunks[start : start + size] for start in range(0, len(chunks), size)]
    parts: list[_Part] = yield [partial(_measure, source, run) for run in runs]
    sums = Sums.merged([part.sums for part in parts])
    maxima = np.zeros(layout.n_blocks if in_channels else 0, np.float32)
    for part in parts if in_channels else ():
        for rows, found in part.maxima:
            maxima[rows] = np.maximum(maxima[rows], found)
    cells = shared_out(sums.histogram, sums.lo, sums.hi)
    if too_coarse(sums.lo, sums.hi):
        seen = yield [partial(_count, source, run, sums.lo, sums.hi) for run in runs]
        cells = np.sum(seen, axis=0)
    return _statistics(sums, cells, maxima)


class _Part(NamedTuple):
    """Some chunks: their sums, and the greatest magnitudes of their blocks, with the rows."""

    sums: Sums
    maxima: list[tuple[NDArray[np.intp] | slice, Floats]]


def _measure(source: Source, chunks: Sequence[Chunk]) -> _Part:
    parts = [_measure_chunk(source, chunk) for chunk in chunks]
    maxima = [found for part in parts for found in part.maxima]
    return _Part(Sums.merged([part.sums for part in parts]), maxima)


def _measure_chunk(source: Source, chunk: Chunk) -> _Part:
    values, lo, hi, nonfinite = _finite(source, chunk)
    histogram = Histogram.of(values)
    near_zero = bool(((histogram.bins == 0) | (histogram.bins == -1)).any())
    sums = Sums(
        nonfinite,
        values.size - int(np.count_nonzero(values)) if near_zero else 0,
        float(lo.min()) + 0.0,  # −0 is 0
        float(hi.max()) + 0.0,
        Moments.of(values),
        histogram,
    )
    return _Part(sums, [(source.layout.rows(chunk), np.maximum(-lo, hi)[:, 0])])


def _finite(source: Source, chunk: Chunk) -> tuple[Floats, Floats, Floats, int]:
    """The finite elements of a chunk, the extremes of each block, and how many others there are."""
    try:
        blocks, (lo, hi), _ = source.blocks(chunk)
    except NonFiniteError as error:
        with chunk_arithmetic():
            blocks = chunk.blocks(source.tensor, np.dtype(np.float32))
        finite = np.isfinite(blocks)
        lo = blocks.min(axis=1, where=finite, initial=np.inf, keepdims=True)
        hi = blocks.max(axis=1, where=finite, initial=-np.inf, keepdims=True)
        return blocks[finite], lo, hi, error.count
    return blocks.ravel(order="K"), lo, hi, 0


def _count(source: Source, chunks: Sequence[Chunk], lo: float, hi: float) -> NDArray[np.int64]:
    counts = [counted(_finite(source, chunk)[0], lo, hi) for chunk in chunks]
    found: NDArray[np.int64] = np.sum(counts, axis=0)
    return found


def _statistics(sums: Sums, cells: NDArray[np.int64], maxima: Floats) -> TensorStatistics:
    moments = sums.moments
    known = moments.count > 0
    max_abs = max(abs(sums.lo), abs(sums.hi))
    return TensorStatistics(
        count=moments.count,
        nonfinite=sums.nonfinite,
        zeros=sums.zeros,
        min=sums.lo if known else math.nan,
        max=sums.hi if known else math.nan,
        mean=moments.mean if known else math.nan,
        deviation=moments.deviation,
        skew=moments.skew,
        kurtosis=moments.kurtosis,
        p999=min(sums.histogram.magnitudes.percentile(_TAIL), max_abs),
        cells=tuple(map(int, cells)),
        histogram=sums.histogram,
        channel_maxima=maxima,
    )

"""Kernels: encode and decode in one go, in buffers, for each kind of grid."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore import GridQuantizer, IntegerGrid, LevelGrid, Quantizer, QuantParams, RoundingPolicy
from qcore_numpy.buffers import BUFFERS, shaped
from qcore_numpy.levels import LevelIndex, level_index

Range = tuple[NDArray[np.float32], NDArray[np.float32]]

_LARGE_SCALE, _LARGE_OFFSET = 2.0**100, 2.0**120
"""Beyond these a product or a sum may overflow float32, and the reference saturates it."""

_LARGE_ZERO_POINT = 1 << 22


class Kernel(ABC):
    """A scheme with its params, for blocks that are compact in memory.

    Each call takes some of the blocks, or a piece of each, and the rows of params that are theirs.
    """

    def __init__(self, params: QuantParams) -> None:
        self._scale = params.scale
        self._offset = params.offset

    def normalized(self, blocks: NDArray[np.float32], rows: slice) -> NDArray[np.float32]:
        """(x − offset) / scale, in a buffer."""
        t = BUFFERS.like(blocks, "t", np.float32)
        if self._offset is None:
            np.divide(blocks, self._scale[rows], out=t)
        else:
            np.subtract(blocks, self._offset[rows], out=t)
            np.divide(t, self._scale[rows], out=t)
        return t

    def values(self, blocks: NDArray[np.float32], rows: slice) -> NDArray[np.float32]:
        """decode(encode(blocks)) in a buffer, without codes in between."""
        t = self.normalized(blocks, rows)
        self.to_units(t, rows)
        np.multiply(t, self._scale[rows], out=t)
        if self._offset is not None:
            np.add(t, self._offset[rows], out=t)
        return t

    @abstractmethod
    def to_units(self, t: NDArray[np.float32], rows: slice) -> None:
        """Turn normalized values into units of the grid, in place."""

    @abstractmethod
    def codes(self, blocks: NDArray[np.float32]) -> NDArray[Any]:
        """The codes of all the blocks."""


class IntegerKernel(Kernel):
    """Integer grids: round and clip.

    The zero point is taken off the ends of the grid instead of being added to every element: the
    same integers, all below 2²⁴.
    """

    def __init__(
        self,
        grid: IntegerGrid,
        params: QuantParams,
        rounding: RoundingPolicy,
        extremes: Range | None,
    ) -> None:
        super().__init__(params)
        self._grid = grid
        self._rounding = rounding
        self._zero_point = params.zero_point
        zero: Any = 0 if params.zero_point is None else params.zero_point
        self._low = np.asarray(grid.qmin - zero, np.float32)
        self._high = np.asarray(grid.qmax - zero, np.float32)
        self._clips = extremes is None or rounding.needs_positions or self._passes_ends(*extremes)

    def _passes_ends(self, lo: NDArray[np.float32], hi: NDArray[np.float32]) -> bool:
        """Whether any block reaches beyond the grid: a policy sends no smaller value higher."""
        everything = slice(None)
        below = self._rounding.round(self.normalized(lo, everything)) < self._low
        above = self._rounding.round(self.normalized(hi, everything)) > self._high
        return bool(below.any() or above.any())

    def to_units(self, t: NDArray[np.float32], rows: slice) -> None:
        self._rounding.round(t, out=t)
        if not self._clips:
            return
        if self._zero_point is None:
            np.clip(t, self._low, self._high, out=t)
        elif t.flags.c_contiguous:
            np.clip(t, self._low[rows], self._high[rows], out=t)
        else:  # where NumPy clips between arrays at a tenth of the speed
            np.maximum(t, self._low[rows], out=t)
            np.minimum(t, self._high[rows], out=t)

    def codes(self, blocks: NDArray[np.float32]) -> NDArray[Any]:
        everything = slice(None)
        t = self.normalized(blocks, everything)
        self.to_units(t, everything)
        if self._zero_point is not None:
            np.add(t, self._zero_point.astype(np.float32), out=t)
        return t.astype(self._grid.code_dtype)


class LevelKernel(Kernel):
    """Level grids: find the index of the level, and take its unit."""

    def __init__(self, grid: LevelGrid, params: QuantParams, index: LevelIndex) -> None:
        super().__init__(params)
        self._grid = grid
        self._index = index
        self._units = _single_units(grid)

    def to_units(self, t: NDArray[np.float32], rows: slice) -> None:
        flat = t.ravel(order="K")
        np.take(self._units, self._index(flat), out=flat, mode="wrap")

    def codes(self, blocks: NDArray[np.float32]) -> NDArray[Any]:
        t = self.normalized(blocks, slice(None))
        index = self._index(t.ravel(order="K"))
        codes = np.add(index, self._grid.code_range[0], dtype=np.int16)
        return shaped(codes.astype(self._grid.code_dtype), t)


def kernel_for(
    quantizer: Quantizer,
    params: QuantParams,
    rounding: RoundingPolicy,
    extremes: Range | None = None,
) -> Kernel | None:
    """The kernel for a scheme, or None where it must run as it is written."""
    if not isinstance(quantizer, GridQuantizer) or not _is_ordinary(params):
        return None
    grid = quantizer.grid
    if isinstance(grid, IntegerGrid):
        return IntegerKernel(grid, params, rounding, extremes)
    if isinstance(grid, LevelGrid) and params.zero_point is None and _is_single(grid):
        index = None if rounding.needs_positions else level_index(grid, rounding)
        return None if index is None else LevelKernel(grid, params, index)
    return None


def _is_ordinary(params: QuantParams) -> bool:
    """Whether float32 holds every intermediate: products and sums finite, integers exact."""
    limits = (
        (params.scale, _LARGE_SCALE),
        (params.offset, _LARGE_OFFSET),
        (params.zero_point, _LARGE_ZERO_POINT),
    )
    return all(
        array is None or (array.max(initial=0) < limit and array.min(initial=0) > -limit)
        for array, limit in limits
    )


@functools.lru_cache(maxsize=64)
def _is_single(grid: LevelGrid) -> bool:
    """Whether float32 holds every unit; those below its range, no float32 comes near."""
    units = grid.units
    return bool(((_single_units(grid) == units) | (np.abs(units) < 2.0**-150)).all())


@functools.lru_cache(maxsize=64)
def _single_units(grid: LevelGrid) -> NDArray[np.float32]:
    return grid.units.astype(np.float32)

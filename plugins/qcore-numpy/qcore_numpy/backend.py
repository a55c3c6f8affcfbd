"""The fast NumPy backend: few passes, in buffers that stay in cache, and tables for levels."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from qcore import (
    Backend,
    ErrorStats,
    GridQuantizer,
    IntegerGrid,
    LevelGrid,
    Quantizer,
    QuantParams,
    RoundingPolicy,
)
from qcore_numpy.buffers import BUFFERS, shaped
from qcore_numpy.levels import level_index
from qcore_numpy.sums import sum_errors

_LARGE_SCALE, _LARGE_OFFSET = 2.0**100, 2.0**120
"""Beyond these a product or a sum may overflow float32, and the reference saturates it."""


@dataclass(frozen=True)
class NumpyBackend(Backend):
    """The reference made fast where a scheme is a grid; other schemes run as they are written."""

    id: ClassVar[str] = "numpy"

    def available(self) -> str | None:
        return None

    def encode(
        self,
        quantizer: Quantizer,
        blocks: NDArray[np.float32],
        params: QuantParams,
        rounding: RoundingPolicy,
    ) -> NDArray[Any]:
        if isinstance(quantizer, GridQuantizer) and _is_ordinary(blocks, params):
            grid = quantizer.grid
            t = _normalized(blocks, params)
            if isinstance(grid, IntegerGrid):
                _round_units(grid, t, params, rounding)
                if params.zero_point is not None:
                    np.add(t, params.zero_point.astype(np.float32), out=t)
                return t.astype(grid.code_dtype)
            if isinstance(grid, LevelGrid) and params.zero_point is None:
                index = level_index(grid, t.ravel(order="K"), rounding)
                if index is not None:
                    codes = np.add(index, grid.code_range[0], dtype=np.int16)
                    return shaped(codes.astype(grid.code_dtype), t)
        return quantizer.encode(blocks, params, rounding)

    def measure(
        self,
        quantizer: Quantizer,
        blocks: NDArray[np.float32],
        params: QuantParams,
        rounding: RoundingPolicy,
        sums: Collection[str],
    ) -> ErrorStats:
        values = _rendered(quantizer, blocks, params, rounding)
        if values is None:
            values = quantizer.decode(quantizer.encode(blocks, params, rounding), params)
            values = np.array(values, np.float32, order="K")
        stats = sum_errors(blocks, values, sums)
        if stats is None:
            return super().measure(quantizer, blocks, params, rounding, sums)
        return self.count_clipped(stats, quantizer, blocks, params, sums)


def _is_ordinary(blocks: NDArray[np.float32], params: QuantParams) -> bool:
    """Whether float32 arithmetic stays finite, and the blocks are in one piece of memory."""
    compact = blocks.flags.c_contiguous or blocks.flags.f_contiguous
    offset = 0 if params.offset is None else np.abs(params.offset).max(initial=0)
    return compact and params.scale.max(initial=0) < _LARGE_SCALE and bool(offset < _LARGE_OFFSET)


def _normalized(blocks: NDArray[np.float32], params: QuantParams) -> NDArray[np.float32]:
    """(x − offset) / scale, in a buffer."""
    t = BUFFERS.like(blocks, "t", np.float32)
    if params.offset is None:
        np.divide(blocks, params.scale, out=t)
    else:
        np.subtract(blocks, params.offset, out=t)
        np.divide(t, params.scale, out=t)
    return t


def _round_units(
    grid: IntegerGrid, t: NDArray[np.float32], params: QuantParams, rounding: RoundingPolicy
) -> None:
    """Turn t into clipped code − zero_point, in place.

    The zero point is taken off the ends of the grid instead of being added to every element: the
    same integers, all below 2²⁴.
    """
    rounding.round(t, out=t)
    zero_point: Any = 0 if params.zero_point is None else params.zero_point
    low = np.asarray(grid.qmin - zero_point, np.float32)
    high = np.asarray(grid.qmax - zero_point, np.float32)
    np.clip(t, low, high, out=t)


def _rendered(
    quantizer: Quantizer,
    blocks: NDArray[np.float32],
    params: QuantParams,
    rounding: RoundingPolicy,
) -> NDArray[np.float32] | None:
    """decode(encode(blocks)) in a buffer, no codes in between; None where there is no kernel."""
    if not (isinstance(quantizer, GridQuantizer) and _is_ordinary(blocks, params)):
        return None
    grid = quantizer.grid
    t = _normalized(blocks, params)
    if isinstance(grid, IntegerGrid):
        _round_units(grid, t, params, rounding)
    elif isinstance(grid, LevelGrid) and params.zero_point is None and _is_single(grid):
        flat = t.ravel(order="K")
        index = level_index(grid, flat, rounding)
        if index is None:
            return None
        np.take(grid.units.astype(np.float32), index, out=flat, mode="wrap")
    else:
        return None
    np.multiply(t, params.scale, out=t)
    if params.offset is not None:
        np.add(t, params.offset, out=t)
    return t


def _is_single(grid: LevelGrid) -> bool:
    """Whether float32 holds every unit; those below its range, no float32 comes near."""
    units = grid.units
    return bool(((units.astype(np.float32) == units) | (np.abs(units) < 2.0**-150)).all())

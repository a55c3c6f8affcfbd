"""The fast NumPy backend: few passes, in buffers that stay in cache, and tables for levels."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from qcore import Backend, ErrorStats, GridQuantizer, Quantizer, QuantParams, RoundingPolicy
from qcore_numpy.kernels import Range, kernel_for
from qcore_numpy.sums import ErrorSums

_PIECE = 1 << 17
"""Elements that stay in a core's cache, with a buffer as large."""

_EVEN = 16
"""Pieces of so many rows, or a multiple, can be summed as fewer and longer rows."""


@dataclass(frozen=True)
class NumpyBackend(Backend):
    """The reference made fast where a scheme is a grid; other schemes run as they are written."""

    id: ClassVar[str] = "numpy"
    # Large, so that little is done between long NumPy calls: threads take turns there.
    grid_chunk_elements: ClassVar[int] = 1 << 20

    def available(self) -> str | None:
        return None

    def encode(
        self,
        quantizer: Quantizer,
        blocks: NDArray[np.float32],
        params: QuantParams,
        rounding: RoundingPolicy,
    ) -> NDArray[Any]:
        blocks = _compact(blocks)
        kernel = kernel_for(quantizer, params, rounding)
        if kernel is None:
            return quantizer.encode(blocks, params, rounding)
        return kernel.codes(blocks)

    def measure(
        self,
        quantizer: Quantizer,
        blocks: NDArray[np.float32],
        params: QuantParams,
        rounding: RoundingPolicy,
        sums: Collection[str],
        extremes: Range | None = None,
    ) -> ErrorStats:
        blocks = _compact(blocks)
        kernel = kernel_for(quantizer, params, rounding, extremes)
        # A policy that goes by position was made for all of the blocks at once.
        in_pieces = isinstance(quantizer, GridQuantizer) and not rounding.needs_positions
        total = ErrorSums(sums)
        stats = ErrorStats()
        for x, rows in _pieces(blocks, _PIECE if in_pieces else blocks.size):
            own = params.rows(rows)
            if kernel is None:
                values = self.render(quantizer, x, own, rounding)
            else:
                values = kernel.values(x, rows)
            if not total.add(x, values):
                stats = stats.merge(super().measure(quantizer, x, own, rounding, sums))
            elif "clipped" in sums:
                stats = stats.merge(self.count_clipped(ErrorStats(), quantizer, x, own, sums))
        return stats.merge(total.stats())


def _compact(blocks: NDArray[np.float32]) -> NDArray[np.float32]:
    """The blocks in one piece of memory, in whichever order they are."""
    if blocks.flags.c_contiguous or blocks.flags.f_contiguous:
        return blocks
    return np.ascontiguousarray(blocks)


def _pieces(
    blocks: NDArray[np.float32], elements: int
) -> Iterator[tuple[NDArray[np.float32], slice]]:
    """Compact pieces of about so many elements, each with its rows of params."""
    n, b = blocks.shape
    by_rows = blocks.flags.c_contiguous and n > 1
    count, size = (n, b) if by_rows else (b, n)
    step = max(1, elements // size)
    if _EVEN < step < count:
        step -= step % _EVEN
    for start in range(0, count, step):
        span = slice(start, start + step)
        yield (blocks[span], span) if by_rows else (blocks[:, span], slice(None))

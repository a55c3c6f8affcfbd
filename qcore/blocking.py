"""Tensors as chunks of blocks, and back.

A granularity's tile cuts a tensor into blocks. Chunks are canonical: they follow from shape, tile
and size alone, whatever the tensor's memory layout.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.chunk import Chunk
from qcore.errors import DtypeError, ShapeError
from qcore.interfaces.granularity import Granularity


@dataclass(frozen=True)
class Layout:
    """How a tensor of one shape is cut into blocks.

    Attributes:
        shape: the tensor's.
        tile: a block's extent along each axis; the last block along an axis may be shorter.
    """

    shape: tuple[int, ...]
    tile: tuple[int, ...]

    @classmethod
    def of(cls, granularity: Granularity, shape: tuple[int, ...]) -> Layout:
        """The layout that a granularity gives a tensor; a 0-d tensor is taken as (1,).

        Raises:
            ShapeError: the shape cannot be cut so.
        """
        shape = shape or (1,)
        tile = granularity.tile(shape)
        if len(tile) != len(shape) or any(t < 0 or t > d for t, d in zip(tile, shape, strict=True)):
            raise ShapeError(f"'{granularity}' gave tile {tile} for shape {shape}")
        return cls(shape, tuple(max(1, extent) for extent in tile))

    @property
    def grid(self) -> tuple[int, ...]:
        """How many blocks there are along each axis: the shape of a stored scale."""
        return tuple(-(-d // t) for d, t in zip(self.shape, self.tile, strict=True))

    @property
    def n_blocks(self) -> int:
        return math.prod(self.grid)

    @cached_property
    def size(self) -> int:
        return math.prod(self.shape)

    def rows(self, chunk: Chunk) -> NDArray[np.intp] | slice:
        """The chunk's blocks as rows of params that are in block order."""
        index = np.zeros((1,) * len(self.grid), np.intp)
        stride = 1
        for axis in reversed(range(len(self.grid))):
            steps = (chunk.first_block[axis] + np.arange(chunk.counts[axis][0])) * stride
            index = index + steps.reshape(-1, *(1,) * (len(self.grid) - 1 - axis))
            stride *= self.grid[axis]
        flat = index.ravel()
        first, last = int(flat[0]), int(flat[-1])
        if last - first == flat.size - 1:
            return slice(first, last + 1)
        return flat

    def chunks(self, elements: int, *, whole: bool, blocks_first: bool = False) -> list[Chunk]:
        """The tensor in chunks of about this many elements.

        Args:
            elements: the most that a chunk holds, unless it must hold a longer block.
            whole: whether blocks must be complete, however long.
            blocks_first: whether to take few blocks at a time, and pieces of a block only where
                it is longer than a chunk; otherwise chunks follow the order in memory.
        """
        if self.size == 0:
            return []
        regions = itertools.product(
            *(_regions(d, t) for d, t in zip(self.shape, self.tile, strict=True))
        )
        return [
            chunk
            for region in regions
            for chunk in _cut(region, elements, whole, whole or blocks_first)
        ]


@dataclass(frozen=True)
class _Region:
    """Equal blocks along one axis: the full ones, or the short last one."""

    start: int
    first_block: int
    blocks: int
    extent: int


def _regions(length: int, tile: int) -> list[_Region]:
    full, rest = divmod(length, tile)
    regions = [_Region(0, 0, full, tile)] if full else []
    return [*regions, _Region(full * tile, full, 1, rest)] if rest else regions


def _cut(
    region: tuple[_Region, ...], elements: int, whole: bool, blocks_first: bool
) -> Iterator[Chunk]:
    """Cut a region along its outermost axis that leaves pieces small enough.

    Axes outside it are gone through one index at a time, axes inside it are kept whole; so every
    chunk is a box, and a slice of the tensor.
    """
    rank = len(region)
    extents = [n for r in region for n in (r.blocks, r.extent)]
    order = tuple(range(2 * rank))
    if blocks_first:
        order = (*order[::2], *order[1::2])
    cuttable = order[:rank] if whole else order
    inside = math.prod(extents)
    for axis in cuttable:
        inside //= extents[axis]
        if inside <= elements:
            break
    outside = order[: order.index(axis)]
    length = extents[axis]
    pieces = -(-length // max(1, elements // inside))
    bounds = [length * i // pieces for i in range(pieces + 1)]
    for corner in itertools.product(*(range(extents[outer]) for outer in outside)):
        for start, stop in itertools.pairwise(bounds):
            spans = [(0, extent) for extent in extents]
            for outer, at in zip(outside, corner, strict=True):
                spans[outer] = (at, at + 1)
            spans[axis] = (start, stop)
            yield _chunk(region, spans)


def _chunk(region: tuple[_Region, ...], spans: list[tuple[int, int]]) -> Chunk:
    slices, counts, first, whole, is_first = [], [], [], True, True
    for r, (g, g_end), (t, t_end) in zip(region, spans[::2], spans[1::2], strict=True):
        slices.append((r.start + g * r.extent + t, r.start + (g_end - 1) * r.extent + t_end))
        counts.append((g_end - g, t_end - t))
        first.append(r.first_block + g)
        whole = whole and t_end - t == r.extent
        is_first = is_first and t == 0
    return Chunk(tuple(slices), tuple(counts), tuple(first), whole, is_first)


def float_tensor(tensor: Any, name: str = "x", *, integers: bool = False) -> NDArray[Any]:
    """`tensor` as an array that can be quantized: floating, of any width, layout and byte order.

    Args:
        tensor: an array, or what NumPy makes one of.
        name: for the error.
        integers: whether integers are welcome, as the numbers they are.

    Raises:
        DtypeError: it holds anything else.
    """
    array = np.asarray(tensor)
    if not is_float(array.dtype) and not (integers and array.dtype.kind in "iub"):
        way_out = (
            "; pass integers=True (--integers) to take them as numbers"
            if array.dtype.kind in "iub"
            else ""
        )
        raise DtypeError(f"'{name}' holds {array.dtype}; qcore quantizes floating tensors{way_out}")
    return array


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype is real floating point: NumPy's, or one of ml_dtypes'."""
    return dtype.kind == "f" or (
        dtype.kind == "V" and dtype.names is None and "float" in dtype.name
    )

"""A chunk: some blocks of a tensor, or a piece of each, seen as (n, b) and put back.

Along each axis of a tensor cut into blocks an element has two indices, which block (g) and where in
it (t), so the tensor is an array (g₀, t₀, g₁, t₁, …). A chunk is a box in it that is also a plain
slice of the tensor.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LONG = 256
"""A run of elements that is long enough for NumPy's inner loops."""

_TURNED_AT_ONCE = 4096


@dataclass(frozen=True)
class Chunk:
    """Some blocks of a tensor, or one piece of each of them.

    Attributes:
        slices: where it is in the tensor, (start, stop) an axis.
        counts: along each axis, (blocks, elements a block) in the chunk.
        first_block: along each axis, the first block's place in the tensor's grid of blocks.
        whole: whether the blocks are complete.
        is_first_piece: whether it holds the first element of its blocks.
    """

    slices: tuple[tuple[int, int], ...]
    counts: tuple[tuple[int, int], ...]
    first_block: tuple[int, ...]
    whole: bool
    is_first_piece: bool

    @property
    def n_blocks(self) -> int:
        return math.prod(g for g, _ in self.counts)

    @property
    def block_len(self) -> int:
        return math.prod(t for _, t in self.counts)

    @property
    def side_by_side(self) -> bool:
        """Whether element i of every block is next to element i of the next one in memory.

        So it is where blocks are short, and where neighbours in the tensor belong to different
        blocks anyway: NumPy's inner loops then run over blocks.
        """
        neighbours = next((t for g, t in reversed(self.counts) if g * t > 1), 1)
        interleaved = neighbours == 1 and self.n_blocks >= _LONG
        return interleaved or self.block_len < min(_LONG, self.n_blocks)

    def view(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """The chunk's elements as (g₀, g₁, …, t₀, t₁, …), without a copy."""
        box = tensor[tuple(slice(start, stop) for start, stop in self.slices)]
        return self.split(box)

    def split(self, box: NDArray[Any]) -> NDArray[Any]:
        """An array of the chunk's shape in the tensor as (g₀, g₁, …, t₀, t₁, …)."""
        split = box.reshape(tuple(itertools.chain.from_iterable(self.counts)))
        rank = len(self.counts)
        return split.transpose(*range(0, 2 * rank, 2), *range(1, 2 * rank, 2))

    def blocks(self, tensor: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        """The chunk as (n, b) in `dtype`, compact; a view of the tensor where that is possible."""
        view = self.view(tensor)
        if not self.side_by_side:
            return _compact(view, dtype).reshape(self.n_blocks, self.block_len)
        rank = len(self.counts)
        turned = view.transpose(*range(rank, 2 * rank), *range(rank))
        compact = turned.flags.c_contiguous and turned.dtype == dtype
        flat = _compact(turned, dtype) if compact else _turned(view, rank, dtype)
        return flat.reshape(self.block_len, self.n_blocks).T

    def positions(self, shape: tuple[int, ...]) -> NDArray[np.uint64]:
        """The C-order index in the tensor of each element, (n, b)."""
        index = np.zeros((1,) * len(shape), np.uint64)
        stride = 1
        for axis in reversed(range(len(shape))):
            start, stop = self.slices[axis]
            steps = np.arange(start, stop, dtype=np.uint64) * np.uint64(stride)
            index = index + steps.reshape(-1, *(1,) * (len(shape) - 1 - axis))
            stride *= shape[axis]
        return self.split(index).reshape(self.n_blocks, self.block_len)

    def scatter(self, blocks: NDArray[Any], out: NDArray[Any]) -> None:
        """Write (n, b) to the chunk's place in a tensor."""
        view = self.view(out)
        view[...] = blocks.reshape(view.shape)


def _turned(view: NDArray[Any], rank: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """(g…, t…) as compact (t…, g…), a few thousand blocks at a time: more would leave the cache."""
    blocks, elements = view.shape[:rank], view.shape[rank:]
    turned = np.empty((*elements, *blocks), dtype)
    target = turned.transpose(*range(len(elements), view.ndim), *range(len(elements)))
    step = max(1, _TURNED_AT_ONCE // math.prod(blocks[1:]))
    for start in range(0, blocks[0], step):
        target[start : start + step] = view[start : start + step]
    turned.flags.writeable = False
    return turned


def _compact(view: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    compact = np.require(view[...], dtype, ("C_CONTIGUOUS", "ALIGNED"))
    compact.flags.writeable = False  # of this view, not of the tensor
    return compact

"""Scratch memory that each thread keeps, so that the kernels allocate next to nothing."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_CACHE_LINE = 64


class Buffers(threading.local):
    """Arrays by name, of one thread, as large as the largest that it asked for so far."""

    def __init__(self) -> None:
        self._bytes: dict[str, NDArray[np.uint8]] = {}

    def flat(self, name: str, count: int, dtype: DTypeLike) -> NDArray[Any]:
        """An uninitialised array of `count` elements."""
        dtype = np.dtype(dtype)
        size = count * dtype.itemsize
        held = self._bytes.get(name)
        if held is None or held.size < size:
            held = self._bytes[name] = _aligned(size)
        return held[:size].view(dtype)

    def like(self, blocks: NDArray[Any], name: str, dtype: DTypeLike) -> NDArray[Any]:
        """An uninitialised array in the shape and the memory order of `blocks`."""
        return shaped(self.flat(name, blocks.size, dtype), blocks)


def _aligned(size: int) -> NDArray[np.uint8]:
    """Bytes that begin with a cache line: wide stores then never straddle two."""
    room = np.empty(size + _CACHE_LINE, np.uint8)
    start = -room.ctypes.data % _CACHE_LINE
    return room[start : start + size]


def shaped(flat: NDArray[Any], blocks: NDArray[Any]) -> NDArray[Any]:
    """A view of `flat`, elements in the memory order of `blocks`, in their shape."""
    if blocks.flags.c_contiguous:
        return flat.reshape(blocks.shape)
    return flat.reshape(blocks.shape[::-1]).T


BUFFERS = Buffers()

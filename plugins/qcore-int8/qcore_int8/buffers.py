"""Scratch memory that each thread keeps: a few tens of megabytes, however large the matrices."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Buffers(threading.local):
    """Scratch arrays by name, of one thread, kept at the largest size so far."""

    def __init__(self) -> None:
        self._flat: dict[str, NDArray[Any]] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
        """An uninitialised array; a name is always asked for with the same dtype."""
        rows, columns = shape
        held = self._flat.get(name)
        if held is None or held.size < rows * columns:
            held = self._flat[name] = np.empty(rows * columns, dtype)
        return held[: rows * columns].reshape(shape)


BUFFERS = Buffers()

"""Drawings in dots: several to a character, in Braille, or in ASCII where that is all there is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BRAILLE = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
"""What each dot of a cell adds to the code point of the empty one."""

_EMPTY = 0x2800
_HEIGHTS = (" ▁▂▃▄▅▆▇█", " .:#")
"""Cells filled from below, in Unicode and in ASCII."""


class Canvas:
    """Cells of 4 × 2 dots; in ASCII of 3 × 1.

    Attributes:
        dots: (height, width) of bool, from the top; set what is to be seen.
    """

    def __init__(self, rows: int, columns: int, *, ascii_only: bool) -> None:
        self._cell = (3, 1) if ascii_only else (4, 2)
        self.dots = np.zeros((rows * self._cell[0], columns * self._cell[1]), bool)

    def lines(self, several: str = "|") -> list[str]:
        """The rows of cells.

        Args:
            several: what ASCII shows where one dot is above another.
        """
        tall, wide = self._cell
        height, width = self.dots.shape
        cells = self.dots.reshape(height // tall, tall, width // wide, wide).swapaxes(1, 2)
        if wide == 1:
            return ["".join(_ascii(cell.ravel(), several) for cell in row) for row in cells]
        marks = (cells * _BRAILLE).sum(axis=(2, 3))
        return ["".join(chr(_EMPTY + mark) if mark else " " for mark in row) for row in marks]


def _ascii(cell: NDArray[np.bool_], several: str) -> str:
    set_dots = np.flatnonzero(cell)
    if set_dots.size > 1:
        return several
    return "'-."[set_dots[0]] if set_dots.size else " "


def filled(heights: NDArray[np.float64], rows: int, *, ascii_only: bool) -> list[str]:
    """An area, as rows of cells from the top.

    Args:
        heights: of each column, 0 to 1.
        rows: what 1 takes.
        ascii_only: whether cells are to be ASCII.
    """
    cells = _HEIGHTS[ascii_only]
    full = len(cells) - 1
    eighths = np.rint(heights * rows * full).astype(int)
    return [
        "".join(cells[min(max(height - below * full, 0), full)] for height in eighths)
        for below in reversed(range(rows))
    ]

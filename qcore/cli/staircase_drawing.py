"""The map x → x̂ and its levels, drawn in characters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from qcore.cli.dots import Canvas
from qcore.level_table import LevelTable

NARROWEST, WIDEST = 25, 44
"""Of a drawing, in columns: three fit on 80."""

_LABELS = 3
"""The columns of the numbers at the left, with the axis."""

_CURVE, _AXIS = "cyan", "dim"


def staircase(table: LevelTable, width: int, *, ascii_only: bool) -> Text:
    """The map on the table's range, about as wide as it is tall, with its levels at the right.

    Args:
        table: whose map.
        width: columns, with the axes.
        ascii_only: whether to use no other characters.
    """
    columns = width - _LABELS - 2
    rows = columns // 2
    curve = Canvas(rows, columns, ascii_only=ascii_only)
    marks = Canvas(rows, 1, ascii_only=ascii_only)
    height, across = curve.dots.shape
    bottom, top = min(table.lo, table.values[0]), max(table.hi, table.values[-1])

    def dot(values: NDArray[np.float64]) -> NDArray[np.intp]:
        places: NDArray[np.float64] = (top - values) / (top - bottom) * (height - 1)
        return np.rint(places).astype(np.intp)

    x = table.lo + (np.arange(across) + 0.5) / across * (table.hi - table.lo)
    stairs = table.stairs
    path = dot(stairs.values[np.searchsorted(stairs.edges, x) - 1])
    curve.dots[path, np.arange(across)] = True
    for column in range(1, across):  # the risers
        curve.dots[path[column] + 1 : path[column - 1], column] = True
    marks.dots[dot(table.values)] = True
    at = {int(dot(np.array(value))) * rows // height: value for value in _ticks(table)}
    tick, line, corner, floor = "+|+-" if ascii_only else "┤│└─"
    drawn = Text(no_wrap=True)
    for row, (cells, mark) in enumerate(zip(curve.lines(), marks.lines("="), strict=True)):
        number = f"{at[row]:2g}{tick}" if row in at else f"  {line}"
        drawn.append(number, _AXIS).append(cells, _CURVE).append(f" {mark}\n")
    return drawn.append(f"  {corner}{floor * columns}\n{_numbers(table, columns)}", _AXIS)


def _ticks(table: LevelTable) -> list[float]:
    return sorted({table.lo, 0.0, table.hi})


def _numbers(table: LevelTable, columns: int) -> str:
    """The numbers under the axis, each at its place."""
    line = [" "] * (_LABELS + columns)
    for value in _ticks(table):
        number = f"{value:g}"
        place = round((value - table.lo) / (table.hi - table.lo) * (columns - 1))
        end = _LABELS + place + 1
        line[end - len(number) : end] = number
    return "".join(line)

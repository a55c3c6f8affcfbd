"""The code table of a grid: in full where it is short, else its ends and its middle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from qcore.cli.columns import Column, Kind
from qcore.level_table import LevelTable

_MOST = 64
_ENDS = 10
"""Of a longer table, so many codes at either end, and about as many in the middle."""

_GAP = "..."

Row = dict[str, Any]


class CodeTable:
    """The columns and rows of a code table.

    Attributes:
        rows: those shown; an empty one for all that lies between two.
        left_out: how many codes are not shown.
        columns: code, stored form, unit, level, the value where that is another number, and the
            threshold to the next.
    """

    def __init__(self, levels: LevelTable, code_bits: int) -> None:
        rows = levels.rows(code_bits)
        self.rows = rows if len(rows) <= _MOST else _ends_and_middle(rows)
        shown = [row for row in self.rows if row]
        self.left_out = len(rows) - len(shown)
        number = _Number([row["level"] for row in shown], _least_step(levels))
        heads = {"unit": "unit", "level": "level", "value": "value", "threshold": "up to"}
        if levels.values_are_levels:
            del heads["value"]
        self.columns = [
            _column("code", lambda row: str(row["code"])),
            _column("stored", lambda row: row["stored"]),
            *(
                _column(head, lambda row, key=key: number.shown(row[key]))  # type: ignore[misc]
                for key, head in heads.items()
            ),
        ]


class _Number:
    """Numbers with the digits that tell levels apart, and without a scale's rounding errors."""

    def __init__(self, levels: list[float], least_step: float) -> None:
        apart = (n for n in range(4, 9) if len({f"{x:.{n}g}" for x in levels}) == len(levels))
        self._digits = next(apart, 9)
        self._nothing = least_step * 1e-4

    def shown(self, value: float | None) -> str:
        if value is None:
            return ""
        if value.is_integer() and abs(value) < 1e6:
            return f"{value:.0f}"
        return "0" if abs(value) < self._nothing else f"{value:.{self._digits}g}"


def _least_step(levels: LevelTable) -> float:
    """The smallest distance of two levels, on the range of the table or as normalised."""
    step = float(np.diff(levels.grid.units).min())
    return step * min(1 / levels.grid.largest, float(levels.stairs.params.scale.item()))


def _column(head: str, cell: Callable[[Row], str]) -> Column:
    return Column(head, lambda row: cell(row) if row else _GAP, Kind.number)


def _ends_and_middle(rows: list[Row]) -> list[Row]:
    middle = len(rows) // 2
    around = rows[middle - _ENDS // 2 : middle + _ENDS // 2 + 1]
    return [*rows[:_ENDS], {}, *around, {}, *rows[-_ENDS:]]

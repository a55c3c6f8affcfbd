"""Where the levels of schemes lie, above the density of a Gaussian."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from rich.console import RenderableType
from rich.text import Text

from qcore.cli.columns import Column, Kind, table
from qcore.cli.dots import Canvas, filled
from qcore.level_table import SIGMAS, LevelTable

_NARROWEST, _WIDEST = 11, 61
_BELL = 3
"""The rows of the Gaussian."""


class GaussianTable:
    """A line of ticks for each scheme, and the density under them; the middle is zero.

    Attributes:
        say: a text as the screen can show it.
        ascii_only: whether to use no characters but ASCII's.
    """

    def __init__(self, say: Callable[[str], str], *, ascii_only: bool) -> None:
        self._say = say
        self._ascii_only = ascii_only

    def drawn(self, schemes: Mapping[str, LevelTable], width: int) -> Iterator[RenderableType]:
        """The table and its caption.

        Args:
            schemes: levels, by what they are called.
            width: columns of the screen.
        """
        labels = {"name": "scheme", "1": "±1σ", "2": "±2σ", "entropy": "entropy"}
        heads = {key: self._say(label) for key, label in labels.items()}
        rows = [self._row(self._say(name), levels) for name, levels in schemes.items()]
        shares = {str(sigmas): f"{math.erf(sigmas / math.sqrt(2)):.0%}" for sigmas in (1, 2)}
        rows += [{}] * (_BELL - 1)
        rows += [{"name": self._say("N(0, σ²)"), **shares}, {"name": self._say("x / σ")}]
        columns = [
            Column(head, lambda row, key=key: row[1].get(key, ""), Kind.number)  # type: ignore[misc]
            for key, head in heads.items()
        ]
        columns[0] = Column(heads["name"], lambda row: row[1].get("name", ""))
        taken = sum(column.least_width([("", row) for row in rows]) + 2 for column in columns)
        line = _Line(min(max(width - taken - 1, _NARROWEST), _WIDEST), self._ascii_only)
        lines = [*map(line.ticks, schemes.values()), *line.bell(_BELL), line.numbers()]
        columns.insert(1, Column("levels", lambda row: row[0]))
        yield table(columns, list(zip(lines, rows, strict=True)))
        caption = (
            f"the range ends at ±{SIGMAS:g}σ, as that of 256 normal values does; of the levels and "
            "of such values within ±1σ and ±2σ; the entropy of a value's code, in bits"
        )
        yield Text(self._say(caption), style="dim")

    def _row(self, name: str, levels: LevelTable) -> dict[str, str]:
        shares = {str(sigmas): f"{levels.share_within(sigmas):.0%}" for sigmas in (1, 2)}
        return {"name": name, **shares, "entropy": f"{levels.entropy:.2f}"}


class _Line:
    """A line of cells from −`SIGMAS` to `SIGMAS`: an odd number of places, so that one is zero."""

    def __init__(self, cells: int, ascii_only: bool) -> None:
        self._cells = cells
        self._ascii_only = ascii_only
        self._per_cell = 1 if ascii_only else 2
        self._last = (cells * self._per_cell - 1) // 2 * 2

    def _place(self, values: NDArray[np.float64] | float) -> NDArray[np.intp]:
        """The place of values from −1 to 1."""
        return np.rint((np.clip(values, -1, 1) + 1) * self._last / 2).astype(np.intp)

    def ticks(self, table: LevelTable) -> str:
        """A tick for each level."""
        canvas = Canvas(1, self._cells, ascii_only=self._ascii_only)
        canvas.dots[:, self._place(table.values)] = True
        return canvas.lines()[0]

    def bell(self, rows: int) -> list[str]:
        """The density of a Gaussian."""
        places = np.arange(self._cells) * self._per_cell + (self._per_cell - 1) / 2
        x = (places / self._last * 2 - 1) * SIGMAS
        return filled(np.exp(-(x**2) / 2), rows, ascii_only=self._ascii_only)

    def numbers(self) -> str:
        """The whole deviations, each ending in its place; the ends alone where there is no room."""
        line = " " * self._cells
        every = 1 if self._cells > 20 else int(SIGMAS)
        for sigma in range(-int(SIGMAS), int(SIGMAS) + 1, every):
            number = str(sigma)
            end = max(int(self._place(sigma / SIGMAS)) // self._per_cell + 1, len(number))
            line = line[: end - len(number)] + number + line[end:]
        return line

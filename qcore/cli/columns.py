"""Columns, and tables of them that fit the screen."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from qcore.cli.ascii_form import ascii_form, escaped
from qcore.cli.neutral import neutral

_NAME = 16
"""A name or a text takes at least so many columns."""


class Kind(enum.Enum):
    """How a column is set: numbers flush right; names and text on several lines where they must."""

    number = "number"
    word = "word"
    dotted = "name"
    text = "text"


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        head: its heading.
        cell: what it says of an entry.
        kind: how it is set.
        drop: where there is no room, the column with the highest goes first; 0 stays.
    """

    head: str
    cell: Callable[[Any], str]
    kind: Kind = Kind.word
    drop: int = 0

    def shown(self, entry: Any) -> str:
        """The cell, all of it printable: names come from files. Text may be lines of its own."""
        cell = self.cell(entry)
        lines = cell.split("\n") if self.kind is Kind.text else [cell]
        return "\n".join(map(neutral, lines))

    def in_ascii(self) -> Column:
        """The column where the terminal has ASCII alone; a name stays what it is."""
        form = escaped if self.kind is Kind.dotted else ascii_form
        return replace(self, head=ascii_form(self.head), cell=lambda entry: form(self.cell(entry)))

    def least_width(self, entries: Sequence[Any]) -> int:
        """The narrowest that it can be set in."""
        widest = max(len(text) for text in (self.head, *map(self.shown, entries)))
        return widest if self.kind in (Kind.number, Kind.word) else min(_NAME, widest)


class Fitted:
    """A table with its caption; columns go, and the caption says so, where there is no room."""

    def __init__(self, columns: Sequence[Column], entries: Sequence[Any], caption: str) -> None:
        self._columns = columns
        self._entries = entries
        self._caption = caption

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        ascii_only = options.ascii_only
        kept = [column.in_ascii() if ascii_only else column for column in self._columns]
        dropped = []
        while self._width(kept) > options.max_width and len(kept) > 1:
            spare = max(kept, key=lambda column: column.drop)
            dropped.append(spare if spare.drop else kept[-1])  # before a number is cut
            kept.remove(dropped[-1])
        yield _table(kept, self._entries)
        caption = ascii_form(self._caption) if ascii_only else self._caption
        lines = [*map(neutral, caption.split("\n"))]
        if dropped:
            heads = ", ".join(column.head for column in dropped)
            lines.append(f"no room for {heads}; a wider screen has them")
        yield Text("\n".join(lines), style="dim")

    def _width(self, columns: Sequence[Column]) -> int:
        return sum(column.least_width(self._entries) + 2 for column in columns) - 1


def table(columns: Sequence[Column], entries: Sequence[Any]) -> RenderableType:
    """A table of entries, a row each."""
    return _Drawn(columns, entries)


@dataclass(frozen=True)
class _Drawn:
    """Columns in the characters that the terminal has, and as wide as these make them."""

    columns: Sequence[Column]
    entries: Sequence[Any]

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._table(options))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._table(options)

    def _table(self, options: ConsoleOptions) -> Table:
        in_ascii = [column.in_ascii() for column in self.columns]
        return _table(in_ascii if options.ascii_only else self.columns, self.entries)


def _table(columns: Sequence[Column], entries: Sequence[Any]) -> Table:
    drawn = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, header_style="bold")
    for column in columns:
        number = column.kind is Kind.number
        drawn.add_column(
            column.head,
            justify="right" if number else "left",
            no_wrap=number,
            min_width=column.least_width(entries) if column.kind is not Kind.word else None,
            overflow="fold",
        )
    for entry in entries:
        cells = ((column.kind, column.shown(entry)) for column in columns)
        drawn.add_row(*(_Name(c) if kind is Kind.dotted else Text(c) for kind, c in cells))
    return drawn


class _Name:
    """A dotted name, on several lines where there is no room for it on one."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(min(_NAME, len(self._name)), len(self._name))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = [""]
        for part in re.findall(r"[^./_]*[./_]|[^./_]+", self._name):
            if lines[-1] and len(lines[-1] + part) > options.max_width:
                lines.append("")
            lines[-1] += part
        yield Text("\n".join(lines), overflow="fold")

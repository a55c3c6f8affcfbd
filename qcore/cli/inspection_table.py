"""What tensors hold, a row each, and under the table what their hints mean."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult

from qcore.cli.columns import Column, Fitted, Kind, table
from qcore.cli.sizes import shown_bits, shown_bytes
from qcore.hints import FEWEST, Hint, shown
from qcore.inspection import Inspection
from qcore.statistics import TensorStatistics

_MOST_ROWS = 400

_FOLDED_NAME, _NAME = 16, 34
"""The columns that a name gets at the least in any table, and here."""

_BARS = "▁▂▃▄▅▆▇█"
_ASCII_BARS = ".:-=+*#@"


class InspectionTable:
    """Tensors as a table, as much of it as fits, with a caption; then the hints, a line a kind."""

    def __init__(self, found: Sequence[Inspection], left: int) -> None:
        self._found = found
        self._left = left

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        names = max((len(inspection.ref.name) for inspection in self._found), default=0)
        room = max(0, min(names, _NAME) - _FOLDED_NAME)  # other columns go before names are folded
        shown = Fitted(self._columns(options.ascii_only), self._found[:_MOST_ROWS], self._caption())
        yield from shown.__rich_console__(console, options.update(width=options.max_width - room))
        kinds = _kinds(self._found)
        if kinds:
            yield ""
            yield table(_HINT_COLUMNS, kinds)

    def _columns(self, ascii_only: bool) -> list[Column]:
        columns = _header_columns()
        if len({inspection.ref.source for inspection in self._found}) > 1:
            columns.insert(1, Column("file", lambda i: i.ref.source, Kind.dotted))
        if all(inspection.statistics is None for inspection in self._found):
            return [replace(column, drop=0) for column in columns]
        return columns + _statistics_columns(_ASCII_BARS if ascii_only else _BARS)

    def _caption(self) -> str:
        elements = sum(inspection.ref.size for inspection in self._found)
        total = sum(inspection.nbytes or 0 for inspection in self._found)
        lines = [f"{_tensors(len(self._found))} · {elements:,} elements · {shown_bytes(total)}"]
        if self._left:
            lines.append(f"{self._left} left out")
        if len(self._found) > _MOST_ROWS:
            lines.append(f"{_MOST_ROWS} of {len(self._found)} rows shown; --format csv has all")
        return " · ".join(lines)


def _header_columns() -> list[Column]:
    return [
        Column("tensor", lambda i: i.ref.name, Kind.dotted),
        Column("shape", lambda i: " × ".join(map(str, i.ref.shape)) or "scalar", drop=4),
        Column("stored as", lambda i: i.ref.encoding or i.ref.dtype, Kind.text, drop=8),
        Column("size", lambda i: shown_bytes(i.nbytes), Kind.number, drop=9),
        Column("bits/w", lambda i: shown_bits(i.nbytes, i.ref.size), Kind.number, drop=10),
    ]


def _statistics_columns(bars: str) -> list[Column]:
    def number(head: str, read: Callable[[TensorStatistics], str], drop: int = 0) -> Column:
        return Column(head, _of_statistics(read), Kind.number, drop)

    return [
        number("min", lambda s: _number(s.min)),
        number("max", lambda s: _number(s.max)),
        number("mean", lambda s: _number(s.mean), 6),
        number("std", lambda s: _number(s.deviation), 1),
        number("skew", lambda s: _number(s.skew), 7),
        number("kurt", lambda s: _number(s.kurtosis), 3),
        number("zeros", lambda s: f"{s.zeros / s.count:.0%}" if s.zeros else "", 5),
        number("max/p99.9", _outlier_ratio, 2),
        Column("histogram", _of_statistics(lambda s: bar_chart(s.cells, bars))),
        Column("hint", lambda i: ", ".join(hint.word for hint in i.hints), Kind.text),
    ]


def _of_statistics(read: Callable[[TensorStatistics], str]) -> Callable[[Inspection], str]:
    return lambda i: read(i.statistics) if i.statistics is not None and i.statistics.count else ""


def _outlier_ratio(s: TensorStatistics) -> str:
    return _number(s.outlier_ratio) if s.count >= FEWEST else ""  # it is 1 of fewer


def _number(value: float) -> str:
    return "-" if math.isnan(value) else shown(value)


def bar_chart(counts: Sequence[int], bars: str) -> str:
    """A bar for each count, as high as it is beside the greatest; nothing at all for none."""
    highest = max(counts)
    steps = len(bars)
    return "".join(bars[min(steps - 1, steps * c // highest)] if c else " " for c in counts)


class _Kind:
    """The tensors of which the same was found, with the same recipes for it."""

    def __init__(self) -> None:
        self.hints: list[Hint] = []

    @property
    def finding(self) -> str:
        """What was found of them all: the least value and the greatest."""
        ends = dict.fromkeys(shown(end(h.value for h in self.hints)) for end in (min, max))
        return self.hints[0].finding.format(" to ".join(ends))


def _kinds(found: Sequence[Inspection]) -> list[_Kind]:
    """The hints by kind, the most frequent first."""
    kinds: dict[Any, _Kind] = {}
    for inspection in found:
        for hint in inspection.hints:
            kinds.setdefault((hint.word, hint.finding, hint.recipes), _Kind()).hints.append(hint)
    return sorted(kinds.values(), key=lambda kind: -len(kind.hints))


_HINT_COLUMNS = [
    Column("hint", lambda kind: kind.hints[0].word),
    Column("tensors", lambda kind: str(len(kind.hints)), Kind.number),
    Column("what is found", lambda kind: kind.finding, Kind.text),
    Column("worth trying", lambda kind: "\n".join(kind.hints[0].recipes), Kind.text),
]


def _tensors(count: int) -> str:
    return f"{count} tensor{'s' * (count != 1)}"

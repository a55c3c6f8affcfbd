"""The tables that people read, and the flat records that machines do."""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from qcore.interfaces.metric import Metric
from qcore.recipe import AXES, Recipe
from qcore.results import Comparison, Row, Summary

_MOST_ROWS = 40
"""A table on the screen ends here; the other formats give every row."""

_NAME = 16
"""A name or a text takes at least so many columns."""

_SHOWN = ("bits_per_weight", "sqnr_db", "max_abs", "cosine")


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

    def least_width(self, entries: Sequence[Any]) -> int:
        """The narrowest that it can be set in."""
        widest = max(len(text) for text in (self.head, *(self.cell(entry) for entry in entries)))
        return widest if self.kind in (Kind.number, Kind.word) else min(_NAME, widest)


class ComparisonTable:
    """A comparison as a table: recipes best first, or tensors worst first.

    Columns that say the same in every row move to the caption.
    """

    def __init__(
        self, comparison: Comparison, sort: Metric, asked: Sequence[str], per_tensor: bool
    ) -> None:
        self._comparison = comparison
        self._asked = asked
        self._sort = sort
        self._per_tensor = per_tensor
        entries: list[Any] = list(comparison.rows if per_tensor else comparison.summary())
        high_first = (sort.best == "high") != per_tensor
        self._entries = sorted(entries, key=lambda entry: self._rank(entry, high_first))

    def _rank(self, entry: Row | Summary, high_first: bool) -> tuple[bool, float]:
        value = entry.metrics.get(self._sort.id, math.nan)
        unknown = math.isnan(value)
        return unknown, 0.0 if unknown else (-value if high_first else value)

    def records(self) -> list[dict[str, Any]]:
        """Flat records in the order of the table, every field in its own column."""
        return [self._record(entry) for entry in self._entries]

    def _record(self, entry: Row | Summary) -> dict[str, Any]:
        recipe = entry.recipe
        axes = {axis: getattr(recipe, axis) for axis in AXES}
        what = {"scheme": recipe.scheme_spec, "bits": recipe.bits, **axes}
        metrics = {id: None if math.isnan(value) else value for id, value in entry.metrics.items()}
        if isinstance(entry, Row):
            where = {
                "tensor": entry.tensor,
                "source": entry.source,
                "shape": list(entry.shape),
                "dtype": entry.dtype,
            }
            return {**where, **what, **metrics, "seconds": entry.seconds, "error": entry.error}
        counts = {"tensors": entry.tensors, "elements": entry.elements, "seconds": entry.seconds}
        return {**what, **metrics, **counts}

    def draw(self, _: object) -> RenderableType:
        """The table for the terminal, with its caption."""
        shown = self._entries[:_MOST_ROWS]
        varying, same = self._split(self._recipe_columns())
        columns = [*self._leading(), *varying, *self._metric_columns()]
        columns.append(Column("time", lambda entry: _seconds(entry.seconds), Kind.number, drop=3))
        return _Fitted(columns, shown, self._caption(same))

    def _leading(self) -> list[Column]:
        if not self._per_tensor:
            return []
        columns = [Column("tensor", lambda row: row.tensor, Kind.dotted)]
        if len({row.source for row in self._comparison.rows}) > 1:
            columns.append(Column("file", lambda row: row.source, Kind.dotted))
        return columns

    def _recipe_columns(self) -> list[Column]:
        def of(read: Callable[[Recipe], str]) -> Callable[[Row | Summary], str]:
            return lambda entry: read(entry.recipe)

        axes = [Column(_title(axis), of(lambda r, axis=axis: getattr(r, axis))) for axis in AXES]  # type: ignore[misc]
        return [
            Column("scheme", of(lambda recipe: recipe.scheme_spec)),
            Column("bits", of(lambda recipe: str(recipe.bits)), Kind.number),
            *axes,
        ]

    def _split(self, columns: list[Column]) -> tuple[list[Column], list[Column]]:
        """The columns that tell entries apart, and those that do not."""
        varying: list[Column] = []
        same: list[Column] = []
        for column in columns:
            cells = {column.cell(entry) for entry in self._entries}
            (varying if len(cells) > 1 or column.head == "scheme" else same).append(column)
        return varying, same

    def _metric_columns(self) -> list[Column]:
        by_id = {metric.id: metric for metric in self._comparison.metrics}
        ids = dict.fromkeys([*_SHOWN, *self._asked, self._sort.id])

        def value(id: str) -> Callable[[Row | Summary], str]:
            return lambda entry: _number(id, entry.metrics[id])

        spare = {"cosine": 2, "max_abs": 1}
        return [
            Column(
                by_id[id].title or id,
                value(id),
                Kind.number,
                drop=0 if id in self._asked else spare.get(id, 0),
            )
            for id in ids
        ]

    def _caption(self, same: list[Column]) -> str:
        comparison = self._comparison
        facts = [f"{column.head} {column.cell(self._entries[0])}" for column in same]
        facts.append(f"backend {comparison.backend}")
        complete = max(comparison.summary(), key=lambda summary: summary.tensors)
        total = f"{comparison.tensors} tensor{'s' * (comparison.tensors != 1)}"
        if complete.tensors != comparison.tensors:
            total = f"{complete.tensors} of {total}, those on which every recipe succeeded"
        lines = [f"{total} · {complete.elements:,} elements"]
        # Every recipe of a tensor met the same values: one of them counts.
        replaced = sum(row.stats.nonfinite for row in comparison.rows[:: len(comparison.recipes)])
        if replaced:
            lines.append(f"{replaced:,} not finite: taken as 0 or ±3.4e38, and measured so")
        if comparison.skipped:
            rules = [f"{count} {rule}" for rule, count in comparison.skipped.items()]
            lines.append(f"left out: {', '.join(rules)}")
        if len(self._entries) > _MOST_ROWS:
            lines.append(f"{_MOST_ROWS} of {len(self._entries)} rows shown; --format csv has all")
        return "\n".join([" · ".join(facts), " · ".join(lines)])


def registry_table(entries: list[dict[str, Any]]) -> RenderableType:
    """What is registered, by kind."""
    columns = [
        Column("kind", lambda entry: _title(entry["kind"])),
        Column("id", lambda entry: entry["id"]),
        Column("plugin", lambda entry: entry["plugin"]),
        Column("summary", lambda entry: entry["summary"], Kind.text),
    ]
    return _table(columns, entries)


def plugins_table(entries: list[dict[str, Any]]) -> RenderableType:
    """Every plugin, healthy or not."""
    return _table(
        [
            Column("plugin", lambda entry: entry["name"]),
            Column("from", lambda entry: f"{entry['distribution']} {entry['version']}"),
            Column("health", lambda entry: "failed" if entry["error"] else "ok"),
            Column(
                "provides",
                lambda entry: entry["error"] or _provided(entry["provides"]),
                Kind.text,
            ),
        ],
        entries,
    )


def _provided(provides: dict[str, list[str]]) -> str:
    return "\n".join(f"{_title(kind)} {', '.join(ids)}" for kind, ids in provides.items())


class _Fitted:
    """A table with its caption; columns go, and the caption says so, where there is no room."""

    def __init__(self, columns: Sequence[Column], entries: Sequence[Any], caption: str) -> None:
        self._columns = columns
        self._entries = entries
        self._caption = caption

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        kept, dropped = list(self._columns), []
        while self._width(kept) > options.max_width and any(column.drop for column in kept):
            dropped.append(max(kept, key=lambda column: column.drop))
            kept.remove(dropped[-1])
        yield _table(kept, self._entries)
        caption = self._caption
        if dropped:
            caption += (
                f"\nno room for {', '.join(c.head for c in dropped)}; a wider screen has them"
            )
        yield Text(caption, style="dim")

    def _width(self, columns: Sequence[Column]) -> int:
        return sum(column.least_width(self._entries) + 2 for column in columns) - 2


def _table(columns: Sequence[Column], entries: Sequence[Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, header_style="bold")
    for column in columns:
        number = column.kind is Kind.number
        table.add_column(
            column.head,
            justify="right" if number else "left",
            no_wrap=number,
            min_width=column.least_width(entries) if column.kind is not Kind.word else None,
            overflow="fold",
        )
    for entry in entries:
        cells = ((column.kind, column.cell(entry)) for column in columns)
        table.add_row(*(_Name(c) if kind is Kind.dotted else Text(c) for kind, c in cells))
    return table


class _Name:
    """A dotted name, on several lines where there is no room for it on one."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(min(_NAME, len(self._name)), len(self._name))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = [""]
        for part in re.findall(r"[^./_]*[./_]?", self._name):
            if lines[-1] and len(lines[-1] + part) > options.max_width:
                lines.append("")
            lines[-1] += part
        yield Text("\n".join(lines), overflow="fold")


def _title(axis: str) -> str:
    return axis.replace("_", " ")


def _number(id: str, value: float) -> str:
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "exact" if value > 0 and id == "sqnr_db" else str(value)
    if id == "cosine":
        return f"{value:.6f}"
    if id in ("sqnr_db", "bits_per_weight"):
        return f"{value:.2f}"
    return f"{value:.3g}"


def _seconds(value: float) -> str:
    if value >= 1:
        return f"{value:.1f} s"
    return f"{value * 1e3:.0f} ms" if value >= 0.01 else f"{value * 1e3:.1f} ms"

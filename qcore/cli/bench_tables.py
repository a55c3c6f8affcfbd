"""The tables of `qcore bench`, and the flat records that machines read."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import RenderableType

from qcore.benching import ProductBench, QuantizeBench, QuantizeRow, Times
from qcore.cli.columns import Column, Fitted, Kind
from qcore.recipe import AXES


class ProductTable:
    """Integer products: the fastest first, for each shape and pair of dtypes."""

    def __init__(self, bench: ProductBench) -> None:
        self._bench = bench
        order = {(row.shape, row.dtypes): i for i, row in reversed([*enumerate(bench.rows)])}
        self._rows = sorted(
            bench.rows, key=lambda row: (order[row.shape, row.dtypes], _rank(row.times))
        )

    def records(self) -> list[dict[str, Any]]:
        """Flat records in the order of the table."""
        return [row.to_dict() for row in self._rows]

    def draw(self, _: object) -> RenderableType:
        """The table for the terminal, with its caption."""
        varying, same = _split(
            [
                Column("shape", lambda row: _shape(row.shape)),
                Column("dtypes", lambda row: row.dtypes),
                Column("backend", lambda row: row.backend),
                Column("prepared", lambda row: "yes" if row.prepared else "no"),
            ],
            self._rows,
        )
        columns = [
            *varying,
            _number("ms", lambda row: _ms(row.times)),
            _number("GOP/s", lambda row: _three(row.gops)),
            _number("÷sgemm", lambda row: _three(row.time_over_sgemm)),
            _number("÷copy", lambda row: _three(row.time_over_copy), drop=1),
            Column("exact", lambda row: _yes(row.exact)),
            _number("op/byte", lambda row: _three(row.intensity), drop=3),
            Column("bound by", lambda row: row.bound or "-", drop=2),
        ]
        return Fitted(columns, self._rows, self._caption(same))

    def _caption(self, same: list[str]) -> str:
        limits, rows = self._bench.limits, self._rows
        lines = [
            " · ".join([*same, _rounds("ms", [row.times for row in rows])]),
            "÷sgemm: times as long as NumPy's float32 product of the same shape · ÷copy: as a copy "
            "that moves as many bytes",
            f"in this run sgemm did {_three(limits.sgemm_rate / 1e9)} GOP/s, and a large copy "
            f"{_three(limits.copy_rate / 1e9)} GB/s, read and written",
        ]
        parts = {row.shape: row.checked_rows for row in rows if row.checked_rows < row.shape[0]}
        lines += [
            f"exact: {checked:,} of the {shape[0]:,} rows of {_shape(shape)} were checked"
            for shape, checked in parts.items()
        ]
        return "\n".join([*lines, *_inheriting(self._bench.lineup.inheriting, "multiplies")])


class QuantizeTable:
    """Quantizing: the fastest first, for each input and recipe."""

    def __init__(self, bench: QuantizeBench) -> None:
        self._bench = bench
        order: dict[Any, int] = {}
        for row in bench.rows:
            order.setdefault((row.shape, row.dtype, row.recipe), len(order))
        self._rows = sorted(
            bench.rows,
            key=lambda row: (order[row.shape, row.dtype, row.recipe], _rank(row.quantize)),
        )

    def records(self) -> list[dict[str, Any]]:
        """Flat records in the order of the table, every field in its own column."""
        return [_record(row) for row in self._rows]

    def draw(self, _: object) -> RenderableType:
        """The table for the terminal, with its caption."""
        varying, same = _split(
            [
                Column("shape", lambda row: _shape(row.shape)),
                Column("dtype", lambda row: row.dtype),
                Column("scheme", lambda row: row.recipe.scheme_spec),
                Column("bits", lambda row: str(row.recipe.bits), Kind.number),
                Column("granularity", lambda row: row.recipe.granularity),
                Column("backend", lambda row: row.backend),
            ],
            self._rows,
        )
        columns = [
            *varying,
            _number("quantize", lambda row: _ms(row.quantize)),
            _number("quantize GB/s", lambda row: _three(row.gb_per_s(row.quantize)), drop=5),
            _number("÷copy", lambda row: _three(row.time_over_copy(row.quantize)), drop=2),
            _number("measure", lambda row: _ms(row.measure), drop=1),
            _number("measure GB/s", lambda row: _three(row.gb_per_s(row.measure)), drop=4),
            _number("÷copy", lambda row: _three(row.time_over_copy(row.measure)), drop=3),
            Column("exact", lambda row: _yes(row.exact)),
        ]
        return Fitted(columns, self._rows, self._caption(same))

    def _caption(self, same: list[str]) -> str:
        rows = self._rows
        threads = rows[0].threads
        facts = [*same, f"{threads} thread{'s' * (threads != 1)}"]
        times = [times for row in rows for times in (row.quantize, row.measure)]
        facts.append(_rounds("quantize, measure in ms", times))
        copies = [rate for row in rows if (rate := row.gb_per_s(row.copy)) is not None]
        least, most = _three(min(copies, default=None)), _three(max(copies, default=None))
        lines = [
            " · ".join(facts),
            "quantize: to codes · measure: to codes, back, and the error, as compare does",
            "÷copy: times as long as np.copyto of the input, which in this run took in "
            f"{least if least == most else f'{least} to {most}'} GB/s in one thread",
            "exact: the codes are those of the reference",
        ]
        return "\n".join([*lines, *_inheriting(self._bench.lineup.inheriting, "quantizes")])


def _record(row: QuantizeRow) -> dict[str, Any]:
    whole = row.to_dict()
    recipe = row.recipe
    axes = {axis: getattr(recipe, axis) for axis in AXES}
    tasks = {
        f"{task}_{key}": value
        for task in ("quantize", "measure")
        for key, value in whole.pop(task).items()
    }
    del whole["recipe"]
    return {"scheme": recipe.scheme_spec, "bits": recipe.bits, **axes, **whole, **tasks}


def _split(columns: Sequence[Column], rows: Sequence[Any]) -> tuple[list[Column], list[str]]:
    """The columns that tell rows apart, and what the others say in every row."""
    varying: list[Column] = []
    same: list[str] = []
    for column in columns:
        cells = {column.cell(row) for row in rows}
        if len(cells) == 1 and column.head != "backend":
            same.append(f"{column.head} {cells.pop()}")
        else:
            varying.append(column)
    return varying, same


def _number(head: str, cell: Callable[[Any], str], drop: int = 0) -> Column:
    return Column(head, cell, Kind.number, drop)


def _rounds(what: str, times: Sequence[Times]) -> str:
    """How many rounds the medians are of, and how far these differ."""
    counts = sorted({len(taken.seconds) for taken in times if taken.seconds})
    if not counts:
        return "nothing was timed"
    if counts[-1] == 1:
        return f"{what}: one round"
    spreads = [taken.spread for taken in times if taken.spread is not None]
    rounds = f"{counts[0]} to {counts[-1]}" if counts[0] < counts[-1] else str(counts[0])
    typical, worst = statistics.median(spreads), max(spreads)
    return (
        f"{what}: median of {rounds} rounds, in turns; the middle half of them spans "
        f"{typical:.0%}, at worst {worst:.0%}"
    )


def _inheriting(ids: Sequence[str], does: str) -> list[str]:
    return [f"left out: {id}, which {does} as reference does" for id in ids]


def _rank(times: Times) -> float:
    return float("inf") if times.median is None else times.median


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _yes(value: bool | None) -> str:
    return "-" if value is None else "yes" if value else "no"


def _ms(times: Times) -> str:
    return _three(None if times.median is None else times.median * 1e3)


def _three(value: float | None) -> str:
    """Three significant digits, without an exponent for what a kernel takes."""
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:.0f}"
    if value >= 0.001:
        return f"{value:#.3g}".rstrip(".")
    return f"{value:.2g}"

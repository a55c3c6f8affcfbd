"""The table of a comparison that people read, and the flat records that machines do."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import RenderableType

from qcore.case import Case
from qcore.cli.columns import Column, Fitted, Kind
from qcore.cli.tables import title
from qcore.interfaces.metric import Metric
from qcore.loading import create
from qcore.preparing import OUTPUT_METRICS
from qcore.recipe import AXES, DEFAULTS, Recipe
from qcore.results import Comparison, Row, Summary

_MOST_ROWS = 40
"""A table on the screen ends here; the other formats give every row."""

_SHOWN = ("bits_per_weight", "sqnr_db", "expected_sqnr_db", "max_abs", "cosine")
"""In this order; the expected one where it was asked for."""

_DECIBELS = ("sqnr_db", "expected_sqnr_db", "output_sqnr_db")


class ComparisonTable:
    """A comparison as a table: recipes best first, or tensors worst first.

    Columns that say the same in every row move to the caption.
    """

    def __init__(
        self, comparison: Comparison, sort: Metric, asked: Sequence[str], per_tensor: bool
    ) -> None:
        self._comparison = comparison
        self._asked = [str(create("metric", spec)) for spec in asked]
        self._sort = sort
        self._per_tensor = per_tensor
        entries: list[Any] = list(comparison.rows if per_tensor else comparison.summary())
        high_first = (sort.best == "high") != per_tensor
        self._entries = sorted(entries, key=lambda entry: self._rank(entry, high_first))

    def _rank(self, entry: Row | Summary, high_first: bool) -> tuple[bool, float]:
        value = entry.metrics.get(str(self._sort), math.nan)
        unknown = math.isnan(value)
        return unknown, 0.0 if unknown else (-value if high_first else value)

    def records(self) -> list[dict[str, Any]]:
        """Flat records in the order of the table, every field in its own column."""
        return [self._record(entry) for entry in self._entries]

    def _record(self, entry: Row | Summary) -> dict[str, Any]:
        recipe = entry.recipe
        if isinstance(recipe, Recipe):
            axes = {axis: getattr(recipe, axis) for axis in AXES}
            what = {"scheme": recipe.scheme_spec, "bits": recipe.bits, **axes}
        else:
            what = {"scheme": str(recipe), "bits": None, **dict.fromkeys(AXES)}
        if entry.case.activations is not None:
            what["activations"] = str(entry.case.activations)
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
        columns.append(Column("time", lambda entry: _seconds(entry.seconds), Kind.number, drop=4))
        return Fitted(columns, shown, self._caption(same))

    def _leading(self) -> list[Column]:
        if not self._per_tensor:
            return []
        columns = [Column("tensor", lambda row: row.tensor, Kind.dotted)]
        if len({row.source for row in self._comparison.rows}) > 1:
            columns.append(Column("file", lambda row: row.source, Kind.dotted))
        return columns

    def _recipe_columns(self) -> list[Column]:
        def of(read: Callable[[Recipe], str]) -> Callable[[Row | Summary], str]:
            return lambda e: read(e.recipe) if isinstance(e.recipe, Recipe) else ""

        axes = [Column(title(axis), of(lambda r, axis=axis: getattr(r, axis))) for axis in AXES]  # type: ignore[misc]
        return [
            Column("scheme", _scheme),
            Column("bits", of(lambda recipe: str(recipe.bits)), Kind.number),
            *axes,
            *self._activations(),
        ]

    def _activations(self) -> list[Column]:
        if not self._comparison.with_outputs:
            return []
        return [Column("activations", lambda entry: _activations_label(entry.case))]

    def _split(self, columns: list[Column]) -> tuple[list[Column], list[Column]]:
        """The columns that tell entries apart, and those that do not."""
        varying: list[Column] = []
        same: list[Column] = []
        own = [e for e in self._entries if isinstance(e.recipe, Recipe)]  # the rest have no axes
        for column in columns:
            cells = {column.cell(entry) for entry in own}
            (varying if len(cells) > 1 or column.head == "scheme" else same).append(column)
        return varying, same

    def _metric_columns(self) -> list[Column]:
        by_spec = {str(metric): metric for metric in self._comparison.metrics}
        outputs = OUTPUT_METRICS if self._comparison.with_outputs else ()
        shown = [spec for spec in _SHOWN if spec in by_spec]
        specs = dict.fromkeys([*shown, *outputs, *self._asked, str(self._sort)])
        deciles = [spec for spec in specs if by_spec[spec].id == "decile"]
        if len(deciles) == 1:
            deciles = []

        def value(spec: str) -> Callable[[Row | Summary], str]:
            return lambda entry: _number(spec, entry.metrics[spec])

        spare = {"cosine": 3, "max_abs": 2, "output_rel_l2": 1}
        columns = [
            Column(
                by_spec[spec].title or spec,
                value(spec),
                Kind.number,
                drop=0 if spec in self._asked else spare.get(spec, 0),
            )
            for spec in specs
            if spec not in deciles
        ]
        return [*columns, *([_profile(deciles)] if deciles else [])]

    def _caption(self, same: list[Column]) -> str:
        comparison = self._comparison
        own = [entry for entry in self._entries if isinstance(entry.recipe, Recipe)]
        facts = [f"{column.head} {column.cell(own[0])}" for column in same if own]
        facts.append(f"backend {comparison.backend}")
        complete = max(comparison.summary(), key=lambda summary: summary.tensors)
        total = f"{comparison.tensors} tensor{'s' * (comparison.tensors != 1)}"
        if complete.tensors != comparison.tensors:
            total = f"{complete.tensors} of {total}, those on which every recipe succeeded"
        lines = [f"{total} · {complete.elements:,} elements"]
        if comparison.with_outputs:
            layers = max(summary.layers for summary in comparison.summary())
            lines.append(f"out: the output of {layers} layer{'s' * (layers != 1)}")
        # Every recipe of a tensor met the same values: one of them counts.
        replaced = sum(row.stats.nonfinite for row in comparison.rows[:: len(comparison.cases)])
        if replaced:
            lines.append(f"{replaced:,} not finite: taken as 0 or ±3.4e38, and measured so")
        if comparison.unfinished:
            lines.append(f"interrupted: {comparison.unfinished} more tensors were not reached")
        if comparison.skipped:
            rules = [f"{count} {rule}" for rule, count in comparison.skipped.items()]
            lines.append(f"left out: {', '.join(rules)}")
        if len(self._entries) > _MOST_ROWS:
            lines.append(f"{_MOST_ROWS} of {len(self._entries)} rows shown; --format csv has all")
        return "\n".join([" · ".join(facts), " · ".join(lines)])


def _profile(specs: Sequence[str]) -> Column:
    """Several deciles side by side, to whole decibels: each in a column, they fill the screen."""

    def cell(entry: Row | Summary) -> str:
        return " ".join(f"{_whole(entry.metrics[spec]):>2}" for spec in specs)

    return Column("SQNR dB by decile of |x|", cell, Kind.number, drop=1)


def _scheme(entry: Row | Summary) -> str:
    """The scheme with its options, or where a tensor is stored in another way, and how."""
    recipe = entry.recipe
    return recipe.scheme_spec if isinstance(recipe, Recipe) else str(recipe)


def _activations_label(case: Case) -> str:
    """The activations' recipe in a few words, such as `asymmetric 8 token`."""
    own = case.activations
    if not isinstance(own, Recipe):
        return own or ""
    further = [getattr(own, axis) for axis in AXES if getattr(own, axis) != DEFAULTS[axis]]
    return " ".join([own.scheme_spec, str(own.bits), *further])


def _number(id: str, value: float) -> str:
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "exact" if value > 0 and id.endswith("sqnr_db") else str(value)
    if id == "cosine":
        return f"{value:.6f}"
    if id in ("bits_per_weight", *_DECIBELS) or id.startswith("decile:"):
        return f"{value:.2f}"
    return f"{value:.3g}"


def _whole(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.0f}"


def _seconds(value: float) -> str:
    if value >= 1:
        return f"{value:.1f} s"
    return f"{value * 1e3:.0f} ms" if value >= 0.01 else f"{value * 1e3:.1f} ms"

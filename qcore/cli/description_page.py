"""What is told of schemes on the screen: one in full, or several side by side."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from qcore.cli.ascii_form import ascii_form
from qcore.cli.code_table import CodeTable
from qcore.cli.columns import Column, Kind, table
from qcore.cli.gaussian_table import GaussianTable
from qcore.cli.neutral import neutral
from qcore.cli.staircase_drawing import NARROWEST, WIDEST, staircase
from qcore.description import GRANULARITIES, SHAPE, Description, names
from qcore.level_table import LevelTable

_NO_FORMULA = "the scheme gives none"
_NO_LEVELS = "not available, since the scheme is no grid"
_SHAPE = " × ".join(map(str, SHAPE))
_CLAUSE = re.compile(r", (?![^{(]*[})])")
"""A comma of an equation that is not inside a set or a bracket."""


class DescriptionPage:
    """Descriptions for the terminal, drawn to its width and in the characters that it has."""

    def __init__(self, descriptions: Sequence[Description]) -> None:
        self._descriptions = descriptions

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        page = _Page(options.max_width, options.ascii_only)
        described = self._descriptions
        parts = page.specimen(*described) if len(described) == 1 else page.side_by_side(described)
        yield from console.render(Group(*parts), options)


class _Page:
    """What is laid out for a screen of so many columns."""

    def __init__(self, width: int, ascii_only: bool) -> None:
        self._width = width
        self._ascii_only = ascii_only

    def _say(self, text: str) -> str:
        """A text as the screen can show it."""
        return neutral(ascii_form(text) if self._ascii_only else text)

    def specimen(self, description: Description) -> Iterator[RenderableType]:
        """One scheme in full."""
        recipe, levels = description.recipe, description.levels
        title = f"{recipe.scheme_spec} · {recipe.bits} bits · {recipe.rounding}"
        yield Text(self._say(title), style="bold")
        yield ""
        yield self._facts(_facts(description))
        if levels is not None:
            yield ""
            yield self._codes_and_drawing(levels, recipe.parts.quantizer.code_bits)
            yield ""
            yield from self._on_a_gaussian({recipe.scheme_spec: levels})

    def side_by_side(self, descriptions: Sequence[Description]) -> Iterator[RenderableType]:
        """Several schemes: their equations, drawings, levels and numbers."""
        named = dict(zip(names([d.recipe for d in descriptions]), descriptions, strict=True))
        drawn = {name: d.levels for name, d in named.items() if d.levels is not None}
        yield self._facts([(name, d.formula or _NO_FORMULA) for name, d in named.items()])
        if drawn:
            yield ""
            yield from self._drawings(drawn)
            yield from self._on_a_gaussian(drawn)
        yield ""
        yield from self._numbers(named)
        for name in named:
            if name not in drawn:
                yield Text(self._say(f"{name}: levels {_NO_LEVELS}"), style="dim")

    def _facts(self, facts: Iterable[tuple[str, str]]) -> Table:
        said = [(self._say(name), self._say(fact)) for name, fact in facts]
        room = self._width - max(len(name) for name, _ in said) - 2
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(style="dim")
        for name, fact in said:
            grid.add_row(Text(name), Text(_in_clauses(fact, room)))
        return grid

    def _codes_and_drawing(self, levels: LevelTable, code_bits: int) -> RenderableType:
        """The code table, and the drawing beside it where there is room."""
        codes = CodeTable(levels, code_bits)
        listed: list[RenderableType] = [table(codes.columns, codes.rows)]
        if codes.left_out:
            text = f"{codes.left_out} codes left out; --format csv has all"
            listed.append(Text(text, style="dim"))
        taken = sum(column.least_width(codes.rows) + 2 for column in codes.columns)
        beside = self._width - taken - 1
        drawing = self._drawing(levels, min(max(beside, NARROWEST), WIDEST))
        if beside < NARROWEST:
            return Group(drawing, "", *listed)
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_row(Group(*listed), drawing)
        return grid

    def _drawings(self, schemes: Mapping[str, LevelTable]) -> Iterator[RenderableType]:
        """As many side by side as fit."""
        fit = min(len(schemes), max(1, (self._width + 2) // (NARROWEST + 2)))
        width = min((self._width + 2) // fit - 2, WIDEST)
        names = list(schemes)
        for row in (names[start : start + fit] for start in range(0, len(names), fit)):
            grid = Table.grid(padding=(0, 2, 0, 0))
            for _ in row:
                grid.add_column(width=width)
            grid.add_row(*(Text(self._say(name), style="bold") for name in row))
            grid.add_row(*(self._drawing(schemes[name], width) for name in row))
            yield grid
            yield ""

    def _drawing(self, levels: LevelTable, width: int) -> Text:
        return staircase(levels, width, ascii_only=self._ascii_only)

    def _on_a_gaussian(self, schemes: Mapping[str, LevelTable]) -> Iterator[RenderableType]:
        return GaussianTable(self._say, ascii_only=self._ascii_only).drawn(schemes, self._width)

    def _numbers(self, named: Mapping[str, Description]) -> Iterator[RenderableType]:
        """A row a scheme."""

        def cost(granularity: str) -> Callable[[tuple[str, Description]], str]:
            return lambda entry: f"{entry[1].bits_per_weight[granularity]:.2f}"

        columns = [
            Column("scheme", lambda entry: self._say(entry[0])),
            Column("levels", _of_levels(lambda levels: f"{levels.codes.size}"), Kind.number),
            Column("smallest", _of_levels(lambda levels: f"{levels.smallest:.3g}"), Kind.number),
            Column("gap", _of_levels(lambda levels: f"{levels.largest_gap:.3g}"), Kind.number),
            *(Column(name, cost(name), Kind.number) for name in GRANULARITIES),
        ]
        yield table(columns, list(named.items()))
        caption = (
            "smallest level beside zero and largest gap, on the range that is drawn; "
            f"{GRANULARITIES[0]} … {GRANULARITIES[-1]}: bits per weight of {_SHAPE}"
        )
        yield Text(self._say(caption), style="dim")


def _facts(description: Description) -> list[tuple[str, str]]:
    quantizer, levels = description.recipe.parts.quantizer, description.levels
    low, high = quantizer.code_range
    stored = [f"{name.replace('_', ' ')} {n} bits" for name, n in description.block_bits.items()]
    costs = [f"{name} {cost:.2f}" for name, cost in description.bits_per_weight.items()]
    facts = [
        ("equation", description.formula or _NO_FORMULA),
        ("codes", f"{low} … {high}, {quantizer.code_bits} bits each"),
        ("a block has", ", ".join(stored)),
        ("bits per weight", f"{', '.join(costs)}, of {_SHAPE}"),
    ]
    if levels is None:
        return [*facts, ("levels", _NO_LEVELS)]
    ratio = levels.step_ratio
    spacing = "evenly spaced" if ratio == 1 else f"largest gap {ratio:.3g} times the smallest"
    whole = levels.grid.as_int8()
    fits = "no" if whole is None else f"yes, as {whole[0]} … {whole[-1]}"
    return [*facts, ("levels", f"{levels.codes.size}, {spacing}"), ("fit int8", fits)]


def _of_levels(read: Callable[[LevelTable], str]) -> Callable[[tuple[str, Description]], str]:
    """A cell of an entry with levels; a dash of any other."""
    return lambda entry: "-" if entry[1].levels is None else read(entry[1].levels)


def _in_clauses(text: str, width: int) -> str:
    """The text broken after the commas between its clauses where a line is full."""
    first, *rest = _CLAUSE.split(text)
    lines = [first]
    for clause in rest:
        joined = f"{lines[-1]}, {clause}"
        if len(joined) <= width:
            lines[-1] = joined
        else:
            lines[-1] += ","
            lines.append(clause)
    return "\n".join(lines)

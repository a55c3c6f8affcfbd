"""`qcore describe`: what schemes are, told from their grids alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qcore.cli.options import items, many, widths
from qcore.cli.output import Format, OutputFormat, Records, note, warn, write

if TYPE_CHECKING:
    from rich.console import RenderableType

    from qcore.recipe import Recipe

_RECIPES = "What is described"
_DEFAULT_WIDTH = 4


def describe(
    schemes: Annotated[
        list[str],
        typer.Argument(
            metavar="SCHEME...", help="Such as apot:k=3, or uniform,pot,apot.", show_default=False
        ),
    ],
    bits: Annotated[
        list[str] | None, many("--bits", "Widths of a code. (default: 4)", _RECIPES)
    ] = None,
    rounding: Annotated[
        list[str] | None,
        many("--rounding", "half-even, half-away, floor, ... (default: half-even)", _RECIPES),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.svg|png", help="Draw the maps there too.", show_default=False),
    ] = None,
    format: OutputFormat = Format.table,
) -> None:
    """Describe schemes: equation, levels, codes, thresholds, bits per weight, and the map x to x̂.

    One is told in full; several are set side by side. CSV and Markdown have every code.

    Example: qcore describe uniform,pot,apot --bits 4
    """
    from qcore.description import Description, names

    recipes = _recipes(items("SCHEME", schemes), bits, items("--rounding", rounding))
    described = [Description.of(recipe) for recipe in recipes]
    if plot is not None:
        from qcore import plotting

        named = zip(names(recipes), described, strict=True)
        plotting.plot({name: d.levels for name, d in named if d.levels is not None}, plot)
        note(f"drawn in '{plot}'")

    def page(_: Records) -> RenderableType:
        from qcore.cli.description_page import DescriptionPage

        return DescriptionPage(described)

    if format in (Format.csv, Format.markdown):
        for each in described:
            if each.levels is None:
                note(f"{each.recipe.scheme_spec} is no grid, and has no table of codes")
    rows = [row for each in described for row in each.rows()]
    write(format, page, rows, document=[each.to_dict() for each in described])


def _recipes(schemes: list[str], bits: list[str] | None, rounding: list[str]) -> list[Recipe]:
    """Every combination; a scheme of fixed width has its own unless widths are given."""
    from qcore.recipe import fixed_width, recipe_product

    axes: dict[str, Any] = {"rounding": rounding} if rounding else {}
    given = widths("--bits", bits)
    found: list[Recipe] = []
    for scheme in schemes:
        own = given or {"bits": [fixed_width(scheme) or _DEFAULT_WIDTH]}
        found += recipe_product(scheme=[scheme], **own, **axes, report=warn)
    return list(dict.fromkeys(found))

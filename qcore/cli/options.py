"""Options that several commands take, and how their values are read."""

from __future__ import annotations

import enum
from typing import Annotated, Any

import typer

TENSORS = "Which tensors"
RESULTS = "What is shown"


class NonFiniteChoice(enum.StrEnum):
    """What to do with NaN and infinities."""

    error = "error"
    clip = "clip"


def _of_tensors(help: str, **more: Any) -> Any:
    return typer.Option(help=help, rich_help_panel=TENSORS, **more)


Include = Annotated[str | None, _of_tensors("Only tensors whose name matches.", metavar="REGEX")]
Exclude = Annotated[str | None, _of_tensors("No tensors whose name matches.", metavar="REGEX")]
MinDim = Annotated[int, typer.Option(min=0, help="The fewest dimensions.", rich_help_panel=TENSORS)]
Integers = Annotated[
    bool,
    typer.Option("--integers", help="Integer tensors too.", metavar="", rich_help_panel=TENSORS),
]
NonFinite = Annotated[NonFiniteChoice, _of_tensors("NaN and infinities: an error, or clipped.")]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="(default: one a processor, up to 4)",
        show_default=False,
        rich_help_panel=RESULTS,
    ),
]

Strict = Annotated[
    bool, typer.Option("--strict", help="A plugin that fails to load fails the run.", metavar="")
]


def many(name: str, help: str, panel: str) -> Any:
    """An option that takes several values."""
    return typer.Option(
        name, help=help, rich_help_panel=panel, show_default=False, metavar="A,B,..."
    )


def items(option: str, values: list[str] | None) -> list[str]:
    """The values of an option that takes several, separated by commas or repeated.

    Raises:
        UsageError: it was given without any.
    """
    from qcore.errors import UsageError

    found = [item.strip() for value in values or () for item in value.split(",") if item.strip()]
    if values and not found:
        raise UsageError(f"{option}: no value given")
    return found


def widths(option: str, texts: list[str] | None) -> dict[str, Any]:
    """The `bits=` of a product, if any were given.

    Raises:
        UsageError: one is no whole number.
    """
    from qcore.errors import UsageError

    given = items(option, texts)
    for text in given:
        if not text.isdecimal():
            raise UsageError(f"{option}: '{text}' is no whole number")
    return {"bits": [int(text) for text in given]} if given else {}


def axes(given: dict[str, list[str] | None]) -> dict[str, Any]:
    """The values of those axes of a product that were given."""
    return {
        name: items(f"--{name.replace('_', '-')}", values)
        for name, values in given.items()
        if values
    }

"""`qcore expect`: the error that theory expects of recipes on random values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from qcore.cli.options import axes, items, many, widths
from qcore.cli.output import Format, OutputFormat, warn, warn_of_plugins, write

if TYPE_CHECKING:
    from rich.console import RenderableType

    from qcore.expectation import Expectation
    from qcore.recipe import Recipe

_RECIPES = "What is expected of"
_VALUES = "On which values"


def expect(
    scheme: Annotated[
        list[str] | None,
        many("--scheme", "Schemes, such as symmetric,apot:k=3. (default: all grids)", _RECIPES),
    ] = None,
    bits: Annotated[
        list[str] | None, many("--bits", "Widths of a code. (default: 8,4)", _RECIPES)
    ] = None,
    rounding: Annotated[
        list[str] | None,
        many("--rounding", "half-even, half-away, floor, ... (default: half-even)", _RECIPES),
    ] = None,
    scale_format: Annotated[
        list[str] | None,
        many("--scale-format", "float32, float16, bfloat16, pow2. (default: float32)", _RECIPES),
    ] = None,
    distribution: Annotated[
        list[str] | None,
        many(
            "--distribution",
            "normal, half-normal, uniform, laplace, student-t:5. (default: normal)",
            _VALUES,
        ),
    ] = None,
    size: Annotated[
        list[str] | None,
        many("--size", "Values a block, for the range of minmax. (default: 4096)", _VALUES),
    ] = None,
    alpha: Annotated[
        list[str] | None,
        many(
            "--alpha",
            "Ranges instead: how often the scale to either side, or optimal, the least noise.",
            _VALUES,
        ),
    ] = None,
    format: OutputFormat = Format.table,
) -> None:
    """Expect an error from theory: noise over signal of recipes on random values.

    Values are independent, all of one distribution; no data is made or read. An option that takes
    several values takes them separated by commas, or repeated.

    Example: qcore expect --scheme symmetric,apot --bits 2,3,4 --distribution normal,laplace
    """
    import qcore
    from qcore import expectation

    given = axes({"scheme": scheme, "rounding": rounding, "scale_format": scale_format})
    recipes = qcore.recipe_product(**given, **widths("--bits", bits), report=warn)
    if not scheme:
        recipes = _grids(recipes)
    warn_of_plugins()
    ranges: list[dict[str, Any]] = [{"size": _whole(text)} for text in items("--size", size)]
    ranges += [{"alpha": text} for text in items("--alpha", alpha)]
    expected: list[tuple[str, Expectation]] = []
    for law in items("--distribution", distribution) or ["normal"]:
        for taken in ranges or [{"size": expectation.DEFAULT_SIZE}]:
            found = [expectation.expect(recipe, law, **taken) for recipe in recipes]
            found.sort(key=lambda each: each.nsr)
            expected += [(_shown_range(**taken), each) for each in found]
    records = [_record(each) for _, each in expected]
    write(format, lambda _: _table(expected), records)


def _grids(recipes: list[Recipe]) -> list[Recipe]:
    """Those whose scheme is a grid; a note names the others."""
    import qcore

    kept = [r for r in recipes if isinstance(r.parts.quantizer, qcore.GridQuantizer)]
    for name in dict.fromkeys(recipe.scheme for recipe in recipes if recipe not in kept):
        warn(f"left out: '{name}' is no grid, so what it does depends on the data")
    return kept


def _whole(text: str) -> int:
    from qcore.errors import UsageError

    if not text.isdecimal():
        raise UsageError(f"--size: '{text}' is no whole number")
    return int(text)


def _shown_range(size: int | None = None, alpha: str = "") -> str:
    if size is not None:
        return f"minmax of {size:,}"
    return "optimal" if alpha == "optimal" else "given"


def _record(expected: Expectation) -> dict[str, Any]:
    recipe = expected.recipe
    return {
        "scheme": recipe.scheme_spec,
        "bits": recipe.bits,
        "rounding": recipe.rounding,
        "scale_format": recipe.scale_format,
        "distribution": str(expected.distribution),
        "size": expected.size,
        "alpha": expected.alpha,
        "sigmas": expected.sigmas,
        "signal": expected.signal,
        "noise": expected.noise,
        "clipping": expected.clipping,
        "nsr": expected.nsr,
        "sqnr_db": expected.sqnr_db if math.isfinite(expected.sqnr_db) else None,
    }


def _table(expected: Sequence[tuple[str, Expectation]]) -> RenderableType:
    """With what is the same in every row in the caption."""
    from qcore.cli.columns import Column, Fitted, Kind

    def of(read: Callable[[Expectation], str]) -> Callable[[tuple[str, Expectation]], str]:
        return lambda entry: read(entry[1])

    settings = [
        Column("distribution", of(lambda each: str(each.distribution))),
        Column("range", lambda entry: entry[0]),
        Column("rounding", of(lambda each: each.recipe.rounding)),
        Column("scale format", of(lambda each: each.recipe.scale_format)),
    ]
    same = [column for column in settings if len(set(map(column.cell, expected))) == 1]
    columns = [
        Column("scheme", of(lambda each: each.recipe.scheme_spec)),
        Column("bits", of(lambda each: str(each.recipe.bits)), Kind.number),
        *(column for column in settings if column not in same),
        Column("alpha", of(lambda each: f"{each.alpha:.3f}"), Kind.number),
        Column("sigmas", of(lambda each: f"{each.sigmas:.3f}"), Kind.number, drop=1),
        Column("SQNR dB", of(lambda each: f"{each.sqnr_db:.2f}"), Kind.number),
        Column("NSR", of(lambda each: f"{each.nsr:.3g}"), Kind.number, drop=2),
        Column("clipping", of(_clipping), Kind.number),
    ]
    if all(f"{each.sigmas:.3f}" == f"{each.alpha:.3f}" for _, each in expected):
        columns = [column for column in columns if column.head != "sigmas"]
    facts = ", ".join(f"{column.head} {column.cell(expected[0])}" for column in same)
    meaning = "alpha: how far the range reaches, in units of the distribution's scale"
    return Fitted(columns, expected, f"{facts}\n{meaning}")


def _clipping(expected: Expectation) -> str:
    """The share of the noise that comes from values beyond the range."""
    return f"{expected.clipping / expected.noise:.1%}" if expected.noise else "-"

"""`qcore calibrate`: the ranges of activations, observed once and kept in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qcore.cli.options import (
    RESULTS,
    Exclude,
    Include,
    Integers,
    NonFinite,
    NonFiniteChoice,
    Threads,
)
from qcore.cli.output import Format, OutputFormat, check_output, note, note_errors, write

if TYPE_CHECKING:
    from rich.console import RenderableType

    from qcore.calibrated_ranges import Calibration

_MOST_ROWS = 40

_RECIPE = "What it is calibrated for"


def _axis(help: str) -> Any:
    return typer.Option(help=help, rich_help_panel=_RECIPE)


def calibrate(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE",
            help="Files or folders; a name in several of them is one activation, met several "
            "times. (default: bundled samples)",
            show_default=False,
        ),
    ] = None,
    scheme: Annotated[str, _axis("The scheme, such as symmetric or apot:k=3.")] = "asymmetric",
    bits: Annotated[int | None, _axis("The width of a code. (default: 8)")] = None,
    rounding: Annotated[str, _axis("half-even, half-away, ...")] = "half-even",
    observer: Annotated[str, _axis("minmax, percentile:99.9, mse.")] = "minmax",
    scale_format: Annotated[str, _axis("float32, float16, bfloat16, pow2.")] = "float32",
    include: Include = None,
    exclude: Exclude = None,
    integers: Integers = False,
    nonfinite: NonFinite = NonFiniteChoice.error,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Keep the ranges there, as JSON.",
            rich_help_panel=RESULTS,
        ),
    ] = None,
    format: OutputFormat = Format.table,
    threads: Threads = None,
) -> int:
    """Find the range of each activation over all of its batches, so that it is known beforehand.

    Example: qcore calibrate batches/ --observer percentile:99.9 -o ranges.json
    """
    import qcore
    from qcore import samples
    from qcore.cli.progress import progress

    width: dict[str, Any] = {} if bits is None else {"bits": bits}
    recipe = qcore.Recipe(
        scheme, **width, rounding=rounding, observer=observer, scale_format=scale_format
    )
    if not files:
        note("no FILE given: calibrating the activations of the bundled digits network")
        files, include = [str(samples.path())], include or samples.ACTIVATIONS
    if output is not None:
        check_output(output, files)
    with progress("calibrating") as report:
        calibration = qcore.calibrate(
            files,
            recipe,
            include=include,
            exclude=exclude,
            integers=integers,
            nonfinite=nonfinite.value,
            threads=threads,
            progress=report,
        )
    if output is not None:
        calibration.save(output)
    document = calibration.to_dict() if format is Format.json else None
    write(format, lambda _: _table(calibration), _records(calibration), document=document)
    return _report_failures(calibration)


def _records(calibration: Calibration) -> list[dict[str, Any]]:
    """A flat record for each range, all with the same keys."""
    return [
        {
            "tensor": name,
            "lo": known.lo,
            "hi": known.hi,
            "batches": known.batches,
            "elements": known.elements,
            "nonfinite": known.nonfinite,
        }
        for name, known in calibration.ranges.items()
    ]


def _table(calibration: Calibration) -> RenderableType:
    """The ranges for the terminal, as specs give them, with what they are for underneath."""
    from qcore.cli.columns import Column, Fitted, Kind
    from qcore.spec import format_value

    records = _records(calibration)
    columns = [
        Column("tensor", lambda record: record["tensor"], Kind.dotted),
        Column("lo", lambda record: format_value(record["lo"]), Kind.number),
        Column("hi", lambda record: format_value(record["hi"]), Kind.number),
        Column("batches", lambda record: f"{record['batches']:,}", Kind.number),
        Column("elements", lambda record: f"{record['elements']:,}", Kind.number),
    ]
    return Fitted(columns, records[:_MOST_ROWS], _caption(calibration))


def _caption(calibration: Calibration) -> str:
    from qcore.recipe import AXES

    recipe, count = calibration.template, len(calibration)
    facts = [f"scheme {recipe.scheme_spec}", f"bits {recipe.bits}"]
    facts += [f"{axis.replace('_', ' ')} {getattr(recipe, axis)}" for axis in AXES]
    lines = [f"{count} tensor{'s' * (count != 1)}"]
    clipped = sum(known.nonfinite for known in calibration.ranges.values())
    if clipped:
        lines.append(f"{clipped:,} not finite: taken as 0 or ±3.4e38")
    if calibration.skipped:
        rules = [f"{count} {rule}" for rule, count in calibration.skipped.items()]
        lines.append(f"left out: {', '.join(rules)}")
    if count > _MOST_ROWS:
        lines.append(f"{_MOST_ROWS} of {count} rows shown; --format csv has all")
    return "\n".join([" · ".join(facts), " · ".join(lines)])


def _report_failures(calibration: Calibration) -> int:
    """A line on standard error for each thing that failed, and the exit status."""
    errors = [unreadable.error for unreadable in calibration.unreadable]
    errors += map(str, calibration.failed.values())
    note_errors(errors)
    return 3 if errors else 0

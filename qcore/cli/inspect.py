"""`qcore inspect`: what a file holds: names and shapes, ranges, histograms, and what to try."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from qcore.cli.options import RESULTS, Exclude, Include, Threads
from qcore.cli.output import Format, OutputFormat, note, note_errors, write

if TYPE_CHECKING:
    from rich.console import RenderableType

    from qcore.inspection import Inspection


def inspect(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH",
            help="Files or folders. (default: bundled samples)",
            show_default=False,
        ),
    ] = None,
    include: Include = None,
    exclude: Exclude = None,
    headers: Annotated[
        bool,
        typer.Option(
            "--headers",
            help="Names, shapes and sizes alone, at once: nothing else is read.",
            metavar="",
            rich_help_panel=RESULTS,
        ),
    ] = False,
    format: OutputFormat = Format.table,
    threads: Threads = None,
) -> int:
    """Say what tensors hold: shape, size, range, moments, histogram, and the recipes worth trying.

    Every tensor is read once. JSON and CSV have every number.

    Example: qcore inspect model.gguf --include attn
    """
    import qcore
    from qcore import samples
    from qcore.inspection import Inspection, inspect_refs
    from qcore.sources import Selection, from_paths

    if not paths:
        note("no PATH given: inspecting the bundled digits network and what it is fed")
        paths = [str(samples.path())]
    refs, unreadable = from_paths(paths)
    if not refs and unreadable:
        raise qcore.ReadError(unreadable[0].error)
    kept, left = Selection(include, exclude, integers=True).apply(refs)
    if headers:
        found = [Inspection(ref) for ref in kept]
        records = [inspection.header() for inspection in found]
    else:
        from qcore.cli.progress import progress

        with progress("reading") as report:
            found = list(inspect_refs(kept, threads, report))
        records = [inspection.to_dict() for inspection in found]
    failed = [inspection.error for inspection in found if inspection.error is not None]
    nothing = bool(found) and len(failed) == len(found)
    if format is not Format.table or not nothing:

        def table(_: list[dict[str, Any]]) -> RenderableType:
            return _table(found, sum(left.values()))

        write(format, table, records)
    errors = [each.error for each in unreadable] + failed
    note_errors(errors, "; --format json has them all")
    return 1 if nothing else 3 if errors else 0


def _table(found: list[Inspection], left: int) -> RenderableType:
    from qcore.cli.inspection_table import InspectionTable

    return InspectionTable(found, left)

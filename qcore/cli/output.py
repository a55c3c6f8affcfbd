"""Where results go: one sink for data, in the format asked for, and one for everything else."""

from __future__ import annotations

import csv
import enum
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qcore.cli.ascii_form import ascii_form, is_ascii
from qcore.cli.neutral import neutral

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


_MOST_ERRORS = 10
_NARROWEST, _USUAL = 20, 80  # columns of a screen


class Format(enum.StrEnum):
    """How results are written."""

    table = "table"
    json = "json"
    csv = "csv"
    markdown = "markdown"


OutputFormat = Annotated[Format, typer.Option("--format", help="How to write the results.")]

Records = list[dict[str, Any]]


def write(
    format: Format,
    table: Callable[[Records], RenderableType],
    records: Records,
    *,
    document: Any = None,
    file: Path | None = None,
) -> None:
    """Write records as data.

    Args:
        format: how.
        table: draws them for the terminal.
        records: flat, all with the same keys.
        document: what `json` writes instead of the bare records.
        file: where to; standard output if None. It is replaced only once all is written.
    """
    if format is Format.table:
        text = render(table(records), to_file=file is not None)
    elif format is Format.json:
        text = json.dumps(records if document is None else document, indent=2, allow_nan=False)
        text += "\n"
    elif format is Format.csv:
        text = _csv(records)
    else:
        text = _markdown(records)
    if file is None:
        _print(text)
        return
    from qcore import whole_file

    whole_file.write(file, text)


def render(table: RenderableType, *, to_file: bool) -> str:
    """A table as text: in colour on a terminal, and as wide as that is."""
    console = _console(sys.stdout, plain=to_file)
    with console.capture() as capture:
        console.print(table)
    lines = [line.rstrip() for line in capture.get().splitlines()]
    return _shown(console, "\n".join(lines).strip("\n") + "\n")


def note(message: str, style: str = "dim") -> None:
    """A line for the person, on standard error."""
    console = _console(sys.stderr, plain=False)
    console.print(
        _shown(console, neutral(message)),
        style=style,
        markup=False,
        highlight=False,
        emoji=False,
        soft_wrap=True,
    )


def warn(message: str) -> None:
    """A line on standard error for what the run goes on without."""
    note(f"qcore: {message}", style="yellow")


def warn_of_plugins() -> bool:
    """A line on standard error for each plugin that was left out; whether there was any."""
    from qcore.loading import plugins

    for record in plugins().failed:
        found = f"'{record.name}' ({f'{record.distribution} {record.version}'.rstrip()})"
        warn(f"plugin {found} was left out: {record.error}")
    return bool(plugins().failed)


def note_errors(errors: Iterable[str], rest: str = "") -> None:
    """A line on standard error for each thing that failed, up to a few; then how many more."""
    each = list(errors)
    for error in each[:_MOST_ERRORS]:
        note(f"qcore: {error}", style="red")
    if len(each) > _MOST_ERRORS:
        note(f"qcore: and {len(each) - _MOST_ERRORS} more{rest}", style="red")


def _console(stream: Any, *, plain: bool) -> Console:
    from rich.console import Console

    class AsciiConsole(Console):
        encoding = "ascii"  # a property there, of the stream

    kind = AsciiConsole if is_ascii(stream) and not plain else Console
    console = kind(file=stream, no_color=plain or None, force_terminal=False if plain else None)
    if console.width < _NARROWEST:  # COLUMNS=0 is no screen
        console.width = _USUAL
    return console


def _shown(console: Console, text: str) -> str:
    """A text in the characters that the terminal has."""
    return ascii_form(text) if console.encoding == "ascii" else text


def _csv(records: Records) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(records[0]) if records else [], lineterminator="\n")
    writer.writeheader()
    rows = ({key: neutral(_as_text(value)) for key, value in r.items()} for r in records)
    writer.writerows(rows)
    return stream.getvalue()


def _markdown(records: Records) -> str:
    if not records:
        return ""
    heads = list(records[0])
    rows = [[_markdown_cell(_as_text(value)) for value in r.values()] for r in records]
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _markdown_cell(text: str) -> str:
    """A text that Markdown shows as it is: neither a cell's end, nor HTML, a link or code."""
    return re.sub(r"([\\|<>&`]|\](?=\())", r"\\\1", neutral(text))


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict | list | tuple):
        return json.dumps(value)
    return repr(value) if isinstance(value, float) else str(value)


def _print(text: str) -> None:
    from qcore.errors import QcoreError

    if sys.stdout is None:
        raise QcoreError("standard output is closed; write to a file with --output")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # an encoding without × or ─ still gets the rest
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader went away, as `head` does.
        _drop_output()
    except OSError as error:
        _drop_output()
        raise QcoreError(f"cannot write the output: {error.strerror}") from None


def _drop_output() -> None:
    """Send what is still buffered nowhere, so that Python does not try again on its way out."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def check_output(file: Path, inputs: Iterable[str | os.PathLike[str]]) -> None:
    """Refuse, before any work is done, a file that cannot or must not be written.

    Raises:
        UsageError: it is one of the inputs or in one of them, a folder, or in no folder.
    """
    from qcore.errors import UsageError
    from qcore.locating import stored_path

    target = file.resolve()
    here = (path for path in map(stored_path, inputs) if isinstance(path, Path))
    for path in map(Path.resolve, here):
        if target == path or path in target.parents:
            raise UsageError(f"--output '{file}' would write over the input; name another file")
    if file.is_dir():
        raise UsageError(f"--output '{file}' is a folder; name a file in it")
    if not file.parent.is_dir():
        raise UsageError(f"--output '{file}': there is no folder '{file.parent}'")

"""The `qcore` program: its commands, and how an error becomes a line and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, NoReturn

import typer

from qcore.cli import tracebacks
from qcore.cli.ascii_form import ascii_form, ascii_only, is_ascii
from qcore.cli.bench import bench
from qcore.cli.calibrate import calibrate
from qcore.cli.check import check
from qcore.cli.compare import compare
from qcore.cli.describe import describe
from qcore.cli.expect import expect
from qcore.cli.inspect import inspect
from qcore.cli.list import list_
from qcore.cli.neutral import neutral
from qcore.cli.new_plugin import new_plugin
from qcore.cli.plugins import plugins
from qcore.cli.quantize import dequantize, quantize

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name="qcore",
    help="Compare quantization schemes on stored tensors.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(compare)
app.command()(inspect)
app.command()(expect)
app.command()(describe)
app.command()(quantize)
app.command()(dequantize)
app.command()(calibrate)
app.command("list")(list_)
app.command()(plugins)
app.command()(check)
app.command()(new_plugin)
app.add_typer(bench)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"qcore {version('qcore-quant')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, metavar="", help="Print the version."
        ),
    ] = False,
    no_plugins: Annotated[
        bool, typer.Option("--no-plugins", metavar="", help="Load nothing but what is built in.")
    ] = False,
) -> None:
    """Compare quantization schemes on stored tensors."""
    if no_plugins:
        os.environ["QCORE_PLUGINS"] = ""


def run_command(arguments: Sequence[str]) -> int:
    """Run one command line and give its exit status; every error is one line on stderr."""
    from qcore.blame import contained
    from qcore.errors import QcoreError, UsageError

    try:
        with tracebacks.shown(), contained(), _help_in_ascii(arguments):
            status = app(list(arguments), prog_name="qcore", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        return _complain("interrupted", INTERRUPTED)
    except Exception as error:
        if tracebacks.wanted():
            raise
        if hasattr(error, "format_message"):  # the argument parser's, whose class typer hides
            message = error.format_message()
            # Without arguments the help is all there is to say.
            return _complain(f"{message} (see qcore --help)", WRONG_USAGE) if message else 0
        if isinstance(error, QcoreError):
            return _complain(str(error), WRONG_USAGE if isinstance(error, UsageError) else FAILED)
        if isinstance(error, OSError) and error.strerror:
            return _complain(f"cannot write the output: {error.strerror}", FAILED)
        kind = type(error).__name__
        return _complain(f"{kind}: {error} (QCORE_DEBUG=1 shows where)", FAILED)
    if status == INTERRUPTED:  # typer catches the first Ctrl-C itself
        return _complain("interrupted", INTERRUPTED)
    return status if isinstance(status, int) else 0


def _help_in_ascii(arguments: Sequence[str]) -> AbstractContextManager[None]:
    """The help is drawn by typer, which asks the stream alone whether it takes Unicode."""
    asked = not arguments or any(argument in ("-h", "--help") for argument in arguments)
    return ascii_only(sys.stdout) if asked else nullcontext()


def _complain(message: str, status: int) -> int:
    line = neutral(" ".join(message.split()))
    print(f"qcore: {ascii_form(line) if is_ascii(sys.stderr) else line}", file=sys.stderr)
    return status


def run() -> NoReturn:
    """The console script."""
    sys.exit(run_command(sys.argv[1:]))

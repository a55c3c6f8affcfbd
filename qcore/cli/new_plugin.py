"""`qcore new-plugin`: the package of a plugin, to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def new_plugin(
    name: Annotated[
        str, typer.Argument(help="Lower-case words joined by hyphens: its id.", show_default=False)
    ],
    kind: Annotated[
        str,
        typer.Option(
            help="What it adds: scheme, rounding, granularity, observer, scale-format, backend, "
            "metric or reader."
        ),
    ] = "scheme",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Where to, new or empty. (default: qcore-NAME)",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write the package of a plugin, to start from: it installs, passes its tests and is compared.

    Example: qcore new-plugin ternary
    """
    from qcore.scaffold import write_plugin

    plugin = write_plugin(name, kind, output)
    lines = [
        f"wrote {plugin.folder}, which gives {plugin.names.kind_words} '{plugin.names.id}':",
        *(f"  {file}" for file in plugin.files),
        "next:",
        *(f"  {command}" for command in plugin.next_commands),
    ]
    typer.echo("\n".join(lines))

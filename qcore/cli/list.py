"""`qcore list`: what is registered, and which plugin gave it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from qcore.cli.output import Format, OutputFormat, write


def list_(
    kind: Annotated[
        str | None,
        typer.Argument(help="scheme, rounding, granularity, observer, … [all kinds]"),
    ] = None,
    format: OutputFormat = Format.table,
) -> None:
    """List what is registered, and which plugin gave it."""
    from qcore.cli.tables import registry_table
    from qcore.errors import UnknownIdError
    from qcore.loading import plugins
    from qcore.registry import KINDS

    plurals = {hook.removeprefix("qcore_"): name for name, (hook, _) in KINDS.items()}
    asked = None if kind is None else kind.replace("-", "_")
    wanted = None if asked is None else plurals.get(asked, asked)
    if wanted is not None and wanted not in KINDS:
        raise UnknownIdError("kind", kind or "", KINDS)
    registry = plugins().registry
    entries: list[dict[str, Any]] = [
        {
            "kind": name,
            "id": id,
            "plugin": registry.entries[name][id].plugin,
            "summary": _first_sentence(registry.entries[name][id].cls.__doc__),
        }
        for name in KINDS
        if wanted in (None, name)
        for id in registry.ids(name)
    ]
    write(format, registry_table, entries)


def _first_sentence(doc: str | None) -> str:
    """The first sentence of a docstring, on one line, without its full stop."""
    paragraph = " ".join((doc or "").strip().partition("\n\n")[0].split())
    return paragraph.partition(". ")[0].rstrip(".")

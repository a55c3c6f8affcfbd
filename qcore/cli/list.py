"""`qcore list`: what is registered, which plugin gave it, and the options that it has."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qcore.cli.output import Format, OutputFormat, Records, warn_of_plugins, write

if TYPE_CHECKING:
    from rich.console import RenderableType

    from qcore.registry import Entry


def list_(
    kind: Annotated[
        str | None,
        typer.Argument(help="scheme, rounding, granularity, observer, … [all kinds]"),
    ] = None,
    format: OutputFormat = Format.table,
) -> None:
    """List what is registered, which plugin gave it, and its options with their defaults."""
    from qcore.errors import UnknownIdError
    from qcore.loading import plugins
    from qcore.registry import KINDS

    plurals = {hook.removeprefix("qcore_"): name for name, (hook, _) in KINDS.items()}
    asked = None if kind is None else kind.strip().replace("-", "_").replace(" ", "_")
    wanted = None if asked is None else plurals.get(asked, asked)
    if wanted is not None and wanted not in KINDS:
        raise UnknownIdError("kind", kind or "", KINDS)
    registry = plugins().registry
    warn_of_plugins()
    entries = [
        _record(name, registry.entries[name][id])
        for name in KINDS
        if wanted in (None, name)
        for id in registry.ids(name)
    ]
    write(format, _table, entries)


def _record(kind: str, entry: Entry) -> dict[str, Any]:
    return {
        "kind": kind,
        "id": entry.cls.id,
        "plugin": entry.plugin,
        "options": ", ".join(_options(entry.cls)),
        "summary": _first_sentence(entry.cls.__doc__),
    }


def _options(cls: type[Any]) -> list[str]:
    """The fields that a spec may give, each with its default if it has one."""
    from qcore.spec import format_value, spec_fields

    return [
        field.name
        if field.default is dataclasses.MISSING
        else f"{field.name}={format_value(field.default)}"
        for field in spec_fields(cls)
    ]


def _table(entries: Records) -> RenderableType:
    """With the options behind the summary: a column of their own has no room."""
    from qcore.cli.tables import registry_table

    told = [
        {**entry, "summary": f"{entry['summary']} ({entry['options']})"}
        if entry["options"]
        else entry
        for entry in entries
    ]
    return registry_table(told)


def _first_sentence(doc: str | None) -> str:
    """The first sentence of a docstring, on one line, without its full stop."""
    paragraph = " ".join((doc or "").strip().partition("\n\n")[0].split())
    return paragraph.partition(". ")[0].rstrip(".")

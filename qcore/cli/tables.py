"""Small tables: what a run will take, what is registered, and which plugins there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from qcore.cli.columns import Column, Kind, table
from qcore.cli.sizes import shown_bytes

if TYPE_CHECKING:
    from qcore.estimate import Estimate


def estimate_table(taken: Estimate) -> RenderableType:
    """What a comparison will take, a line a fact."""
    facts = [
        ("tensors", f"{taken.tensors:,}, {taken.elements:,} elements"),
        ("recipes", f"{taken.recipes:,}"),
        ("tasks", f"{taken.tasks:,}"),
        ("to read", shown_bytes(taken.bytes)),
        ("memory", f"{shown_bytes(taken.memory)} a process, and what the system caches"),
        ("time", f"about {_duration(taken.seconds)} with {taken.workers} side by side"),
    ]
    return table([Column("", lambda fact: fact[0]), Column("", lambda fact: fact[1])], facts)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.2g} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.0f} min" if minutes < 90 else f"{hours:.1f} h"


def registry_table(entries: list[dict[str, Any]]) -> RenderableType:
    """What is registered, by kind."""
    columns = [
        Column("kind", lambda entry: title(entry["kind"])),
        Column("id", lambda entry: entry["id"]),
        Column("plugin", lambda entry: entry["plugin"]),
        Column("summary", lambda entry: entry["summary"], Kind.text),
    ]
    return table(columns, entries)


def plugins_table(entries: list[dict[str, Any]]) -> RenderableType:
    """Every plugin, healthy or not."""
    return table(
        [
            Column("plugin", lambda entry: entry["name"]),
            Column("from", lambda entry: f"{entry['distribution']} {entry['version']}"),
            Column("health", lambda entry: "failed" if entry["error"] else "ok"),
            Column(
                "provides",
                lambda entry: entry["error"] or _provided(entry["provides"]),
                Kind.text,
            ),
        ],
        entries,
    )


def _provided(provides: dict[str, list[str]]) -> str:
    return "\n".join(f"{title(kind)} {', '.join(ids)}" for kind, ids in provides.items())


def title(name: str) -> str:
    """The name of a kind or of an axis, as people read it: `scale format`."""
    return name.replace("_", " ")

"""Writes the reference of the command line from the commands themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from qcore.cli.main import app as program

if TYPE_CHECKING:
    from sphinx.application import Sphinx

PAGE = "reference/cli"


def setup(app: Sphinx) -> dict[str, bool]:
    """Append to the page, which is read anew in every build."""
    app.connect("env-get-outdated", lambda *_: [PAGE])
    app.connect("source-read", append)
    return {"parallel_read_safe": True}


def append(app: Sphinx, page: str, source: list[str]) -> None:
    """A section for each command, after what the page itself says."""
    if page == PAGE:
        source[0] += "\n" + "\n".join(reference())


def reference() -> Iterator[str]:
    """Markdown, a line at a time."""
    root: Any = typer.main.get_command(program)
    for name, command in _commands("qcore", root):
        yield from section(name, command)


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """A command and those below it, each with the words that call it."""
    yield name, command
    for word, child in getattr(command, "commands", {}).items():
        yield from _commands(f"{name} {word}", child)


def section(name: str, command: Any) -> Iterator[str]:
    """How a command is called, what it does, and its options as its help groups them."""
    context = command.context_class(command, info_name=name)
    yield f"## {name}\n"
    yield f"```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```\n"
    for paragraph in (command.help or "").split("\n\n"):
        words = " ".join(paragraph.split())
        start, example, call = words.partition("Example: ")
        if example and not start:
            yield f"For example:\n\n```text\n{call}\n```\n"
        else:
            yield f"{escaped(words)}\n"
    panels: dict[str, list[str]] = {}
    for parameter in command.params:
        term, help = parameter.get_help_record(context)
        lines = panels.setdefault(getattr(parameter, "rich_help_panel", None) or "", [])
        lines.append(f"`{term}`\n: {escaped(help)}\n")
    for title, lines in panels.items():
        if title:
            yield f"**{title}**\n"
        yield from lines


def escaped(text: str) -> str:
    """Text that Markdown leaves as it is."""
    return re.sub(r"([\\`*_<>\[\]{}|~])", r"\\\1", text) or "–"

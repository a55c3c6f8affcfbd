"""Whatever a tensor is called, commands show its name and do not obey it."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable

import pytest
from make_files import NAMED
from named_files import FILES
from running import FORMATS, Command, Runs, compare, inspect

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what is taken is told by Linux")

SHOWN = {
    "\x1b[31mred\x1b[0m\x07\x9b2J": r"\x1b[31mred\x1b[0m\x07\x9b2J",
    "before\0after": r"before\x00after",
    "one\r\ntwo": r"one\r\ntwo",
    "\u202eflat": r"\u202eflat",
}
"""Names that are not shown as they are; all others are."""

each_file = pytest.mark.parametrize("file", FILES)
each_command = pytest.mark.parametrize("command", [inspect, compare])


def names(file: str) -> list[str]:
    """The names in a file, as they should be shown."""
    return sorted(SHOWN.get(name, name) for name in FILES[file][1])


def output(runs: Runs, command: Callable[..., Command], file: str, format: str) -> str:
    """What a command gives of a file, which it has nothing to say against."""
    result = runs.results[command(str(runs.folder / NAMED / file), format)]
    assert (result.status, result.err) == (0, "")
    return result.out


@each_command
@each_file
@pytest.mark.parametrize("format", FORMATS)
def test_nothing_is_given_that_cannot_be_printed(
    runs: Runs, command: Callable[..., Command], file: str, format: str
) -> None:
    assert all(line.isprintable() for line in output(runs, command, file, format).split("\n"))


@each_command
@each_file
def test_a_table_shows_every_name(runs: Runs, command: Callable[..., Command], file: str) -> None:
    text = output(runs, command, file, "table")
    assert [name for name in names(file) if name not in text] == []


@each_command
@each_file
def test_csv_has_every_name(runs: Runs, command: Callable[..., Command], file: str) -> None:
    rows = csv.DictReader(output(runs, command, file, "csv").splitlines())
    assert sorted(row["tensor"] for row in rows) == names(file)


@each_command
@each_file
def test_markdown_shows_every_name_as_text(
    runs: Runs, command: Callable[..., Command], file: str
) -> None:
    text = output(runs, command, file, "markdown")
    rows = [re.split(r"(?<!\\)(?:\\\\)*\|", line) for line in text.splitlines()]
    assert len({len(cells) for cells in rows}) == 1
    shown = (re.sub(r"\\(.)", r"\1", cells[1].strip()) for cells in rows[2:])
    assert sorted(shown) == names(file)
    plain = re.sub(r"\\.", "", text)  # what stands for itself
    assert not re.search(r"[<>`&]|\]\(", plain)

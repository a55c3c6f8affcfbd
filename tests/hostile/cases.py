"""What a hostile file is, and the ways to put one on the disk."""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

Content = bytes | Callable[[Path], object]
"""The bytes of a file, or what makes something at a path."""

SECRET = "secret"
"""The folder that no file may lead to, beside those of the formats."""

PAYLOAD = b"cos\nmkdir\n(S'canary'\ntR."
"""A pickle that makes a folder where it is loaded."""

NAMES = {
    "escape": "\x1b[31mred\x1b[0m\x07\x9b2J",
    "nul": "before\0after",
    "markup": "[bold red]w[/] :bomb: [/]",
    "html": "<img src=x onerror=alert(1)>",
}
"""Names that would do something to whoever shows them as they are."""

FILE_NAMES = {what: name.replace("/", "") for what, name in NAMES.items() if "\0" not in name}
"""Those of them that a file can have, or almost."""


class Threat(enum.Enum):
    """How a file is made to hurt."""

    TRUNCATED = "truncated"
    LENGTH = "oversized length"
    OVERFLOW = "overflowing product"
    RANGES = "overlapping or missing ranges"
    DUPLICATE = "duplicate names"
    NESTING = "deep nesting"
    MAGIC = "wrong magic"
    BOMB = "bomb"
    ESCAPE = "escaping path or link"
    PICKLE = "pickle payload"
    NAME = "name with escapes, markup, NUL or HTML"
    NONSENSE = "values that make no sense"


@dataclass(frozen=True)
class Case:
    """A file or folder that is made to hurt, and what it gets for it.

    Attributes:
        path: what qcore is given, in the folder of its format.
        threat: how it tries.
        content: its bytes, or what makes it.
        error: a part of the one line that it gets.
        tensor: the one at fault, if any: the line names it.
        listed: whether `qcore inspect` has nothing to say against it; it gets its line when read.
        status: 1 where nothing could be read, 3 where something could.
    """

    path: str
    threat: Threat
    content: Content
    error: str
    tensor: str | None = None
    listed: bool = False
    status: int = 1


def put(path: Path, content: Content) -> None:
    """Make what is to be at a path, in folders that are made too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)


def late(content: Callable[[], bytes]) -> Content:
    """A large file, whose bytes are made only where they are written."""
    return lambda path: path.write_bytes(content())


def tree(content: Mapping[str, Content]) -> Content:
    """A folder of files by name; `../` leads out of it."""

    def make(path: Path) -> None:
        path.mkdir(exist_ok=True)
        for name, each in content.items():
            put(Path(os.path.normpath(path / name)), each)

    return make


def sparse(start: bytes, size: int, end: bytes = b"") -> Content:
    """A file of `size` bytes in all, which are NUL between its start and its end."""

    def make(path: Path) -> None:
        with path.open("wb") as file:
            file.write(start)
            file.truncate(size)
            file.seek(size - len(end))
            file.write(end)

    return make


def link(target: str) -> Content:
    """A link; its target need not be there."""
    return lambda path: path.symlink_to(target)


def pipe(path: Path) -> None:
    """A named pipe, which nobody will ever write to."""
    os.mkfifo(path)


def folder(path: Path) -> None:
    """An empty folder where a file should be."""
    path.mkdir()

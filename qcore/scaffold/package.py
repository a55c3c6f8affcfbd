"""Writes the package of a new plugin: all of it, or nothing."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from qcore.errors import UsageError
from qcore.scaffold.contents import contents, tried_by
from qcore.scaffold.names import Names, plugin_names


@dataclass(frozen=True)
class NewPlugin:
    """A package that has been written.

    Attributes:
        names: what it is called.
        folder: where it is.
        files: its files, relative to the folder.
    """

    names: Names
    folder: Path
    files: tuple[str, ...]

    @property
    def next_commands(self) -> list[str]:
        """What to type next: install it, test it, see it at work."""
        folder = shlex.quote(str(self.folder))
        return [
            f"pip install -e {shlex.quote(f'{self.folder}[test]')}",
            f"python -m pytest {folder}",
            tried_by(self.names),
        ]


def write_plugin(name: str, kind: str = "scheme", folder: Path | None = None) -> NewPlugin:
    """Write a complete package that gives one class of `kind`.

    Args:
        name: lower-case words joined by hyphens, with the prefix `qcore-` or without.
        kind: `scheme`, `rounding`, or another of `qcore.registry.KINDS`.
        folder: where to, new or empty; the distribution's name, here, if None.

    Raises:
        UsageError: the name is no name or is taken, or the folder holds something or cannot be
            written. Nothing has been written then.
    """
    names = plugin_names(name, kind)
    target = Path(names.distribution) if folder is None else folder
    files = contents(names)
    try:
        _refuse_full(target)
        _write(files, target.resolve())
    except OSError as error:
        message = f"cannot write '{target}': {error.strerror}"
        raise UsageError(message) from None
    return NewPlugin(names, target, tuple(files))


def _refuse_full(folder: Path) -> None:
    if folder.is_dir():
        if any(folder.iterdir()):
            raise UsageError(f"'{folder}' holds something already; name another folder")
    elif folder.exists() or folder.is_symlink():
        raise UsageError(f"'{folder}' is no folder; name another")
    elif not folder.resolve().parent.is_dir():
        raise UsageError(f"'{folder}': there is no folder '{folder.parent}'")


def _write(files: Mapping[str, str], target: Path) -> None:
    """Write the files beside the target, and move them there once they are whole."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    existed = target.exists()
    try:
        for path, text in files.items():
            file = part / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8", newline="\n")
        if not existed:
            part.rename(target)
            return
        for entry in sorted(part.iterdir()):  # it may be the working folder, so it stays
            entry.rename(target / entry.name)
        part.rmdir()
    except BaseException:
        for half in [part, *(target.iterdir() if existed else ())]:
            shutil.rmtree(half, ignore_errors=True) if half.is_dir() else half.unlink(True)
        raise

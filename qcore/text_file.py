"""Text files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from qcore.errors import UsageError


def write(path: Path, text: str) -> None:
    """Write a file so that it is the old one or the new one, never half of it.

    Raises:
        UsageError: it cannot be written.
    """
    target = path.resolve()
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        if path.exists() and not path.is_file():  # a pipe, a device: there is nothing to replace
            path.write_text(text, encoding="utf-8")
            return
        part.write_text(text, encoding="utf-8")
        if target.exists():
            shutil.copymode(target, part)
        part.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise UsageError(f"cannot write '{path}': {error.strerror}") from None

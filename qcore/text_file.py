"""Text files that are written whole or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from qcore.errors import UsageError


def write(path: Path, text: str) -> None:
    """Write a file so that it is the old one or the new one, never half of it.

    Raises:
        UsageError: it cannot be written.
    """
    data = text.encode("utf-8", "surrogateescape")  # a path that is no UTF-8, back as it was
    target = path.resolve()
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        if path.exists() and not path.is_file():  # a pipe, a device: there is nothing to replace
            path.write_bytes(data)
            return
        try:
            part.write_bytes(data)
            if target.exists():
                shutil.copymode(target, part)
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(f"cannot write '{path}': {error.strerror}") from None

"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from qcore.errors import QcoreError, UsageError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What no other command line would cure."""


def write(path: Path, text: str) -> None:
    """Write a text file so that it is the old one or the new one, never half of it.

    Raises:
        UsageError: it cannot be written.
        QcoreError: the disk is full, or fails.
    """
    data = text.encode("utf-8", "surrogateescape")  # a path that is no UTF-8, back as it was
    try:
        if path.exists() and not path.is_file():  # a pipe, a device: there is nothing to replace
            path.write_bytes(data)
            return
    except OSError as error:
        raise _refusal(path, error) from None
    with replacing(path) as file:
        file.write(data)


@contextlib.contextmanager
def replacing(path: Path, size: int | None = None) -> Iterator[BinaryIO]:
    """A file to fill, which takes the place of `path` once the `with` block ends without an error.

    Whatever ends the block or the process before leaves the old file as it was.

    Args:
        path: what is replaced; a link is followed.
        size: bytes to reserve, so that a full disk is found out before any work is done.

    Raises:
        UsageError: it cannot be written, or is there and no regular file; an `OSError` of the
            block is taken for the first.
        QcoreError: the disk is full, or fails.
    """
    target = Path(os.path.realpath(path))
    # a name of its own, which no other writer has, and no longer than a name may be
    part = target.with_name(f".{target.name[:50]}.{os.urandom(4).hex()}.part")
    try:
        if target.exists() and not target.is_file():
            raise UsageError(f"cannot write '{path}': it is no regular file")
        try:
            with part.open("x+b") as file:
                if size:
                    _reserve(file, size)
                yield file
                file.flush()
                os.fsync(file.fileno())  # the data before the name, should the power fail
            if target.exists():
                shutil.copymode(target, part)
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        if error.errno is None:  # one of ours, such as a ReadError
            raise
        raise _refusal(path, error) from None


def _refusal(path: Path, error: OSError) -> QcoreError:
    kind = QcoreError if error.errno in _FULL else UsageError
    return kind(f"cannot write '{path}': {error.strerror}")


def _reserve(file: BinaryIO, size: int) -> None:
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except AttributeError:  # a system without it
        file.truncate(size)
    except OSError as error:
        if error.errno in _FULL:
            raise
        file.truncate(size)  # a file system without it

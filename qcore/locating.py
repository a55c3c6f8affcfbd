"""Which files a path stands for, and the reader of each."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from qcore.blame import contained, keep_traceback, told
from qcore.errors import QcoreError, ReadError, SchemeError, UsageError, nearest
from qcore.interfaces.reader import TensorReader
from qcore.loading import plugins
from qcore.remote_file import open_remote
from qcore.stored_file import StoredFile, is_file, is_folder, listed, shown

_REMOTE = re.compile(r"([a-z][a-z0-9+.-]+)://", re.ASCII)


def stored_path(path: str | os.PathLike[str]) -> Path:
    """Where a file is: a path on this machine, or `s3://…` and the like, which fsspec reads.

    Args:
        path: either as text; or a path, of `pathlib` or of universal_pathlib.

    Raises:
        UsageError: what reads such an address is not installed, or there is no such thing.
    """
    remote = _REMOTE.match(path) if isinstance(path, str) else None
    if remote is None:
        return Path(path) if isinstance(path, str | os.PathLike) else path
    try:
        from fsspec import available_protocols, get_filesystem_class
        from upath import UPath
    except ImportError:
        message = "remote files need more; pip install 'qcore-quant[remote]'"
        raise UsageError(f"'{path}': {message}") from None
    protocol = remote[1]
    if protocol not in available_protocols():
        message = f"nothing reads '{protocol}://'{nearest(protocol, available_protocols())}"
        raise UsageError(f"'{path}': {message}")
    try:
        get_filesystem_class(protocol)
    except ImportError as error:  # it says what to install
        raise UsageError(f"'{path}': {error}") from None
    found = UPath(path)
    if protocol in ("file", "local"):
        return Path(found.path)
    return cast(Path, found)  # it has all of its methods that readers use


def files_at(path: Path) -> list[Path]:
    """The path itself; but of a folder that is no format of its own, the files in it that are.

    Raises:
        ReadError: nothing is there, or nothing that a reader knows.
    """
    if not isinstance(path, Path):
        open_remote(path)  # or its server says why not, once and not to every reader
    elif not _is_there(path):
        raise ReadError(f"no such file: '{path}'{_neighbour(path)}")
    if not is_folder(path):
        with StoredFile(path):  # or its system does
            return [path]
    if _known(path) is not None:
        return [path]
    inside = [file for file in listed(path) if is_file(file) and _is_claimed(file)]
    if not inside:
        raise ReadError(f"folder '{path}' holds no file that a reader knows")
    return inside


def reader_of(path: Path) -> TensorReader:
    """The reader that knows a file by its content; of a damaged one, by its name.

    Raises:
        ReadError: no reader knows it.
    """
    reader = _known(path)
    if reader is None:
        known = ", ".join(reader.id for reader in _readers())
        raise ReadError(f"'{path}' is in no format that a reader knows; readers are {known}")
    return reader


@contextmanager
def asking(reader: TensorReader, path: Path, tensor: str | None = None) -> Iterator[None]:
    """Around what a reader does: whatever it raises names it, the file, and the tensor.

    Raises:
        ReadError: it failed.
    """
    try:
        with contained():
            yield
    except Exception as error:
        if isinstance(error, QcoreError) and not isinstance(error, SchemeError):
            raise
        keep_traceback(error)
        blame = plugins().blame(error, reader)
        message = f"{shown(path, tensor)}: reader '{reader.id}' failed: {told(error)}{blame}"
        raise ReadError(message) from error


def _known(path: Path) -> TensorReader | None:
    readers = _readers()
    for reader in readers:
        with asking(reader, path):
            if reader.sniff(path):
                return reader
    suffix = path.suffix.lower()
    named = (reader for reader in readers if suffix in reader.suffixes and is_file(path))
    return next(named, None)


def _is_claimed(file: Path) -> bool:
    """Whether a reader knows the file, or fails at it, which is told where it is listed."""
    try:
        return _known(file) is not None
    except Exception:
        return True


def _readers() -> list[TensorReader]:
    return [entry.cls() for entry in plugins().registry.entries["reader"].values()]


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError) as error:  # longer than a name can be, or with a NUL in it
        raise ReadError(f"{shown(path)}: it cannot be opened: {error}") from None


def _neighbour(path: Path) -> str:
    """`, did you mean 'x'?` for a file beside it with almost its name."""
    try:
        others = (name for name in os.listdir(path.parent) if name != path.name)
        return nearest(path.name, others)  # not itself: a link to what is not there
    except OSError:
        return ""

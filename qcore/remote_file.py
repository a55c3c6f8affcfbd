"""A file that fsspec reads, on another machine or in memory: its size, and ranges of its bytes."""

from __future__ import annotations

import contextlib
import errno
import io
import os
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.errors import ReadError

READ_AHEAD = 1 << 16  # bytes; a header is mostly shorter, and a request costs more than they do
_LARGEST_REQUEST = 1 << 26  # bytes; one request must end before the server's patience does
_KEPT = 2  # pieces read ahead: readers look at the start and at the end, turn by turn

_open_files: ContextVar[dict[Path, RemoteFile] | None] = ContextVar("open_files", default=None)


class RemoteFile(io.BufferedIOBase):
    """A file open for reading, little ahead; `fetch` reads exactly what is asked for.

    Args:
        path: one of universal_pathlib.

    Attributes:
        is_folder: whether it is one; then it has no bytes.
        size: bytes in all.

    Raises:
        ReadError: it is not there, or not to be had.
    """

    def __init__(self, path: Any) -> None:
        self._path = path
        self._file: Any = None
        self._position = 0
        self._ahead: list[tuple[int, bytes]] = []
        try:
            info = path.fs.info(path.path)
        except Exception as error:  # each file system has kinds of its own
            raise self._error("opened", error) from error
        # of what a web server lists, nothing but the address says so
        self.is_folder = info["type"] == "directory" or info.get("url", "").endswith("/")
        if info["size"] is None and not self.is_folder:
            raise self._error("opened", "its server does not tell its size; download it")
        self.size: int = info["size"] or 0

    def fetch(self, offset: int, count: int) -> NDArray[np.uint8]:
        """`count` bytes from `offset`, or fewer where the file ends.

        Raises:
            ReadError: the server does not give them, or memory does not hold them.
        """
        if (known := self._known(offset, count)) is not None:
            return np.frombuffer(known, np.uint8)
        try:
            data = np.empty(count, np.uint8)
            done = 0
            while done < count:
                part = self._request(offset + done, min(count - done, _LARGEST_REQUEST))
                if not part:
                    break
                data[done : done + len(part)] = np.frombuffer(part, np.uint8)
                done += len(part)
        except Exception as error:
            raise self._error("read", error) from error
        return data[:done]

    def read(self, count: int | None = -1) -> bytes:
        left = max(self.size - self._position, 0)
        count = left if count is None or count < 0 else min(count, left)
        start, self._position = self._position, self._position + count
        if (known := self._known(start, count)) is not None:
            return known
        data = self.fetch(start, min(max(count, READ_AHEAD), left)).tobytes()
        if len(data) <= READ_AHEAD:
            self._ahead = [(start, data), *self._ahead][:_KEPT]
        return data[:count]

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        if start + offset < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._position = start + offset
        return self._position

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def _known(self, start: int, count: int) -> bytes | None:
        for offset, data in self._ahead:
            if offset <= start and start + count <= offset + len(data):
                return data[start - offset : start - offset + count]
        return None

    def _request(self, offset: int, count: int) -> bytes:
        if self._file is None:
            file = self._path.fs.open(self._path.path, cache_type="none", size=self.size)
            # memory:// gives everyone one file, with one position
            self._file = io.BytesIO(file.getvalue()) if isinstance(file, io.BytesIO) else file
        self._file.seek(offset)
        part: bytes = self._file.read(count)
        return part

    def _error(self, verb: str, cause: Exception | str) -> ReadError:
        line = " ".join(f"{self._path}: it cannot be {verb}: {_reason(cause)}".split())
        return ReadError("".join(c if c.isprintable() else "?" for c in line))


def open_remote(path: Path) -> RemoteFile:
    """The file at a path of universal_pathlib.

    Raises:
        ReadError: it is not there, or not to be had.
    """
    known = _open_files.get()
    if known is None:
        return RemoteFile(path)
    if path not in known:
        known[path] = RemoteFile(path)
    return known[path]


@contextlib.contextmanager
def opened_once() -> Iterator[None]:
    """Inside, a remote file is opened once and its start fetched once, however many look at it."""
    token = _open_files.set({})
    try:
        yield
    finally:
        _open_files.reset(token)


def _reason(cause: BaseException | str) -> str:
    """What is wrong, also where fsspec says of any answer of a server that nothing is there."""
    if isinstance(cause, FileNotFoundError) and not isinstance(cause.__cause__, LookupError):
        cause = cause.__cause__ or cause
    status = getattr(cause, "status", None)
    if isinstance(cause, FileNotFoundError) or status == 404:
        return "no such file"
    if status is not None:
        return f"its server answers {status} {getattr(cause, 'message', '')}"
    if "range requests" in str(cause):
        return "its server gives files only whole; download it"
    if isinstance(cause, Exception) and not isinstance(cause, OSError):
        return f"{type(cause).__name__}: {cause}"
    return str(cause) or type(cause).__name__

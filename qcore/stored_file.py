"""The bytes of a stored file, here or far away: any range of them, and no length trusted."""

from __future__ import annotations

import math
import os
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray

from qcore.errors import ReadError
from qcore.remote_file import RemoteFile, open_remote

_LONGEST_NAME = 200


class StoredFile:
    """A file open for reading, for use in a `with` statement.

    A local file is memory-mapped where an array is asked for. Of a remote one the bytes of the
    array are fetched and no others, and elsewhere little more than is asked for.

    Args:
        path: where it is; of a remote file, one of universal_pathlib.

    Attributes:
        path: the same.
        size: bytes in all.
        raw: the open file; its position is nobody's.

    Raises:
        ReadError: it is missing, not allowed, or no regular file.
    """

    raw: BinaryIO
    size: int

    def __init__(self, path: Path) -> None:
        self.path = path
        self._remote: RemoteFile | None = None
        if isinstance(path, Path):
            self.raw = self._open(path)
            self.size = self.raw.seek(0, os.SEEK_END)
            return
        self._remote = open_remote(path)
        self.raw = cast(BinaryIO, self._remote)
        self.size = self._remote.size
        if self._remote.is_folder:
            raise self.error("it cannot be opened: it is a folder")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._remote is None:  # a remote one may be open elsewhere, and ends with its last user
            self.raw.close()

    @staticmethod
    def peek(path: Path, count: int) -> bytes:
        """Up to `count` bytes from the start; none if `path` is no file that can be read."""
        try:
            with StoredFile(path) as file:
                return file.read(0, min(count, file.size))
        except ReadError:
            return b""

    def error(self, message: str, tensor: str | None = None) -> ReadError:
        """The error that names this file and, if given, the tensor."""
        return ReadError(f"{shown(self.path, tensor)}: {message}")

    def read(self, offset: int, count: int, tensor: str | None = None) -> bytes:
        """`count` bytes from `offset`.

        Raises:
            ReadError: they are not all there; nothing was allocated for them.
        """
        self._check_range(offset, count, tensor)
        try:
            self.raw.seek(offset)
            data = self.raw.read(count)
        except ReadError:  # a remote file's says it all
            raise
        except (OSError, ValueError) as error:
            raise self.error(f"it cannot be read: {_reason(error)}", tensor) from error
        self._check_count(len(data), count, tensor)
        return data

    def bytes_at(self, offset: int, count: int, tensor: str | None = None) -> NDArray[np.uint8]:
        """`count` bytes from `offset` as a read-only array: of a local file mapped.

        Raises:
            ReadError: they are not all there.
        """
        self._check_range(offset, count, tensor)
        if not count:  # an empty range cannot be mapped
            return np.empty(0, np.uint8)
        if self._remote is not None:
            data = self._remote.fetch(offset, count)
            self._check_count(data.size, count, tensor)
            data.flags.writeable = False
            return data
        try:
            return np.memmap(self.raw, np.uint8, "r", offset, (count,)).view(np.ndarray)
        except (OSError, ValueError, OverflowError) as error:
            raise self.error(f"it cannot be mapped: {_reason(error)}", tensor) from error

    def array(
        self,
        offset: int,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        tensor: str | None = None,
        order: Literal["C", "F"] = "C",
    ) -> NDArray[Any]:
        """The array stored from `offset` on, read-only and, of a local file, mapped.

        Raises:
            ReadError: its bytes are not all there, or NumPy cannot hold the shape.
        """
        data = self.bytes_at(offset, math.prod(shape) * dtype.itemsize, tensor)
        return as_array(data, dtype, shape, shown(self.path, tensor), order)

    def _check_range(self, offset: int, count: int, tensor: str | None) -> None:
        if not 0 <= offset <= offset + count <= self.size:
            message = f"bytes {offset} to {offset + count} are needed and {self.size} are there"
            raise self.error(f"truncated: {message}; save or download it again", tensor)

    def _check_count(self, found: int, count: int, tensor: str | None) -> None:
        if found != count:
            raise self.error("it was cut off while it was read; read it again", tensor)

    def _open(self, path: Path) -> BinaryIO:
        try:
            if path.exists() and not path.is_file():  # opening a pipe would wait for its writer
                raise ValueError("it is no regular file")
            return path.open("rb")
        except PermissionError as error:
            raise self.error("it may not be read; check its permissions") from error
        except (OSError, ValueError) as error:
            raise self.error(f"it cannot be opened: {_reason(error)}") from error


def is_file(path: Path) -> bool:
    """Whether a regular file is there; also of a name that no file can have."""
    try:
        return path.is_file() if isinstance(path, Path) else not open_remote(path).is_folder
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether a folder is there; also of a name that none can have."""
    try:
        return path.is_dir() if isinstance(path, Path) else open_remote(path).is_folder
    except (OSError, ValueError):
        return False


def listed(folder: Path) -> list[Path]:
    """What a folder holds, in order.

    Raises:
        ReadError: it cannot be listed.
    """
    try:
        return sorted(folder.iterdir())
    except Exception as error:  # of a remote one, each file system has kinds of its own
        raise ReadError(f"{shown(folder)}: it cannot be listed: {_reason(error)}") from error


def as_array(
    data: NDArray[np.uint8],
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    where: str,
    order: Literal["C", "F"] = "C",
) -> NDArray[Any]:
    """The bytes `data` as a read-only array; nothing is copied.

    Raises:
        ReadError: they are too many or too few, or NumPy cannot hold the shape.
    """
    if data.size != math.prod(shape) * dtype.itemsize:
        raise ReadError(f"{where}: {data.size} bytes are not {shape} of {dtype.name}")
    try:
        array = data.view(dtype).reshape(shape, order=order)
    except (ValueError, OverflowError) as error:
        raise ReadError(f"{where}: NumPy cannot hold shape {shape}") from error
    array.flags.writeable = False
    return array


def shown(path: Path, tensor: str | None = None) -> str:
    """A file, and the tensor in it, for the start of a message: on one line, of bounded length."""
    text = str(path) if str(path).isprintable() else repr(str(path))
    return text if tensor is None else f"{text}: tensor {quoted(tensor)}"


def quoted(name: str) -> str:
    """A name from a file, for a message: on one line, of bounded length."""
    return repr(name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}...")


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)

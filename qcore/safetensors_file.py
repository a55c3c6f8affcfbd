"""Safetensors files, written piece by piece: the header first, then each tensor in its place.

The official library takes all tensors at once, in memory; this takes them one at a time.

Source: the format section of safetensors' README.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from qcore import whole_file
from qcore.builtin.readers.dtypes import BITS, stored_bytes
from qcore.builtin.readers.safetensors import NAMES, largest_header
from qcore.errors import UsageError
from qcore.packing import pack
from qcore.stored_file import quoted, shown

_KEYS = {name: key for key, name in NAMES.items()}
_METADATA = "__metadata__"
_PIECE = 1 << 22  # bytes written at a time
_ALIGNMENT = 8


@dataclass(frozen=True)
class Entry:
    """A tensor that will be written.

    Attributes:
        name: its name.
        dtype: its element type, by NumPy's name or ml_dtypes'.
        shape: its shape.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """What it takes in the file."""
        return stored_bytes(self.dtype, self.shape)


class Writer:
    """Puts tensors where the header says that they are."""

    def __init__(self, file: BinaryIO, places: Mapping[str, tuple[Entry, int]]) -> None:
        self._file = file
        self._places = places

    def put(self, name: str, array: NDArray[Any]) -> None:
        """Write a tensor, of the shape and dtype that were announced."""
        entry, place = self._places[name]
        assert (array.shape, array.dtype.name) == (entry.shape, entry.dtype), name
        self._file.seek(place)
        for piece in _pieces(array):
            self._file.write(piece)


@contextlib.contextmanager
def writing(path: Path, entries: Sequence[Entry], metadata: Mapping[str, str]) -> Iterator[Writer]:
    """A safetensors file to fill, which is there once the `with` block ends without an error.

    The header has the tensors in the order given. Of their bytes those of wide elements come first,
    so that each tensor lies where its width divides.

    Raises:
        UsageError: safetensors cannot hold a tensor or a text, two tensors have one name, or the
            file cannot be written.
        QcoreError: the disk is full.
    """
    _check(path, entries, metadata)
    begins: dict[str, int] = {}
    end = 0
    for entry in sorted(entries, key=lambda entry: -BITS[entry.dtype]):
        begins[entry.name] = end
        end += entry.nbytes
    header = _header(path, entries, begins, metadata)
    places = {entry.name: (entry, len(header) + begins[entry.name]) for entry in entries}
    with whole_file.replacing(path, len(header) + end) as file:
        file.write(header)
        yield Writer(file, places)


def _check(path: Path, entries: Sequence[Entry], metadata: Mapping[str, str]) -> None:
    names = {_METADATA}
    for entry in entries:
        where = shown(path, entry.name)
        if entry.name in names:
            raise UsageError(f"{where}: there would be two of that name; rename one")
        if not _is_text(entry.name):
            raise UsageError(f"{where}: its name is no UTF-8; rename it")
        if entry.dtype not in _KEYS:
            message = f"it holds {entry.dtype}, which safetensors has not"
            raise UsageError(f"{where}: {message}; convert it first")
        if math.prod(entry.shape) * BITS[entry.dtype] % 8:
            message = f"{entry.shape} of {entry.dtype} ends within a byte, as no tensor may"
            raise UsageError(f"{where}: {message}; convert it first")
        names.add(entry.name)
    for key, text in metadata.items():
        if not (_is_text(key) and _is_text(text)):
            raise UsageError(f"{shown(path)}: metadata {quoted(str(key))} is no text in UTF-8")


def _is_text(text: object) -> bool:
    if not isinstance(text, str):
        return False
    try:
        text.encode()
    except UnicodeEncodeError:  # half a character, such as \ud800
        return False
    return True


def _header(
    path: Path, entries: Sequence[Entry], begins: Mapping[str, int], metadata: Mapping[str, str]
) -> bytes:
    """The length, and the JSON filled up with spaces so that the data begins aligned."""
    header: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    for entry in entries:
        begin = begins[entry.name]
        header[entry.name] = {
            "dtype": _KEYS[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [begin, begin + entry.nbytes],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    most = largest_header(len(text) + sum(entry.nbytes for entry in entries))
    if len(text) > most:
        message = f"the names and texts take {len(text)} bytes, and {most} is the limit"
        raise UsageError(f"{shown(path)}: {message}; write fewer tensors to a file")
    return len(text).to_bytes(8, "little") + text


def _pieces(array: NDArray[Any]) -> Iterator[memoryview]:
    """The bytes of a tensor as they are stored, a few rows at a time.

    So what has another layout or byte order is never there twice as a whole.
    """
    bits = BITS[array.dtype.name]
    if bits < 8:
        yield pack(array.view(np.uint8), bits).data
        return
    rows = np.atleast_1d(array)
    step = max(1, _PIECE // max(1, rows[:1].nbytes))
    for start in range(0, len(rows), step):
        piece = rows[start : start + step]
        ordered = np.asarray(piece, piece.dtype.newbyteorder("<"), order="C")
        yield ordered.reshape(-1).view(np.uint8).data

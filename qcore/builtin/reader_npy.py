"""NumPy's .npy files: one array each, memory-mapped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from numpy.typing import NDArray

from qcore.builtin import npy_header
from qcore.builtin.npy_header import NpyHeader
from qcore.interfaces.reader import TensorInfo, TensorReader


@dataclass(frozen=True)
class NpyReader(TensorReader):
    """One array, named after its file; versions 1 to 3 of the format, byte and memory order as
    stored.

    Source: NEP 1, and numpy.lib.format.
    """

    id: ClassVar[str] = "npy"

    def sniff(self, path: Path) -> bool:
        start = npy_header.first_bytes(path, 8)
        if start is None:
            return False
        return start.startswith(npy_header.MAGIC) or path.suffix.lower() == ".npy"

    def tensors(self, path: Path) -> Iterator[TensorInfo]:
        with npy_header.open_file(path) as file:
            header = _header(file, path)
        return iter([TensorInfo(path.stem, header.shape, header.dtype_name, path)])

    def read(self, info: TensorInfo) -> NDArray[Any]:
        where = npy_header.shown(info.path)
        with npy_header.open_file(info.path) as file:
            header = _header(file, info.path)
            npy_header.check_unchanged(header, info, where)
            data = npy_header.mapped_bytes(file, header.size, header.nbytes, where)
        return npy_header.as_array(data, header.dtype, header.shape, where, header.order)


def _header(file: BinaryIO, path: Path) -> NpyHeader:
    total = os.fstat(file.fileno()).st_size
    return npy_header.read_header(file.read, total, npy_header.shown(path))

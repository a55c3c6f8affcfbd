"""NumPy's .npy files: one array each, memory-mapped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from qcore.builtin.readers import npy_header
from qcore.builtin.readers.npy_header import NpyHeader
from qcore.interfaces.reader import TensorInfo, TensorReader
from qcore.stored_file import StoredFile, shown


@dataclass(frozen=True)
class NpyReader(TensorReader):
    """One array, named after its file; versions 1 to 3 of the format, byte and memory order as
    stored.

    Source: NEP 1, and numpy.lib.format.
    """

    id: ClassVar[str] = "npy"
    suffixes: ClassVar[tuple[str, ...]] = (".npy",)

    def sniff(self, path: Path) -> bool:
        return StoredFile.peek(path, 8).startswith(npy_header.MAGIC)

    def tensors(self, path: Path) -> Iterator[TensorInfo]:
        with StoredFile(path) as file:
            header = _header(file)
        return iter([TensorInfo(path.stem, header.shape, header.dtype_name, path)])

    def read(self, info: TensorInfo) -> NDArray[Any]:
        with StoredFile(info.path) as file:
            header = _header(file)
            npy_header.check_unchanged(header, info, shown(info.path))
            return file.array(header.size, header.dtype, header.shape, order=header.order)


def _header(file: StoredFile) -> NpyHeader:
    file.raw.seek(0)
    return npy_header.read_header(file.raw.read, file.size, shown(file.path))

"""NumPy's .npz archives: stored members are mapped where they lie, deflated ones inflated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from qcore.builtin.readers import npy_header, zip_archive
from qcore.builtin.readers.npy_header import NpyHeader
from qcore.builtin.readers.zip_archive import Inflater, Member
from qcore.errors import ReadError
from qcore.interfaces.reader import TensorInfo, TensorReader
from qcore.stored_file import StoredFile, as_array, shown

LARGEST_HEADERS = 1 << 20  # bytes, of all arrays together; they take a second to parse
_USUAL_HEADER = 128  # bytes; a shorter one takes as long


@dataclass(frozen=True)
class NpzReader(TensorReader):
    """The .npy members of a zip archive, as np.savez and np.savez_compressed write it.

    Source: APPNOTE.TXT (PKWARE), NEP 1.
    """

    id: ClassVar[str] = "npz"
    suffixes: ClassVar[tuple[str, ...]] = (".npz",)

    def sniff(self, path: Path) -> bool:
        if not zip_archive.is_zip(StoredFile.peek(path, 4)):
            return False
        try:
            with StoredFile(path) as file:
                names = zip_archive.members(file)
        except ReadError:
            return False
        return not names or any(name.endswith(".npy") for name in names)

    def tensors(self, path: Path) -> Iterator[TensorInfo]:
        infos, parsed = [], 0
        with StoredFile(path) as file:
            for name, member in _arrays(file).items():
                header, _ = _open(file, member, name)
                parsed += max(_USUAL_HEADER, header.size)
                if parsed > LARGEST_HEADERS:
                    message = f"the headers of its arrays take more than {LARGEST_HEADERS} bytes"
                    raise file.error(f"{message}; save fewer arrays to a file")
                infos.append(TensorInfo(name, header.shape, header.dtype_name, path, member))
        return iter(infos)

    def read(self, info: TensorInfo) -> NDArray[Any]:
        where = shown(info.path, info.name)
        with StoredFile(info.path) as file:
            header, data = _open(file, Member(*info.where), info.name)
            npy_header.check_unchanged(header, info, where)
            if isinstance(data, Inflater):
                values = data.rest(header.nbytes)
            else:
                values = file.bytes_at(data, header.nbytes, info.name)
        return as_array(values, header.dtype, header.shape, where, header.order)


def _arrays(file: StoredFile) -> dict[str, Member]:
    members = zip_archive.members(file)
    arrays = {
        name.removesuffix(".npy"): member
        for name, member in members.items()
        if name.endswith(".npy")
    }
    if members and not arrays:
        message = "it is a zip archive without .npy members; give an .npz or .safetensors file"
        raise file.error(message)
    return arrays


def _open(file: StoredFile, member: Member, name: str) -> tuple[NpyHeader, int | Inflater]:
    """The member's array header, and where its data is: an offset, or a stream."""
    where = shown(file.path, name)
    start = zip_archive.stored_at(file, member, name)
    if start is None:
        inflater = zip_archive.inflater(file, member, name)
        return npy_header.read_header(inflater.read, member.size, where), inflater
    file.raw.seek(start)
    header = npy_header.read_header(_bounded(file, member.size), member.size, where)
    return header, start + header.size


def _bounded(file: StoredFile, left: int) -> Callable[[int], bytes]:
    """The next bytes of `file`, not beyond `left` of them."""

    def read(count: int) -> bytes:
        nonlocal left
        data = file.raw.read(min(count, left))
        left -= len(data)
        return data

    return read

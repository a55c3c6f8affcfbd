"""NumPy's .npz archives: stored members are mapped where they lie, deflated ones inflated."""

from __future__ import annotations

import itertools
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcore.builtin import npy_header
from qcore.builtin.npy_header import NpyHeader, quoted, shown
from qcore.errors import ReadError
from qcore.interfaces.reader import TensorInfo, TensorReader

LARGEST_RATIO = 1032  # deflate's bound: 258 bytes from 2 bits (zlib's technical notes)
LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, length of the name, length of the extras
CHUNK = 2**18


@dataclass(frozen=True)
class NpzReader(TensorReader):
    """The .npy members of a zip archive, as np.savez and np.savez_compressed write it.

    Source: APPNOTE.TXT (PKWARE), NEP 1.
    """

    id: ClassVar[str] = "npz"

    def sniff(self, path: Path) -> bool:
        start = npy_header.first_bytes(path, 8)
        if start is None:
            return False
        return start.startswith((b"PK\x03\x04", b"PK\x05\x06")) or path.suffix.lower() == ".npz"

    def tensors(self, path: Path) -> Iterator[TensorInfo]:
        infos = []
        with npy_header.open_file(path) as file:
            for name, member in _members(file, path).items():
                header, _ = _open(file, member, shown(path, name))
                infos.append(TensorInfo(name, header.shape, header.dtype_name, path, member))
        return iter(infos)

    def read(self, info: TensorInfo) -> NDArray[Any]:
        where = shown(info.path, info.name)
        with npy_header.open_file(info.path) as file:
            header, source = _open(file, _Member(*info.where), where)
            npy_header.check_unchanged(header, info, where)
            if isinstance(source, _Inflater):
                data = source.rest(header.nbytes)
            else:
                data = npy_header.mapped_bytes(file, source, header.nbytes, where)
        return npy_header.as_array(data, header.dtype, header.shape, where, header.order)


class _Member(NamedTuple):
    """What the archive's directory says of a member."""

    header: int
    packed: int
    size: int
    method: int
    checksum: int


class _Inflater:
    """A deflated member as a stream that never gives more than it is asked for."""

    def __init__(self, file: BinaryIO, member: _Member, where: str) -> None:
        self._file = file
        self._left = member.packed
        self._expected = member.checksum
        self._checksum = 0
        self._tail = b""
        self._zlib = zlib.decompressobj(-zlib.MAX_WBITS)
        self._where = where

    def read(self, count: int) -> bytes:
        parts = []
        while count and not self._zlib.eof:
            packed = self._tail or self._file.read(min(CHUNK, self._left))
            if not self._tail:
                self._left -= len(packed)
            try:
                part = self._zlib.decompress(packed, count)
            except zlib.error as error:
                raise ReadError(f"{self._where}: its compressed data is damaged") from error
            self._tail = self._zlib.unconsumed_tail
            if not packed and not part:  # zlib may hold output after its last input
                break
            self._checksum = zlib.crc32(part, self._checksum)
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def rest(self, count: int) -> NDArray[np.uint8]:
        """The last `count` bytes, once the checksum of the whole is known to be right."""
        try:
            data = np.empty(count, np.uint8)
        except (MemoryError, ValueError) as error:
            message = f"{count} bytes of memory are needed and not there"
            raise ReadError(f"{self._where}: {message}; save it with np.savez to map it") from error
        done = 0
        while part := self.read(min(CHUNK, count - done)):
            data[done : done + len(part)] = np.frombuffer(part, np.uint8)
            done += len(part)
        if done < count:
            message = f"{count} bytes of data expected, {done} there"
            raise ReadError(f"{self._where}: truncated: {message}; save or copy it again")
        if self.read(1):
            raise ReadError(f"{self._where}: it inflates to more than its {count} bytes of data")
        if self._checksum != self._expected:
            raise ReadError(f"{self._where}: its checksum is wrong; save or copy it again")
        return data


def _members(file: BinaryIO, path: Path) -> dict[str, _Member]:
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except Exception as error:  # hostile bytes make zipfile raise a dozen kinds
        message = "its zip directory is damaged or cut off; save or copy it again"
        raise ReadError(f"{shown(path)}: {message}") from error
    by_place = sorted(entries, key=lambda entry: entry.header_offset)
    for entry, following in itertools.pairwise(by_place):
        if entry.header_offset + LOCAL_HEADER.size + entry.compress_size > following.header_offset:
            both = f"members {quoted(entry.filename)} and {quoted(following.filename)} overlap"
            raise ReadError(f"{shown(path)}: {both}; refused as a zip bomb")
    members: dict[str, _Member] = {}
    for entry in entries:
        name = entry.filename.removesuffix(".npy")
        if name == entry.filename:
            continue
        where = shown(path, name)
        if name in members:
            raise ReadError(f"{where}: two members have this name; save it again")
        if entry.flag_bits & 0x1:
            raise ReadError(f"{where}: it is encrypted; save it again without a password")
        sizes = entry.compress_size, entry.file_size
        members[name] = _Member(entry.header_offset, *sizes, entry.compress_type, entry.CRC)
    if entries and not members:
        message = "it is a zip archive without .npy members; give an .npz or .safetensors file"
        raise ReadError(f"{shown(path)}: {message}")
    return members


def _open(file: BinaryIO, member: _Member, where: str) -> tuple[NpyHeader, int | _Inflater]:
    """The member's array header, and where its data is: an offset, or a stream."""
    start = _data_offset(file, member, where)
    if member.method == zipfile.ZIP_STORED:
        if member.packed != member.size:
            sizes = f"{member.packed} bytes are stored for {member.size}"
            raise ReadError(f"{where}: {sizes}; save it again")
        header = npy_header.read_header(_bounded(file, member.size), member.size, where)
        return header, start + header.size
    if member.method != zipfile.ZIP_DEFLATED:
        message = f"zip method {member.method} is not read"
        raise ReadError(f"{where}: {message}; save it with np.savez or np.savez_compressed")
    if member.size > LARGEST_RATIO * member.packed:
        sizes = f"{member.size} bytes from {member.packed} compressed ones is more than deflate can"
        raise ReadError(f"{where}: {sizes}; refused as a zip bomb")
    inflater = _Inflater(file, member, where)
    return npy_header.read_header(inflater.read, member.size, where), inflater


def _data_offset(file: BinaryIO, member: _Member, where: str) -> int:
    """Where the member's bytes begin, all of them inside the file; `file` is left there."""
    total = os.fstat(file.fileno()).st_size
    if not 0 <= member.header <= total - LOCAL_HEADER.size:
        raise ReadError(f"{where}: truncated: it should begin at byte {member.header} of {total}")
    file.seek(member.header)
    signature, name, extras = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
    start: int = file.tell() + name + extras
    if signature != b"PK\x03\x04":
        raise ReadError(f"{where}: no zip member begins at byte {member.header}; copy it again")
    if start + member.packed > total:
        raise ReadError(
            f"{where}: truncated: it should end at byte {start + member.packed} of {total}; "
            "save or copy it again"
        )
    file.seek(start)
    return start


def _bounded(file: BinaryIO, left: int) -> Callable[[int], bytes]:
    """`file.read`, not beyond the next `left` bytes."""

    def read(count: int) -> bytes:
        nonlocal left
        data = file.read(min(count, left))
        left -= len(data)
        return data

    return read

"""Zip archives whose directory nobody trusts: the members, and the bytes of one of them."""

from __future__ import annotations

import itertools
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcore.errors import ReadError
from qcore.remote_file import READ_AHEAD
from qcore.stored_file import StoredFile, quoted, shown

LARGEST_DIRECTORY = 1 << 20  # bytes; some 12,000 members, which take a second to list
LARGEST_RATIO = 1032  # deflate's bound: 258 bytes from 2 bits (zlib's technical notes)
LARGEST_DENSE = 1 << 25  # bytes that a member may hold whatever its ratio
DENSE_RATIO = 32  # and beyond them: numbers that were ever trained do not deflate so far
MAGICS = (b"PK\x03\x04", b"PK\x05\x06")  # a member, or the end of an archive that has none

_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, length of the name, length of the extras
_LEAST = 1 << 12  # bytes to inflate at a time: the header of an array and little more
_CHUNK = 1 << 20  # and of its data


class Member(NamedTuple):
    """What the archive's directory says of a member.

    Attributes:
        header: where its own header begins.
        packed: bytes that it takes.
        size: bytes that it holds.
        method: how it is compressed.
        checksum: CRC-32 of what it holds.
    """

    header: int
    packed: int
    size: int
    method: int
    checksum: int


class Inflater:
    """A deflated member as a stream that never gives more than it is asked for."""

    def __init__(
        self, packed: Callable[[int], bytes], length: int, checksum: int, where: str
    ) -> None:
        self._packed = packed
        self._left = length
        self._expected = checksum
        self._checksum = 0
        self._tail = b""
        self._zlib = zlib.decompressobj(-zlib.MAX_WBITS)
        self._where = where

    def read(self, count: int) -> bytes:
        parts = []
        while count and not self._zlib.eof:
            packed = self._tail or self._packed(min(max(count, _LEAST), self._left))
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
            raise ReadError(f"{self._where}: {message}; save it uncompressed to map it") from error
        done = 0
        while part := self.read(min(_CHUNK, count - done)):
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


class _Directory:
    """An archive for zipfile, which would read a directory as long as its end says that it is."""

    def __init__(self, file: StoredFile) -> None:
        self._file = file
        self.seek, self.tell = file.raw.seek, file.raw.tell
        # from a remote file the end, of which zipfile reads one piece after the other, comes whole
        file.read(max(0, file.size - READ_AHEAD), min(1, file.size))

    def read(self, count: int = -1) -> bytes:
        if count > LARGEST_DIRECTORY:
            raise self._file.error(f"its zip directory is over {LARGEST_DIRECTORY} bytes; refused")
        return self._file.raw.read(count)


def is_zip(start: bytes) -> bool:
    """Whether a file begins as a zip archive does."""
    return start.startswith(MAGICS)


def members(file: StoredFile) -> dict[str, Member]:
    """The members of an archive by name, none over another.

    Raises:
        ReadError: the directory is damaged, or made to hurt.
    """
    try:
        with zipfile.ZipFile(_Directory(file)) as archive:
            entries = archive.infolist()
    except ReadError:
        raise
    except Exception as error:  # hostile bytes make zipfile raise a dozen kinds
        message = "its zip directory is damaged or cut off; save or copy it again"
        raise file.error(message) from error
    by_place = sorted(entries, key=lambda entry: entry.header_offset)
    for entry, following in itertools.pairwise(by_place):
        if entry.header_offset + _LOCAL_HEADER.size + entry.compress_size > following.header_offset:
            both = f"members {quoted(entry.filename)} and {quoted(following.filename)} overlap"
            raise file.error(f"{both}; refused as a zip bomb")
    found: dict[str, Member] = {}
    for entry in entries:
        name = entry.filename
        if name in found:
            raise file.error(f"two members are named {quoted(name)}; save it again")
        if entry.flag_bits & 0x1:
            message = f"member {quoted(name)} is encrypted"
            raise file.error(f"{message}; save it again without a password")
        sizes = entry.compress_size, entry.file_size
        found[name] = Member(entry.header_offset, *sizes, entry.compress_type, entry.CRC)
    return found


def stored_at(file: StoredFile, member: Member, name: str) -> int | None:
    """Where a member's bytes lie as they are, or None where they are deflated.

    Raises:
        ReadError: they are not inside the file, or compressed in another way.
    """
    start = _data_offset(file, member, name)
    if member.method == zipfile.ZIP_STORED:
        if member.packed != member.size:
            sizes = f"{member.packed} bytes are stored for {member.size}"
            raise file.error(f"{sizes}; save it again", name)
        return start
    if member.method != zipfile.ZIP_DEFLATED:
        message = f"zip method {member.method} is not read"
        raise file.error(f"{message}; save it uncompressed, or deflated", name)
    if member.size > LARGEST_RATIO * member.packed:
        sizes = f"{member.size} bytes from {member.packed} compressed ones is more than deflate can"
        raise file.error(f"{sizes}; refused as a zip bomb", name)
    if member.size > max(LARGEST_DENSE, DENSE_RATIO * member.packed):
        sizes = f"{member.size} bytes from {member.packed} compressed ones"
        raise file.error(f"{sizes}; refused as a zip bomb; save it uncompressed", name)
    return None


def inflater(file: StoredFile, member: Member, name: str) -> Inflater:
    """A deflated member as a stream, until `file` is closed or read from elsewhere."""
    file.raw.seek(_data_offset(file, member, name))
    return Inflater(file.raw.read, member.packed, member.checksum, shown(file.path, name))


def _data_offset(file: StoredFile, member: Member, name: str) -> int:
    """Where the member's bytes begin, all of them inside the file."""
    if not 0 <= member.header <= file.size - _LOCAL_HEADER.size:
        message = f"truncated: it should begin at byte {member.header} of {file.size}"
        raise file.error(message, name)
    header = file.read(member.header, _LOCAL_HEADER.size, name)
    signature, name_length, extras = _LOCAL_HEADER.unpack(header)
    start: int = member.header + _LOCAL_HEADER.size + name_length + extras
    if signature != b"PK\x03\x04":
        raise file.error(f"no zip member begins at byte {member.header}; copy it again", name)
    if start + member.packed > file.size:
        end = f"truncated: it should end at byte {start + member.packed} of {file.size}"
        raise file.error(f"{end}; save or copy it again", name)
    return start

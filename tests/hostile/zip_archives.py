"""Zip archives, of which every word may be a lie."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


def archive(members: Mapping[str, bytes], method: int = STORED) -> bytes:
    """An honest one."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as written:
        for name, data in members.items():
            written.writestr(zipfile.ZipInfo(name), data, method)
    return file.getvalue()


def member(
    name: bytes, data: bytes, size: int | None = None, *, method: int = STORED, flags: int = 0,
    packed: int | None = None, checksum: int | None = None, at: int = 0,
) -> tuple[bytes, bytes]:  # fmt: skip
    """A member and its entry in the directory.

    Args:
        name: its own.
        data: as it is stored.
        size: what it is said to hold.
        method: how it is said to be compressed.
        flags: 1 if it is said to be encrypted.
        packed: bytes that it is said to take.
        checksum: of what it holds.
        at: where it is said to begin.
    """
    shared = struct.pack(
        "<HHHHHIIIHH", 20, flags, method, 0, 33, zlib.crc32(data) if checksum is None else checksum,
        len(data) if packed is None else packed, len(data) if size is None else size, len(name), 0,
    )  # fmt: skip
    place = struct.pack("<HHHII", 0, 0, 0, 0, at)
    return b"PK\3\4" + shared + name + data, b"PK\1\2\x14\0" + shared + place + name


def directory(entries: bytes, count: int, at: int, size: int | None = None) -> bytes:
    """The end of an archive: its entries, how many, where they begin, and their size."""
    said = count, count, len(entries) if size is None else size, at
    return entries + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, *said, 0)


def joined(*members: tuple[bytes, bytes]) -> bytes:
    """An archive of members and their entries."""
    content = b"".join(local for local, _ in members)
    return content + directory(b"".join(entry for _, entry in members), len(members), len(content))


def crowd(
    name: str, data: bytes, count: int, size: int | None = None, method: int = STORED
) -> bytes:
    """Many members of the same content, numbered where their name has a %x."""
    members, at = [], 0
    for number in range(count):
        members.append(member((name % number).encode(), data, size, method=method, at=at))
        at += len(members[-1][0])
    return joined(*members)


def deflated(data: bytes) -> bytes:
    """Compressed as in an archive."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def zeros(megabytes: int, start: bytes = b"") -> bytes:
    """So many megabytes of NUL after a start, compressed to a thousandth."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + block * megabytes + packer.flush()

"""What the header of a GGUF file says of its tensors; no other metadata is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass
from struct import Struct

from qcore import StoredFile
from qcore_gguf.cursor import LENGTH, Cursor

MAGIC = b"GGUF"
VERSIONS = (2, 3)  # alike, but for the big-endian files that only 3 knows
DEFAULT_ALIGNMENT = 32
LARGEST_ALIGNMENT = 1 << 20
LONGEST_KEY = 65_535  # bytes, the format's own limit
LONGEST_NAME = 256  # bytes; the format's own limit of 64 is passed by some
MOST_KEYS = 1 << 16
MOST_TENSORS = 1 << 16
MOST_DIMS = 4
DEEPEST_ARRAY = 4

UINT32, STRING, ARRAY = 4, 8, 9
SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, UINT32: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

_COUNTS = Struct("<QQ")
_NUMBER = Struct("<I")
_ARRAY_HEAD = Struct("<IQ")
_TYPE_AND_OFFSET = Struct("<IQ")
_LEAST_KEY = 13  # bytes: no name, a type and one byte of value
_LEAST_TENSOR = 24  # bytes: no name, no dimensions


@dataclass(frozen=True)
class Entry:
    """What the header says of a tensor.

    Attributes:
        name: its name.
        shape: in NumPy's order, the last dimension that of neighbours in memory.
        type: the number of its type in ggml.
        offset: where it begins, in bytes from the beginning of the data.
    """

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int


@dataclass(frozen=True)
class Header:
    """A header, each entry valid by itself.

    Attributes:
        entries: one a tensor, in the order of the file.
        alignment: what offsets and the beginning of the data are multiples of, in bytes.
        data: where the data begins, in bytes; a file without tensors may end before.
    """

    entries: tuple[Entry, ...]
    alignment: int
    data: int


def read_header(file: StoredFile) -> Header:
    """The header of a GGUF file, which is read piece by piece.

    Raises:
        ReadError: it is damaged, or of a version or byte order that is not read.

    Source: docs/gguf.md of ggml.
    """
    _check_kind(file)
    cursor = Cursor(file)
    cursor.skip(8)  # magic and version
    tensors, keys = cursor.unpack(_COUNTS)
    for count, most, what in ((tensors, MOST_TENSORS, "tensors"), (keys, MOST_KEYS, "keys")):
        if count > most:
            message = f"its header announces {count} {what}, and {most} is the limit"
            raise file.error(f"damaged: {message}; download it again")
    cursor.expect(keys * _LEAST_KEY + tensors * _LEAST_TENSOR)
    alignment = _read_alignment(file, cursor, keys)
    entries: dict[str, Entry] = {}
    for _ in range(tensors):
        entry = _read_entry(file, cursor)
        if entry.name in entries:
            raise file.error("it is there twice; save it again", entry.name)
        if entry.offset % alignment:
            message = f"its offset {entry.offset} is no multiple of the alignment {alignment}"
            raise file.error(f"{message}; save it again", entry.name)
        entries[entry.name] = entry
    data = -(-cursor.at // alignment) * alignment
    return Header(tuple(entries.values()), alignment, data)


def _check_kind(file: StoredFile) -> None:
    """Check magic, version and byte order."""
    start = file.read(0, min(8, file.size))
    if start == b"version ":  # what Git leaves when LFS did not run
        raise file.error("it is a Git LFS pointer, not the tensors; run git lfs pull")
    if not start.startswith(MAGIC):
        raise file.error("not a GGUF file: it does not begin with 'GGUF'")
    if len(start) < 8:
        raise file.error("truncated: it ends before its version; download it again")
    version, swapped = (int.from_bytes(start[4:], order) for order in ("little", "big"))
    if swapped in VERSIONS:
        message = "it is big-endian, which qcore does not read"
        raise file.error(f"{message}; turn a copy of it with gguf-convert-endian COPY little")
    if version not in VERSIONS:
        message = f"GGUF version {version} is not read, only 2 and 3"
        raise file.error(f"{message}; convert the model again with llama.cpp")


def _read_alignment(file: StoredFile, cursor: Cursor, keys: int) -> int:
    """Go past the metadata, of which the alignment alone matters here."""
    alignment = DEFAULT_ALIGNMENT
    seen: set[bytes] = set()
    for _ in range(keys):
        key = cursor.string(LONGEST_KEY, "a key")
        if key in seen:
            raise file.error(f"it holds the key {_text(key)} twice; save it again")
        seen.add(key)
        (kind,) = cursor.unpack(_NUMBER)
        if key == b"general.alignment":
            if kind != UINT32:
                raise file.error("general.alignment must be a UINT32; save it again")
            (alignment,) = cursor.unpack(_NUMBER)
            if alignment.bit_count() != 1 or alignment > LARGEST_ALIGNMENT:
                limits = f"a power of two up to {LARGEST_ALIGNMENT}, not {alignment}"
                raise file.error(f"general.alignment must be {limits}; save it again")
        elif kind == STRING:
            (length,) = cursor.unpack(LENGTH)
            cursor.skip(length)
        elif kind == ARRAY:
            _skip_array(file, cursor, key)
        elif kind in SCALAR_BYTES:
            cursor.skip(SCALAR_BYTES[kind])
        else:
            raise _unknown_kind(file, key, kind)
    return alignment


def _skip_array(file: StoredFile, cursor: Cursor, key: bytes) -> None:
    """Go past an array, and the arrays in it."""
    left = [1]  # arrays still to come, at each depth
    while left:
        if not left[-1]:
            left.pop()
            continue
        left[-1] -= 1
        kind, count = cursor.unpack(_ARRAY_HEAD)
        if kind == STRING:
            cursor.skip_strings(count)
        elif kind in SCALAR_BYTES:
            cursor.skip(count * SCALAR_BYTES[kind])
        elif kind == ARRAY:
            if len(left) == DEEPEST_ARRAY:
                message = f"key {_text(key)}: its arrays lie more than {DEEPEST_ARRAY} deep"
                raise file.error(f"{message}; save it again with less metadata")
            cursor.expect_strings(4 * count, _ARRAY_HEAD.size // 4)  # each takes their time
            left.append(count)
        else:
            raise _unknown_kind(file, key, kind)


def _read_entry(file: StoredFile, cursor: Cursor) -> Entry:
    encoded = cursor.string(LONGEST_NAME, "the name of a tensor")
    try:
        name = encoded.decode()
    except UnicodeError as error:
        message = f"the name of a tensor, {_text(encoded)}, is not valid UTF-8"
        raise file.error(f"{message}; save or download it again") from error
    (ndim,) = cursor.unpack(_NUMBER)
    if ndim > MOST_DIMS:
        raise file.error(f"it has {ndim} dimensions, and {MOST_DIMS} is the limit", name)
    dims = cursor.unpack(Struct(f"<{ndim}Q"))
    if math.prod(dims) >= 2**63 or any(n >= 2**63 for n in dims):
        raise file.error(f"dimensions {dims} are more than a system can count", name)
    kind, offset = cursor.unpack(_TYPE_AND_OFFSET)
    return Entry(name, dims[::-1], kind, offset)


def _unknown_kind(file: StoredFile, key: bytes, kind: int) -> Exception:
    message = f"key {_text(key)}: type {kind} is none of GGUF's"
    return file.error(f"damaged: {message}; download it again")


def _text(name: bytes) -> str:
    """A name, for a message: on one line, of bounded length."""
    return repr(name[:200].decode(errors="replace"))

"""Where in a GGUF file each tensor lies: whole, apart from all others, nothing between them."""

from __future__ import annotations

import math

from qcore import StoredFile, TensorInfo
from qcore_gguf.ggml_types import TYPES
from qcore_gguf.header import Entry, Header, read_header


def list_tensors(file: StoredFile) -> list[TensorInfo]:
    """What a GGUF file holds; `where` is the first byte, the type's number and the file's size.

    Raises:
        ReadError: the header is damaged, or says what the file's size belies.
    """
    header = read_header(file)
    for entry in header.entries:
        _check_blocks(file, entry)
    _check_places(file, header)
    return [_info(file, entry, header.data + entry.offset) for entry in header.entries]


def _info(file: StoredFile, entry: Entry, begin: int) -> TensorInfo:
    place = (begin, entry.type, file.size)
    kind = TYPES.get(entry.type)
    if kind is None:
        return TensorInfo(entry.name, entry.shape, f"ggml-type-{entry.type}", file.path, place)
    if not kind.is_quantized:
        return TensorInfo(entry.name, entry.shape, kind.dtype, file.path, place)
    nbytes = kind.nbytes(entry.shape)
    return TensorInfo(entry.name, entry.shape, kind.dtype, file.path, place, kind.name, nbytes)


def _check_blocks(file: StoredFile, entry: Entry) -> None:
    """Check that rows are whole blocks."""
    kind = TYPES.get(entry.type)
    row = entry.shape[-1] if entry.shape else 1
    if kind is not None and row % kind.values:
        message = f"its rows of {row} are no whole blocks of {kind.values}, as {kind.name} has"
        raise file.error(f"{message}; save it again", entry.name)


def _check_places(file: StoredFile, header: Header) -> None:
    """Check from the last tensor to the first that each ends where the next begins.

    Between them is less than the alignment. What is of an unknown type takes all that there is.
    """
    limit, after = file.size, None
    for entry in sorted(header.entries, key=_order, reverse=True):
        begin = header.data + entry.offset
        kind = TYPES.get(entry.type)
        end = begin + kind.nbytes(entry.shape) if kind is not None else max(begin, limit)
        if end > limit and after is None:
            message = f"its data ends at byte {end} and the file has {limit}"
            raise file.error(f"truncated: {message}; download it again", entry.name)
        if end > limit:
            raise file.error(f"its bytes overlap those of {after!r}; save it again", entry.name)
        if limit - end >= header.alignment:
            message = f"{limit - end} bytes after it belong to no tensor"
            raise file.error(f"{message}; save or download it again", entry.name)
        limit, after = begin, entry.name
    if limit - header.data >= header.alignment:
        message = f"{limit - header.data} bytes after its header belong to no tensor"
        raise file.error(f"{message}; save or download it again")


def _order(entry: Entry) -> tuple[int, float]:
    """What sorts by place; of two that begin together, the empty one is first."""
    kind = TYPES.get(entry.type)
    return entry.offset, math.inf if kind is None else kind.nbytes(entry.shape)

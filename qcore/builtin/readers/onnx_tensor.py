"""ONNX's TensorProto: what it says of a tensor, and the bytes of its values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.builtin.readers.dtypes import BITS, stored_bytes
from qcore.builtin.readers.protobuf import (
    BYTES,
    FIXED32,
    FIXED64,
    LONGEST_VARINT,
    VARINT,
    Field,
    Messages,
    key,
    signed,
    unpack_varints,
)
from qcore.interfaces.reader import TensorInfo
from qcore.stored_file import StoredFile, shown

RAW, TYPED = 0, 1
"""How values lie: as they are, or in a numeric field of the message, which is walked again."""

DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64",
    9: "bool", 10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 14: "complex64",
    15: "complex128", 16: "bfloat16", 17: "float8_e4m3fn", 18: "float8_e4m3fnuz",
    19: "float8_e5m2", 20: "float8_e5m2fnuz", 21: "uint4", 22: "int4", 23: "float4_e2m1fn",
    24: "float8_e8m0fnu", 25: "uint2", 26: "int2",
}  # fmt: skip
"""Data types that are read."""

_ONLY_LISTED = {0: "undefined", 8: "str", 27: "float6_e2m3fn", 28: "float6_e3m2fn"}
_MOST_DIMENSIONS = 64  # NumPy's limit

_DIMS, _PACKED_DIMS = key(1, VARINT), key(1, BYTES)
_DATA_TYPE = key(2, VARINT)
_SEGMENT = key(3, BYTES)
_NAME = key(8, BYTES)
_RAW_DATA = key(9, BYTES)
_EXTERNAL_DATA = key(13, BYTES)
_DATA_LOCATION = key(14, VARINT)
_ENTRY = (key(1, BYTES), key(2, BYTES))
_PLACE = ("location", "offset", "length")

_INT32_DATA = (5, VARINT)
_FIELDS = {
    "float32": (4, FIXED32), "complex64": (4, FIXED32),
    "float64": (10, FIXED64), "complex128": (10, FIXED64),
    "int64": (7, VARINT), "uint32": (11, VARINT), "uint64": (11, VARINT),
}  # fmt: skip
_TYPED = {
    key(number, form): number
    for number, wire in {_INT32_DATA, *_FIELDS.values()}
    for form in (wire, BYTES)
}


@dataclass
class TensorProto:
    """What a message says of a tensor; nothing of it is checked yet.

    Attributes:
        start: where the message begins in the file.
        end: where it ends.
        name: the tensor's.
        dims: its shape, of at most one number more than NumPy takes.
        data_type: the number of its dtype.
        raw: its bytes as they are.
        typed: bytes of each numeric field that may hold its values, by number.
        is_external: whether its bytes are in another file.
        external: where they are: `location`, `offset` and `length`.
        encoding: `segment` for one part of a tensor, `sparse` for a sparse one.
    """

    start: int
    end: int
    name: str = ""
    dims: list[int] = field(default_factory=list)
    data_type: int = 0
    raw: Field | None = None
    typed: dict[int, int] = field(default_factory=dict)
    is_external: bool = False
    external: dict[str, str] = field(default_factory=dict)
    encoding: str = ""

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The shape, or None where NumPy has no such."""
        fits = len(self.dims) <= _MOST_DIMENSIONS and min(self.dims, default=0) >= 0
        return tuple(self.dims) if fits else None

    @property
    def dtype(self) -> str:
        """The dtype by name, or a word for what is none."""
        number = self.data_type
        return DTYPES.get(number) or _ONLY_LISTED.get(number) or f"type-{number}"


def tensor_proto(messages: Messages, message: Field) -> TensorProto:
    """What a message says of a tensor.

    Raises:
        ReadError: it is no message.
    """
    tensor = TensorProto(message.start, message.end)
    for found in messages.inside(message):
        if found.key in (_DIMS, _PACKED_DIMS):
            add_dims(tensor.dims, messages, found)
        elif found.key == _DATA_TYPE:
            tensor.data_type = signed(found.value)
        elif found.key == _NAME:
            tensor.name = messages.text(found)
        elif found.key == _RAW_DATA:
            tensor.raw = found
        elif found.key == _EXTERNAL_DATA:
            entry = messages.first_of_each(found, _ENTRY)
            name, value = (messages.text(entry[part]) if part in entry else "" for part in _ENTRY)
            if name in _PLACE:
                tensor.external[name] = value
        elif found.key == _DATA_LOCATION:
            tensor.is_external = found.value == 1
        elif found.key in _TYPED:
            number = _TYPED[found.key]
            tensor.typed[number] = tensor.typed.get(number, 0) + found.end - found.start
        elif found.key == _SEGMENT:
            tensor.encoding = "segment"
    return tensor


def add_dims(dims: list[int], messages: Messages, found: Field) -> None:
    """Add to a shape what a field of it says, up to one number more than NumPy takes."""
    room = _MOST_DIMENSIONS + 1 - len(dims)
    dims += map(signed, messages.integers(found, room))


def typed_length(tensor: TensorProto) -> int:
    """Bytes of the numeric field that holds the values of the tensor's dtype."""
    return tensor.typed.get(_field(tensor.dtype)[0], 0)


def fits(info: TensorInfo, length: int) -> bool:
    """Whether `length` stored bytes can be a tensor's values.

    Varints are counted only when they are read; each takes a byte at least, and ten at most.
    """
    needed = stored_bytes(info.dtype, info.shape)
    if info.where[0] == RAW or _field(info.dtype)[1] != VARINT:
        return length == needed
    count = needed // _unit(info.dtype).itemsize
    return count <= length <= LONGEST_VARINT * count


def stored_values(file: StoredFile, info: TensorInfo) -> NDArray[np.uint8]:
    """A tensor's values as `from_stored` takes them; mapped, unless they are varints.

    Raises:
        ReadError: they are not what was listed.
    """
    storage, start, length, _ = info.where
    if storage == RAW:
        return file.bytes_at(start, length, info.name)
    number, wire = _field(info.dtype)
    packed = Messages(file).packed(start, start + length, number, wire)
    if wire != VARINT:
        return packed
    unit = _unit(info.dtype)
    count = stored_bytes(info.dtype, info.shape) // unit.itemsize
    return unpack_varints(packed, count, unit, shown(info.path, info.name)).view(np.uint8)


def _field(dtype: str) -> tuple[int, int]:
    """The number of the field that holds values of a dtype, and the wire type of one of them."""
    return _FIELDS.get(dtype, _INT32_DATA)


def _unit(dtype: str) -> np.dtype[np.unsignedinteger[Any]]:
    """What one varint gives: the bits of a value, or the byte that several small ones share."""
    return np.dtype(f"<u{max(1, BITS[dtype] // 8)}")

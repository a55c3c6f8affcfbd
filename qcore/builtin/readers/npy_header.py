"""The header of a stored NumPy array, which is not trusted."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from qcore.errors import ReadError
from qcore.interfaces.reader import TensorInfo
from qcore.stored_file import quoted

MAGIC = b"\x93NUMPY"
LARGEST_HEADER = 10_000  # NumPy's own limit: literal_eval is not safe on longer text
LENGTHS = {1: (2, "latin1"), 2: (4, "latin1"), 3: (4, "utf8")}  # version: bytes of length, coding
TYPESTRING = re.compile(
    r"[<>|=]?(?:\?|[biufcmMOSUV]\d{0,9}(?:\[\w{1,9}(?:/\d{1,9})?\])?)", re.ASCII
)
KINDS = "biufcmM"  # anything else holds pointers, text or untyped bytes
REFUSED = {
    "O": "holds Python objects, and qcore never unpickles; save it as numbers",
    "U": "holds strings, and qcore never unpickles or converts them; save it as numbers",
    "S": "holds strings, and qcore never unpickles or converts them; save it as numbers",
    "V": "holds bytes without a number type (np.save drops bfloat16 and float8); "
    "save it as safetensors, or cast it to float32 first",
}
RECORDS = "holds records, and qcore never unpickles or splits them; save each field by itself"


@dataclass(frozen=True)
class NpyHeader:
    """What an array's header says.

    Attributes:
        shape: the array's shape; each length is in [0, 2⁶³).
        order: C if the last axis varies fastest, F if the first does.
        dtype: the element type as stored, byte order included; for records, one without fields.
        size: bytes up to the data, magic included.
    """

    shape: tuple[int, ...]
    order: Literal["C", "F"]
    dtype: np.dtype[Any]
    size: int

    @property
    def dtype_name(self) -> str:
        """NumPy's name of the element type, without the width where it is text."""
        if self.dtype.names is not None:
            return "structured"
        return {"U": "str", "S": "bytes"}.get(self.dtype.kind, self.dtype.name)

    @property
    def refusal(self) -> str | None:
        """Why the data cannot be read as numbers, or None."""
        if self.dtype.names is not None:
            return RECORDS
        return None if self.dtype.kind in KINDS else REFUSED[self.dtype.kind]

    @property
    def nbytes(self) -> int:
        """Bytes of data: Π shape × item size, exact."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(read: Callable[[int], bytes], total: int, where: str) -> NpyHeader:
    """The header at the start of an array of `total` bytes, checked against that size.

    Args:
        read: gives the next bytes, as many as asked for or, at the end, fewer.
        total: bytes of header and data together.
        where: the file, and the tensor if it has a name, for the error.

    Raises:
        ReadError: the header is damaged, or what it describes is not `total` bytes long.
    """

    def take(count: int) -> bytes:
        data = read(count)
        if len(data) < count:
            message = f"its .npy header is cut off: {count} bytes expected, {len(data)} there"
            raise ReadError(f"{where}: truncated: {message}; save or copy it again")
        return data

    magic = take(8)
    if not magic.startswith(MAGIC):
        raise ReadError(f"{where}: not an .npy array: it begins with {magic[:6]!r}, not {MAGIC!r}")
    if magic[6] not in LENGTHS:
        raise ReadError(f"{where}: .npy version {magic[6]}.{magic[7]} is unknown; save it again")
    width, coding = LENGTHS[magic[6]]
    length = int.from_bytes(take(width), "little")
    size = 8 + width + length
    if size > total:
        message = f"its .npy header needs {size} bytes and {total} are there"
        raise ReadError(f"{where}: truncated: {message}; save or copy it again")
    if length > LARGEST_HEADER:
        limit = f"at most {LARGEST_HEADER} are read, as in NumPy"
        raise ReadError(f"{where}: its .npy header is {length} bytes long; {limit}")
    header = _parse(take(length), coding, size, where)
    if header.refusal is None and header.nbytes != total - size:
        damage = "truncated" if header.nbytes > total - size else "trailing data"
        array = f"a {header.dtype_name} array of shape {header.shape}"
        sizes = f"needs {header.nbytes} bytes of data and {total - size} are there"
        raise ReadError(f"{where}: {damage}: {array} {sizes}; save or copy it again")
    return header


def check_unchanged(header: NpyHeader, info: TensorInfo, where: str) -> None:
    """Nothing, if the data is what was listed, and numbers.

    Raises:
        ReadError: it has changed since, or qcore does not read its kind.
    """
    if (header.shape, header.dtype_name) != (info.shape, info.dtype):
        raise ReadError(f"{where}: it has changed since it was listed; list it again")
    if header.refusal is not None:
        raise ReadError(f"{where}: {header.refusal}")


def _parse(data: bytes, coding: str, size: int, where: str) -> NpyHeader:
    try:
        # Python 2 on Windows wrote lengths as 3L
        fields = ast.literal_eval(re.sub(r"(?<=\d)L(?=\s*[,)])", "", data.decode(coding)).strip())
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        message = "its .npy header is not a Python dict of constants"
        raise ReadError(f"{where}: {message}; save it again") from error
    if not isinstance(fields, dict) or fields.keys() != {"descr", "fortran_order", "shape"}:
        message = "its .npy header must hold descr, fortran_order and shape, and nothing else"
        raise ReadError(f"{where}: {message}; save it again")
    shape, fortran_order, descr = fields["shape"], fields["fortran_order"], fields["descr"]
    if (
        not isinstance(shape, tuple)
        or len(shape) > 64
        or not all(type(length) is int and 0 <= length < 2**63 for length in shape)
    ):
        limits = "a tuple of at most 64 whole numbers from 0 to 2**63 - 1"
        raise ReadError(f"{where}: the shape in its .npy header is not {limits}; save it again")
    if not isinstance(fortran_order, bool):
        message = "fortran_order in its .npy header is not True or False"
        raise ReadError(f"{where}: {message}; save it again")
    return NpyHeader(shape, "F" if fortran_order else "C", _dtype(descr, where), size)


def _dtype(descr: object, where: str) -> np.dtype[Any]:
    if isinstance(descr, list | tuple):
        return np.dtype([])  # records are refused, so their fields need no parser
    try:
        if isinstance(descr, str) and TYPESTRING.fullmatch(descr):
            return np.dtype(descr)
    except (TypeError, ValueError, OverflowError):
        pass
    name = quoted(descr) if isinstance(descr, str) else type(descr).__name__
    raise ReadError(f"{where}: descr {name} in its .npy header is no dtype; save it again")

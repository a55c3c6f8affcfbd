"""How one array of a quantized tensor lies in a file: in as many bits as its scheme declares."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from qcore.builtin.readers.dtypes import BITS, dtype_named
from qcore.builtin.readers.safetensors import NAMES
from qcore.errors import RangeError, ReadError, UsageError
from qcore.json_file import checked, member
from qcore.packing import pack, packed_size, unpack
from qcore.safetensors_file import Entry
from qcore.stored_file import quoted

_WIDEST_PACKED = 16


@dataclass(frozen=True)
class StoredArray:
    """An array's type and shape, and the bits that are kept of each element.

    Attributes:
        dtype: its element type, by NumPy's name or ml_dtypes'.
        bits: what an element takes; where that is not what its type has, integers are packed.
        shape: its shape.
        signed: whether packed integers are in two's complement.

    Raises:
        UsageError: such elements cannot be kept in so many bits.
    """

    dtype: str
    bits: int
    shape: tuple[int, ...]
    signed: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in NAMES.values():
            raise UsageError(f"safetensors has no number type {quoted(self.dtype)}")
        is_integer = self.dtype.startswith(("int", "uint", "bool"))
        if self.is_packed and not (is_integer and 1 <= self.bits <= _WIDEST_PACKED):
            own = BITS[self.dtype]
            message = f"an element of {self.dtype} takes {own} bits, not {self.bits}"
            raise UsageError(f"{message}; integers may take any from 1 to {_WIDEST_PACKED}")

    @property
    def is_packed(self) -> bool:
        """Whether it is a dense bit stream, laid out as `qcore.pack` documents."""
        return self.bits != BITS[self.dtype]

    @property
    def nbytes(self) -> int:
        """What it takes in the file."""
        return packed_size(math.prod(self.shape), self.bits)

    def entry(self, name: str) -> Entry:
        """What is written under a name: the array, or the bytes of its bit stream."""
        if self.is_packed:
            return Entry(name, "uint8", (self.nbytes,))
        return Entry(name, self.dtype, self.shape)

    def store(self, array: NDArray[Any]) -> NDArray[Any]:
        """The array as it is written.

        Raises:
            RangeError: an integer does not fit the bits.
        """
        if self.is_packed:
            return pack(array, self.bits)
        with np.errstate(all="ignore"):  # whoever stores compares what comes back
            own = array.astype(dtype_named(self.dtype, "params"), copy=False)
        return own.reshape(self.shape)

    def store_exactly(self, array: NDArray[Any], name: str) -> NDArray[Any]:
        """The array as it is written, from which it comes back bit for bit.

        Raises:
            UsageError: it would not; led by its name.
        """
        try:
            stored = self.store(array)
            again = self.restore(stored).astype(array.dtype, copy=False)
            if again.tobytes() == array.tobytes():
                return stored
        except RangeError:
            pass
        message = f"a {name} is not among the numbers that {self.bits} bits of {self.dtype} hold"
        raise UsageError(f"{message}; snap the scale to its format, or declare more in field_bits")

    def restore(self, stored: NDArray[Any]) -> NDArray[Any]:
        """The array that was stored."""
        if not self.is_packed:
            return stored
        integers = unpack(stored, self.bits, self.shape, signed=self.signed)
        return integers.astype(np.dtype(self.dtype), copy=False)

    def to_dict(self) -> dict[str, Any]:
        """The description as JSON holds it."""
        return {**dataclasses.asdict(self), "shape": list(self.shape)}

    @classmethod
    def from_dict(cls, described: Any) -> Self:
        """What `to_dict` gave, every word of it checked.

        Raises:
            ReadError: it is something else.
        """
        holder = checked(described, dict, "the description of an array")
        shape = member(holder, "shape", list)
        if len(shape) > 64 or not all(type(n) is int and 0 <= n < 2**63 for n in shape):
            raise ReadError("'shape' must be at most 64 whole numbers from 0 to 2**63 - 1")
        dtype, bits = member(holder, "dtype", str), member(holder, "bits", int)
        try:
            return cls(dtype, bits, tuple(shape), member(holder, "signed", bool))
        except UsageError as error:
            raise ReadError(str(error)) from None

"""Element types by name, NumPy's and ml_dtypes', and the ones that share bytes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.errors import ReadError
from qcore.packing import packed_size, unpack
from qcore.stored_file import as_array

NUMPY_BITS = {
    "bool": 8, "uint8": 8, "int8": 8, "uint16": 16, "int16": 16, "uint32": 32, "int32": 32,
    "uint64": 64, "int64": 64, "float16": 16, "float32": 32, "float64": 64, "complex64": 64,
    "complex128": 128,
}  # fmt: skip
ML_BITS = {
    "bfloat16": 16, "float8_e4m3fn": 8, "float8_e4m3fnuz": 8, "float8_e5m2": 8,
    "float8_e5m2fnuz": 8, "float8_e8m0fnu": 8, "float4_e2m1fn": 4, "int4": 4, "uint4": 4,
    "int2": 2, "uint2": 2,
}  # fmt: skip
BITS = NUMPY_BITS | ML_BITS
"""What a stored element takes; NumPy gives each of fewer than eight a byte of its own."""


def dtype_named(name: str, where: str) -> np.dtype[Any]:
    """The little-endian dtype of a name in `BITS`; ml_dtypes is imported only for its own.

    Raises:
        ReadError: ml_dtypes is too old, or not there; led by `where`.
    """
    if name in NUMPY_BITS:
        return np.dtype(name).newbyteorder("<")
    try:
        import ml_dtypes

        dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
    except (ImportError, AttributeError) as error:
        message = f"{name} needs ml_dtypes 0.5 or later; pip install -U ml_dtypes"
        raise ReadError(f"{where}: {message}") from error
    return dtype


def stored_bytes(name: str, shape: tuple[int, ...]) -> int:
    """Bytes of a stored tensor, the last of them filled up."""
    return packed_size(math.prod(shape), BITS[name])


def from_stored(
    data: NDArray[np.uint8], name: str, shape: tuple[int, ...], where: str
) -> NDArray[Any]:
    """A tensor from its stored bytes: the same memory, unless elements share bytes.

    Those lie with the first in the lowest bits, and are given a byte each.

    Raises:
        ReadError: they are too many or too few, or NumPy cannot hold it.
    """
    dtype = dtype_named(name, where)
    if BITS[name] >= 8:
        return as_array(data, dtype, shape, where)
    if data.size != stored_bytes(name, shape):
        raise ReadError(f"{where}: {data.size} bytes are not {shape} of {name}")
    codes = unpack(data, BITS[name], math.prod(shape), signed=name.startswith("int"))
    return as_array(codes.view(np.uint8), dtype, shape, where)

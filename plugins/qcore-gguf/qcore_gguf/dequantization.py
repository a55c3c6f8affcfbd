"""Values from the blocks of a quantized tensor, by the package `gguf`."""

from __future__ import annotations

import importlib.metadata

import numpy as np
from numpy.typing import NDArray

from qcore import StoredFile, TensorInfo
from qcore_gguf.ggml_types import TYPES

CHUNK = 1 << 17  # values that are dequantized at once


def dequantized(file: StoredFile, info: TensorInfo) -> NDArray[np.float32]:
    """The values of a tensor, read-only; no more than a chunk is in memory beside them.

    Raises:
        ReadError: its type cannot be dequantized, or its values cannot be held.
    """
    begin, number, _ = info.where
    kind = TYPES[number]
    blocks = file.bytes_at(begin, kind.nbytes(info.shape), info.name)
    try:
        values = np.empty(info.shape, np.float32)
    except (ValueError, MemoryError) as error:
        message = f"its values, float32 of shape {info.shape}, cannot be held in memory"
        raise file.error(message, info.name) from error
    from gguf import quants
    from gguf.constants import GGMLQuantizationType

    flat = values.reshape(-1)
    step = CHUNK // kind.values
    try:
        with np.errstate(all="ignore"):  # a scale may be infinite or no number
            for first in range(0, len(flat) // kind.values, step):
                chunk = blocks[first * kind.bytes : (first + step) * kind.bytes]
                found = quants.dequantize(chunk, GGMLQuantizationType(number))
                flat[first * kind.values :][: len(found)] = found
    except (NotImplementedError, ValueError) as error:
        message = f"gguf {importlib.metadata.version('gguf')} does not dequantize {kind.name}"
        way_out = "pip install -U gguf, or quantize the model again in another type"
        raise file.error(f"{message}; {way_out}", info.name) from error
    values.flags.writeable = False
    return values

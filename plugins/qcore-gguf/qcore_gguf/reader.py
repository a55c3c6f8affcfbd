"""llama.cpp's GGUF: a header of metadata and tensors, then their bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from qcore import StoredFile, TensorInfo, TensorReader
from qcore_gguf.dequantization import dequantized
from qcore_gguf.ggml_types import TYPES
from qcore_gguf.header import MAGIC
from qcore_gguf.layout import list_tensors


@dataclass(frozen=True)
class GgufReader(TensorReader):
    """One file; a model in several is given as several.

    Quantized tensors are read as float32.

    Source: docs/gguf.md of ggml.
    """

    id: ClassVar[str] = "gguf"
    suffixes: ClassVar[tuple[str, ...]] = (".gguf",)

    def sniff(self, path: Path) -> bool:
        return StoredFile.peek(path, len(MAGIC)) == MAGIC

    def tensors(self, path: Path) -> Iterator[TensorInfo]:
        with StoredFile(path) as file:
            return iter(list_tensors(file))

    def read(self, info: TensorInfo) -> NDArray[Any]:
        begin, number, size = info.where
        with StoredFile(info.path) as file:
            if file.size != size:
                raise file.error("the file has changed since it was listed; list it again")
            if number not in TYPES:
                message = f"type {number} of ggml is none that qcore-gguf knows"
                way_out = "pip install -U qcore-gguf, or quantize the model again in another type"
                raise file.error(f"{message}; {way_out}", info.name)
            kind = TYPES[number]
            if kind.is_quantized:
                return dequantized(file, info)
            return file.array(begin, _dtype(kind.dtype), info.shape, info.name)


def _dtype(name: str) -> np.dtype[Any]:
    """The little-endian dtype of a plain type."""
    if name == "bfloat16":
        import ml_dtypes

        name = ml_dtypes.bfloat16
    return np.dtype(name).newbyteorder("<")

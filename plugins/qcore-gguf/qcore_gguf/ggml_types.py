"""The tensor types of ggml: what each is called, and what a block of it takes."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class GgmlType:
    """A type in which tensors are stored.

    Attributes:
        name: its own, such as `Q4_K`.
        values: how many a block holds.
        bytes: what a block takes.
        dtype: what is read from it.
    """

    name: str
    values: int
    bytes: int
    dtype: str = "float32"

    @property
    def is_quantized(self) -> bool:
        """Whether it must be dequantized; else its bytes are the array's."""
        return self.values > 1

    def nbytes(self, shape: tuple[int, ...]) -> int:
        """What a tensor of whole blocks takes."""
        return math.prod(shape) // self.values * self.bytes


TYPES = {
    0: GgmlType("F32", 1, 4),
    1: GgmlType("F16", 1, 2, "float16"),
    2: GgmlType("Q4_0", 32, 18),
    3: GgmlType("Q4_1", 32, 20),
    6: GgmlType("Q5_0", 32, 22),
    7: GgmlType("Q5_1", 32, 24),
    8: GgmlType("Q8_0", 32, 34),
    9: GgmlType("Q8_1", 32, 40),
    10: GgmlType("Q2_K", 256, 84),
    11: GgmlType("Q3_K", 256, 110),
    12: GgmlType("Q4_K", 256, 144),
    13: GgmlType("Q5_K", 256, 176),
    14: GgmlType("Q6_K", 256, 210),
    15: GgmlType("Q8_K", 256, 292),
    16: GgmlType("IQ2_XXS", 256, 66),
    17: GgmlType("IQ2_XS", 256, 74),
    18: GgmlType("IQ3_XXS", 256, 98),
    19: GgmlType("IQ1_S", 256, 50),
    20: GgmlType("IQ4_NL", 32, 18),
    21: GgmlType("IQ3_S", 256, 110),
    22: GgmlType("IQ2_S", 256, 82),
    23: GgmlType("IQ4_XS", 256, 136),
    24: GgmlType("I8", 1, 1, "int8"),
    25: GgmlType("I16", 1, 2, "int16"),
    26: GgmlType("I32", 1, 4, "int32"),
    27: GgmlType("I64", 1, 8, "int64"),
    28: GgmlType("F64", 1, 8, "float64"),
    29: GgmlType("IQ1_M", 256, 56),
    30: GgmlType("BF16", 1, 2, "bfloat16"),
    34: GgmlType("TQ1_0", 256, 54),
    35: GgmlType("TQ2_0", 256, 66),
    39: GgmlType("MXFP4", 32, 17),
    40: GgmlType("NVFP4", 64, 36),
    41: GgmlType("Q1_0", 128, 18),
}
"""By the number that a file gives; importing the package `gguf` for its table takes far too long to
list a file. The numbers that are missing were given up, or are not given yet.

Source: `ggml_type` and the blocks of ggml's ggml.h and ggml-common.h.
"""

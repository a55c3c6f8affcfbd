"""The symmetric scheme: evenly spaced codes around zero, no zero point."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import numpy as np

from qcore import FitContext, GridQuantizer, IntegerGrid, QuantParams, check_bits


@dataclass(frozen=True)
class Symmetric(GridQuantizer):
    """x̂ = scale · code, scale = max|x| / qmax, qmax = 2^(bits−1) − 1.

    Attributes:
        bits: 2 to 16.
        signed: codes from −qmax to qmax, as TensorRT has them; otherwise from 0 to
            2^bits − 1 = qmax, scale = max(hi, 0) / qmax, and negative values become 0.
        full_range: one more negative code, −2^(bits−1); the scale stays.
    """

    id: ClassVar[str] = "symmetric"
    bits: int
    _: KW_ONLY
    signed: bool = True
    full_range: bool = False

    def __post_init__(self) -> None:
        check_bits(self, 2, 16)

    @property
    def grid(self) -> IntegerGrid:
        if not self.signed:
            return IntegerGrid(0, (1 << self.bits) - 1)
        qmax = (1 << (self.bits - 1)) - 1
        return IntegerGrid(-qmax - self.full_range, qmax)

    @property
    def formula(self) -> str:
        largest = "max|x|" if self.signed else "max(hi, 0)"
        return f"x̂ = scale · code, scale = {largest} / {self.grid.qmax}"

    def params(self, context: FitContext) -> QuantParams:
        largest = context.largest(signed=self.signed)
        scale = np.where(largest > 0, largest / np.float32(self.grid.qmax), np.float32(1))
        return QuantParams(context.snap(scale))

"""The asymmetric scheme: evenly spaced codes, with an integer that stands for zero."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from qcore import (
    FitContext,
    GridQuantizer,
    IntegerGrid,
    QuantParams,
    RangeError,
    check_bits,
    even_step,
)

_LARGEST_ZERO_POINT = 1 << 20  # beyond it code − zero_point loses bits in float32


@dataclass(frozen=True)
class Asymmetric(GridQuantizer):
    """x̂ = scale · (code − z), scale = (hi − lo) / (2^bits − 1), z = round(qmin − lo / scale).

    z derives from the scale as stored and is rounded half-even, whatever the rounding policy. An
    all-zero block has scale 1, z = 0 and codes 0.

    Attributes:
        bits: 2 to 16.
        signed: codes from −2^(bits−1) to 2^(bits−1) − 1; otherwise from 0 to 2^bits − 1.
        include_zero: the range is widened to hold zero, so that zero is exact and z is a code.
            Otherwise z may lie outside the codes, is stored in 32 bits, and is an error beyond
            ±2²⁰; a block whose range is a single number is still widened, to keep it.
    """

    id: ClassVar[str] = "asymmetric"
    bits: int
    _: KW_ONLY
    signed: bool = True
    include_zero: bool = True

    def __post_init__(self) -> None:
        check_bits(self, 2, 16)

    @property
    def grid(self) -> IntegerGrid:
        qmin = -(1 << (self.bits - 1)) if self.signed else 0
        return IntegerGrid(qmin, qmin + (1 << self.bits) - 1)

    @property
    def formula(self) -> str:
        grid = self.grid
        scale = f"scale = (hi − lo) / {grid.qmax - grid.qmin}"
        if self.include_zero:
            scale = f"{scale} with lo ≤ 0 ≤ hi"
        least = f"−{-grid.qmin} − " if grid.qmin else "−"
        return f"x̂ = scale · (code − z), {scale}, z = round({least}lo / scale)"

    def params(self, context: FitContext) -> QuantParams:
        lo, hi = self._range(context)
        grid = self.grid
        scale = context.snap(even_step(lo, hi, grid.qmax - grid.qmin))
        zero_point = np.where(hi > lo, np.rint(grid.qmin - (lo / scale).astype(np.float64)), 0)
        if self.include_zero:  # a scale raised to its format's smallest may push z out
            zero_point = np.clip(zero_point, grid.qmin, grid.qmax)
        elif (np.abs(zero_point) > _LARGEST_ZERO_POINT).any():
            raise RangeError(
                f"zero point {zero_point[np.abs(zero_point).argmax(), 0]:.0f} is beyond ±2^20, "
                "where float32 loses the codes; use asymmetric with include_zero=true, or uniform"
            )
        return QuantParams(scale, zero_point.astype(np.int32))

    def field_bits(self, params: QuantParams) -> dict[str, int]:
        """With zero in range z is one of the codes, and takes as much."""
        return {"zero_point": self.bits} if self.include_zero else super().field_bits(params)

    def _range(self, context: FitContext) -> tuple[NDArray[Any], NDArray[Any]]:
        widened = self.include_zero | (context.lo == context.hi)
        lo = np.where(widened, np.minimum(context.lo, 0), context.lo)
        hi = np.where(widened, np.maximum(context.hi, 0), context.hi)
        return lo, hi

"""The NormalFloat scheme: levels for weights that are normally distributed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from qcore import FitContext, GridQuantizer, LevelGrid, QuantParams, check_bits
from qcore_normal_float.levels import normal_grid


@dataclass(frozen=True)
class NormalFloat(GridQuantizer):
    """x̂ = scale · level, scale = max|x|; a code is the index of its level. NF4 at 4 bits.

    Each level stands for about as many of a normal distribution's values as any other.

    Attributes:
        bits: 2 to 8.
    """

    id: ClassVar[str] = "normal-float"
    formula: ClassVar[str] = "x̂ = scale · unit, unit = a normal quantile, scale = max|x|"
    bits: int

    def __post_init__(self) -> None:
        check_bits(self, 2, 8)

    @property
    def grid(self) -> LevelGrid:
        return normal_grid(self.bits)

    def params(self, context: FitContext) -> QuantParams:
        largest = context.largest(signed=True)
        return QuantParams(context.snap(np.where(largest > 0, largest, np.float32(1))))

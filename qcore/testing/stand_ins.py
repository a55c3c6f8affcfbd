"""Plain schemes that the checks of other parts are tried with, so that they need no plugin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from qcore.grids import IntegerGrid, LevelGrid
from qcore.interfaces.grid_quantizer import GridQuantizer
from qcore.interfaces.quantizer import FitContext, Quantizer, check_bits
from qcore.interfaces.rounding import RoundingPolicy
from qcore.params import QuantParams


@dataclass(frozen=True)
class Steps(GridQuantizer):
    """Even steps around zero, with a zero point or an offset if asked for."""

    id: ClassVar[str] = "steps"
    bits: int
    zero_point: bool = False
    offset: bool = False

    def __post_init__(self) -> None:
        check_bits(self, 1, 16)

    @property
    def grid(self) -> IntegerGrid:
        half = 1 << (self.bits - 1)
        return IntegerGrid(-half, half - 1)

    def params(self, context: FitContext) -> QuantParams:
        largest = context.largest(signed=True).astype(np.float64)
        scale = context.snap(np.where(largest > 0, largest / max(1, self.grid.qmax), 1))
        return QuantParams(
            scale,
            np.full(scale.shape, 3, np.int32) if self.zero_point else None,
            context.lo / np.float32(4) if self.offset else None,
        )


@dataclass(frozen=True)
class Levels(GridQuantizer):
    """Uneven levels, zero among them or not."""

    id: ClassVar[str] = "levels"
    bits: ClassVar[int] = 4
    zero: bool = True

    @property
    def grid(self) -> LevelGrid:
        positive = (0.25, 0.75, 1, 2, 3.5, 8, 9) if self.zero else (0.1, 0.25, 0.75, 1, 2, 3.5, 9)
        middle = (0.0,) if self.zero else ()
        return LevelGrid((*(-level for level in reversed(positive)), *middle, *positive))

    def params(self, context: FitContext) -> QuantParams:
        largest = context.largest(signed=True) / np.float32(9)
        return QuantParams(context.snap(np.where(largest > 0, largest, np.float32(1))))


@dataclass(frozen=True)
class Signs(Quantizer):
    """No grid: −1, 0 or 1 times the block's mean magnitude."""

    id: ClassVar[str] = "signs"
    bits: ClassVar[int] = 2

    def fit(self, blocks: NDArray[np.float32], context: FitContext) -> QuantParams:
        mean = np.abs(blocks).mean(axis=1, keepdims=True)
        return QuantParams(context.snap(np.where(mean > 0, mean, 1)))

    def encode(
        self, blocks: NDArray[np.float32], params: QuantParams, rounding: RoundingPolicy
    ) -> NDArray[Any]:
        codes: NDArray[Any] = np.clip(rounding.round(blocks / params.scale), -1, 1)
        return codes.astype(np.int8)

    def decode(self, codes: NDArray[Any], params: QuantParams) -> NDArray[np.float32]:
        return codes * params.scale

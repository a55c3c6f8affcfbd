"""Schemes that are a grid: encode, decode and every fast kernel follow from it."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from qcore.grids import Grid, IntegerGrid
from qcore.interfaces.quantizer import FitContext, Quantizer
from qcore.interfaces.rounding import Mask, RoundingPolicy
from qcore.params import QuantParams

_FLOAT32 = np.finfo(np.float32)
_WIDE_OFFSET = 2.0**125  # beyond it x − offset may overflow float32


class GridQuantizer(Quantizer):
    """x̂ = (code − zero_point) · scale + offset, the code's value taken from `grid`.

    Encoding divides in float32, rounds on the grid, then adds the zero point and clips.
    """

    needs_whole_blocks: ClassVar[bool] = False

    @property
    @abstractmethod
    def grid(self) -> Grid:
        """The values that a code can stand for, in units of the scale."""

    @abstractmethod
    def params(self, context: FitContext) -> QuantParams:
        """The params that cover the range [context.lo, context.hi]."""

    @property
    def code_bits(self) -> int:
        return self.grid.code_bits

    @property
    def code_range(self) -> tuple[int, int]:
        return self.grid.code_range

    @property
    def formula(self) -> str:
        """`decode` as an equation, without the terms that `params` leaves out."""
        end = np.ones((1, 1), np.float32)
        snap = partial(np.asarray, dtype=np.float32)
        params = self.params(FitContext(-end, end, snap, (-1.0, 1.0)))
        unit = "code" if isinstance(self.grid, IntegerGrid) else "unit"
        term = unit if params.zero_point is None else f"({unit} − zero point)"
        return f"x̂ = scale · {term}" + ("" if params.offset is None else " + offset")

    def fit(self, blocks: NDArray[np.float32], context: FitContext) -> QuantParams:
        """The params of the observed range; the elements themselves do not matter."""
        return self.params(context)

    def encode(
        self, blocks: NDArray[np.float32], params: QuantParams, rounding: RoundingPolicy
    ) -> NDArray[Any]:
        return self.grid.encode(normalize(blocks, params), params.zero_point, rounding)

    def decode(self, codes: NDArray[Any], params: QuantParams) -> NDArray[np.float32]:
        """Rounded to float32 after the product and after the sum; saturated, never infinite."""
        units = self.grid.decode(codes, params.zero_point)
        scaled = units * params.scale.astype(np.float64)
        if params.offset is None:
            return saturate(scaled)
        room = _headroom(params.offset)
        shifted = (scaled * room).astype(np.float32) + params.offset * room
        return saturate(shifted.astype(np.float64) / room)

    def clipped(self, blocks: NDArray[np.float32], params: QuantParams) -> Mask:
        return self.grid.clipped(normalize(blocks, params), params.zero_point)


def normalize(blocks: NDArray[np.float32], params: QuantParams) -> NDArray[np.float32]:
    """(x − offset) / scale in float32."""
    if params.offset is None:
        return np.divide(blocks, params.scale, dtype=np.float32)
    room = _headroom(params.offset)
    shifted = blocks * room - params.offset * room
    return np.divide(shifted, params.scale * room, dtype=np.float32)


def saturate(values: NDArray[Any]) -> NDArray[np.float32]:
    """`values` in float32, those beyond its range at its ends."""
    clipped: NDArray[Any] = np.clip(values, _FLOAT32.min, _FLOAT32.max)
    return clipped.astype(np.float32)


def _headroom(offset: NDArray[np.float32]) -> NDArray[np.float32]:
    """1, or ¼ for blocks so wide that x − offset may overflow: the same digits, scaled down."""
    quarter, one = np.float32(0.25), np.float32(1)
    return np.where(np.abs(offset) > _WIDE_OFFSET, quarter, one)

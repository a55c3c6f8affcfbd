"""The power-of-two scheme: every level is a shift."""

from __future__ import annotations

import functools
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

import numpy as np

from qcore import FitContext, GridQuantizer, LevelGrid, QuantParams, check_bits


@dataclass(frozen=True)
class PowerOfTwo(GridQuantizer):
    """Levels α · ({0} ∪ {2^−i : i = 0 … 2^b − 2}), b magnitude bits; signed, bits = b + 1.

    Levels are held in float64. Unsigned 8 bits reaches 2^−254, so that decoding to float32 may
    underflow to zero there. More bits add smaller levels only: from 5 bits on they buy little.

    Attributes:
        bits: 2 to 8.
        signed: sign × magnitude levels, α = max|x|; otherwise α = max(hi, 0), and negative
            values become 0.
        domain: `log` rounds the exponent, so the threshold between 2^k and 2^(k+1) is 2^(k+½)
            and underflow to zero begins half an exponent below the smallest level;
            `linear` takes the nearest level. A stochastic policy goes by the linear fraction in
            both.
    """

    id: ClassVar[str] = "pot"
    bits: int
    _: KW_ONLY
    signed: bool = True
    domain: Literal["log", "linear"] = "log"

    def __post_init__(self) -> None:
        check_bits(self, 2, 8)

    @property
    def grid(self) -> LevelGrid:
        return _grid(self.bits, self.signed, self.domain)

    @property
    def formula(self) -> str:
        sign, largest = ("±", "max|x|") if self.signed else ("", "max(hi, 0)")
        last = (1 << (self.bits - self.signed)) - 2
        return f"x̂ = scale · unit, unit = 0 or {sign}2^−i, i = 0 … {last}, scale = {largest}"

    def params(self, context: FitContext) -> QuantParams:
        largest = context.largest(signed=self.signed)
        return QuantParams(context.snap(np.where(largest > 0, largest, np.float32(1))))


@functools.cache
def _grid(bits: int, signed: bool, domain: str) -> LevelGrid:
    smallest = 2 - (1 << (bits - signed))
    levels = [2.0**exponent for exponent in range(smallest, 1)]
    positive = [0.0, *levels]
    cuts = [level * 0.5**0.5 for level in levels]
    if domain == "linear":
        cuts = [(low + high) / 2 for low, high in zip(positive, levels, strict=False)]
    if not signed:
        return LevelGrid(positive, cuts)
    mirrored = [-level for level in reversed(levels)]
    return LevelGrid(mirrored + positive, [-cut for cut in reversed(cuts)] + cuts)

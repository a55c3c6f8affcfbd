"""The uniform scheme: evenly spaced codes over the whole range, with a real offset."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

from qcore import FitContext, GridQuantizer, IntegerGrid, QuantParams, check_bits, even_step


@dataclass(frozen=True)
class Uniform(GridQuantizer):
    """x̂ = lo + scale · code, scale = (hi − lo) / (2^bits − 1), code in 0 … 2^bits − 1.

    A constant block is kept exactly: its scale is 1 and its codes are 0.

    Attributes:
        bits: 2 to 16.
        offset: `lo`, as above; or `none`, the plain process without an offset, x̂ = scale · code,
            which clips whatever the codes do not reach and is here for what that costs.
        signed: with `offset=none`, codes from −2^(bits−1) to 2^(bits−1) − 1; otherwise from 0.
    """

    id: ClassVar[str] = "uniform"
    bits: int
    _: KW_ONLY
    offset: Literal["lo", "none"] = "lo"
    signed: bool = True

    def __post_init__(self) -> None:
        check_bits(self, 2, 16)

    @property
    def grid(self) -> IntegerGrid:
        qmin = -(1 << (self.bits - 1)) if self.signed and self.offset == "none" else 0
        return IntegerGrid(qmin, qmin + (1 << self.bits) - 1)

    @property
    def formula(self) -> str:
        offset = "lo + " if self.offset == "lo" else ""
        return f"x̂ = {offset}scale · code, scale = (hi − lo) / {(1 << self.bits) - 1}"

    def params(self, context: FitContext) -> QuantParams:
        scale = context.snap(even_step(context.lo, context.hi, (1 << self.bits) - 1))
        return QuantParams(scale, offset=context.lo if self.offset == "lo" else None)

"""The additive power-of-two scheme: every level is a sum of a few shifts."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import numpy as np

from qcore import FitContext, GridQuantizer, LevelGrid, QuantParams, check_bits
from qcore_apot.levels import check_terms, signed_grid, term_sets, unsigned_grid


@dataclass(frozen=True)
class AdditivePowerOfTwo(GridQuantizer):
    """Sums of n = b/k terms, each 0 or a power of two from its own set; b magnitude bits.

    Signed, b = bits − 1 and codes are sign × magnitude index. See `levels` for the sets. With
    k = 1 this is the symmetric scheme, with k = b the power-of-two levels, nearest.

    Source: Li, Dong and Wang, "Additive Powers-of-Two Quantization", ICLR 2020.

    Attributes:
        bits: 2 to 8.
        k: bits a term; more than the magnitude bits means one term.
        signed: sign × magnitude levels, α = max|x|; otherwise α = max(hi, 0), and negative
            values become 0.
    """

    id: ClassVar[str] = "apot"
    bits: int
    _: KW_ONLY
    k: int = 2
    signed: bool = True

    def __post_init__(self) -> None:
        check_bits(self, 2, 8)
        check_terms(self.bits, self.k, self.signed)

    @property
    def grid(self) -> LevelGrid:
        if self.signed:
            return signed_grid(self.bits - 1, self.k)
        return unsigned_grid(self.bits, self.k)

    @property
    def formula(self) -> str:
        sign, largest = ("±", "max|x|") if self.signed else ("", "max(hi, 0)")
        sets = term_sets(self.bits - self.signed, self.k)
        names = "abcdefgh"[: len(sets)]
        terms = ", ".join(
            f"{name} ∈ {{{_listed(values)}}}" for name, values in zip(names, sets, strict=True)
        )
        total = " + ".join(names) if len(names) == 1 else f"({' + '.join(names)})"
        return f"x̂ = {sign}scale · {total}, {terms}, scale = {largest} / {self.grid.largest:g}"

    def params(self, context: FitContext) -> QuantParams:
        largest = context.largest(signed=self.signed)
        unit = np.float32(self.grid.largest)
        return QuantParams(context.snap(np.where(largest > 0, largest / unit, np.float32(1))))


def _listed(values: list[float]) -> str:
    """Numbers, ascending; of many the first three and the last."""
    shown = [f"{value:g}" for value in sorted(values)]
    return ", ".join(shown if len(shown) <= 4 else [*shown[:3], "…", shown[-1]])

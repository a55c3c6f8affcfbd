"""The map x → x̂ of one block of a grid scheme: a staircase, computed from the grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from qcore.arithmetic import chunk_arithmetic
from qcore.errors import UsageError
from qcore.grids import LevelGrid
from qcore.interfaces.grid_quantizer import GridQuantizer
from qcore.interfaces.quantizer import FitContext
from qcore.interfaces.rounding import Gap, RoundingPolicy
from qcore.params import QuantParams
from qcore.recipe import Recipe

Floats = NDArray[np.float64]

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class Staircase:
    """Every x between two edges becomes one value: x̂ = values[i] for edges[i] < x < edges[i + 1].

    Where x is exactly on an edge the rounding policy decides.

    Attributes:
        edges: (m + 1,) float64, value units, ascending, from −∞ to ∞.
        values: (m,) float64, ascending: what the codes decode to in float32.
        codes: (m,) integers, the code of each value.
        params: the scale, zero point and offset behind them, one block.
    """

    edges: Floats
    values: Floats
    codes: NDArray[Any]
    params: QuantParams

    @classmethod
    def of(cls, recipe: Recipe, lo: float, hi: float) -> Self:
        """The staircase of a recipe on a block whose observed range is [lo, hi].

        Raises:
            UsageError: the scheme is no grid, the rounding policy goes by an element's place, or
                the range, or what a code decodes to, is beyond float32.
        """
        quantizer, _, rounding, _, scale_format = recipe.parts
        if not isinstance(quantizer, GridQuantizer):
            message = f"'{quantizer.id}' is no grid, so its map x → x̂ depends on the data"
            raise UsageError(f"{message}; measure it with qcore compare")
        if rounding.needs_positions:
            message = f"rounding '{rounding}' takes one x to several x̂"
            raise UsageError(f"{message}; choose one that does not, such as half-even")
        message = f"a range from {lo:g} to {hi:g} is beyond float32, which ends at {_LARGEST:g}"
        beyond = UsageError(f"{message}; scale the values down")
        if not (abs(lo) <= _LARGEST and abs(hi) <= _LARGEST):  # nor where one is NaN
            raise beyond
        least, most = (np.array([[end]], np.float32) for end in (lo, hi))
        with chunk_arithmetic():
            params = quantizer.params(FitContext(least, most, scale_format.snap, (lo, hi)))
            stairs = cls._from(quantizer, params, rounding)
        if not np.isfinite(stairs.values).all():
            raise beyond
        return stairs

    @classmethod
    def _from(cls, quantizer: GridQuantizer, params: QuantParams, rounding: RoundingPolicy) -> Self:
        grid = quantizer.grid
        zero = 0 if params.zero_point is None else int(params.zero_point.item())
        codes = np.arange(grid.code_range[0], grid.code_range[1] + 1)
        units = grid.units - zero
        cuts = grid.cuts if isinstance(grid, LevelGrid) else (units[:-1] + units[1:]) / 2
        lower, upper = np.repeat(units[:-1], 2), np.repeat(units[1:], 2)
        cuts = np.repeat(cuts, 2)
        # Within either half of a gap a policy decides one way: its middle is asked for.
        starts = np.where(np.arange(cuts.size) % 2, cuts, lower)
        middles = (cuts + np.where(np.arange(cuts.size) % 2, upper, lower)) / 2
        gap = Gap(middles, lower, upper, cuts, np.repeat(codes[:-1] - zero, 2))
        index = np.repeat(np.arange(units.size - 1), 2) + rounding.goes_up(gap)
        index = np.concatenate([[0], index, [units.size - 1]])
        begins = np.flatnonzero(np.diff(index, prepend=-1))
        scale = float(params.scale.item())
        offset = 0.0 if params.offset is None else float(params.offset.item())
        edges = np.concatenate([[-np.inf], starts, [units[-1]]])[begins] * scale + offset
        taken = codes[index[begins]]
        values = quantizer.decode(taken[None].astype(grid.code_dtype), params)[0]
        return cls(np.append(edges, np.inf), values.astype(np.float64), taken, params)

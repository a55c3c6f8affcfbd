"""The levels of a grid as a table, and where they lie on a Gaussian."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from qcore.grids import Grid
from qcore.interfaces.grid_quantizer import GridQuantizer
from qcore.recipe import Recipe
from qcore.staircase import Staircase

SIGMAS = 3.0
"""Where the ends of the range lie on the Gaussian that levels are held against, in its deviations.

The largest magnitude of 256 normal values, a group's or a small channel's, is 3.04 on average.
"""

_SLACK = 1 + 1e-6
"""A level on the end of an interval is inside, whatever float32 made of it."""


@dataclass(frozen=True, eq=False)
class LevelTable:
    """The levels of a grid, a row a code, where the observed range is [lo, hi].

    Attributes:
        grid: whose they are.
        lo: −1, or 0 where the scheme has nothing below zero.
        hi: 1.
        stairs: the map x → x̂ on this range.
        codes: (n,) integers, ascending.
        values: (n,) float64, what each code decodes to.
        thresholds: (n − 1,) float64, where each code gives way to the next; two are the same where
            the rounding policy leaves the code between them nothing but a point.
    """

    grid: Grid
    lo: float
    hi: float
    stairs: Staircase
    codes: NDArray[Any]
    values: NDArray[np.float64]
    thresholds: NDArray[np.float64]

    @classmethod
    def of(cls, recipe: Recipe, quantizer: GridQuantizer) -> Self:
        """The levels of a grid scheme.

        Raises:
            UsageError: the rounding policy takes one x to several x̂.
        """
        stairs = Staircase.of(recipe, -1.0, 1.0)
        lo = -1.0 if stairs.values[0] < 0 else 0.0
        if lo == 0:
            stairs = Staircase.of(recipe, lo, 1.0)
        grid = quantizer.grid
        low, high = grid.code_range
        codes = np.arange(low, high + 1)
        values = quantizer.decode(codes[None].astype(grid.code_dtype), stairs.params)[0]
        after = np.searchsorted(stairs.codes, codes[:-1], side="right")
        thresholds = stairs.edges[after]
        return cls(grid, lo, 1.0, stairs, codes, values.astype(np.float64), thresholds)

    @property
    def step_ratio(self) -> float:
        """The largest distance of two neighbouring levels over the smallest."""
        steps = np.diff(self.grid.units)
        return float(steps.max() / steps.min())

    @property
    def values_are_levels(self) -> bool:
        """Whether the values are the grid's levels: there is no offset, and nothing underflows."""
        levels = self.grid.levels
        return bool((np.abs(self.values - levels) <= np.abs(levels) * (_SLACK - 1)).all())

    @property
    def smallest(self) -> float:
        """The smallest magnitude above zero among the values."""
        magnitudes = np.abs(self.values)
        return float(magnitudes[magnitudes > 0].min())

    @property
    def largest_gap(self) -> float:
        """The largest distance of two neighbouring values."""
        return float(np.diff(self.values).max())

    @property
    def fits_int8(self) -> bool:
        """Whether the levels multiply as they are on an int8 product."""
        return self.grid.as_int8() is not None

    def share_within(self, sigmas: float) -> float:
        """The share of levels within so many deviations of a Gaussian, the ends at `SIGMAS`."""
        return float(np.mean(np.abs(self.values) <= sigmas / SIGMAS * _SLACK))

    @cached_property
    def entropy(self) -> float:
        """The bits of information in a code of that Gaussian's values: −Σ p log₂ p over the steps.

        Where there is nothing below zero, all that is negative takes code 0, as after a ReLU.
        """
        below = [NormalDist().cdf(edge * SIGMAS) for edge in self.stairs.edges.tolist()]
        shares = np.diff(below)
        shares = shares[shares > 0]
        return float(-(shares * np.log2(shares)).sum())

    def rows(self, bits: int) -> list[dict[str, Any]]:
        """The code table; the stored form of a code is its two's complement in so many bits."""
        columns = zip(
            self.codes.tolist(),
            self.grid.units.tolist(),
            self.grid.levels.tolist(),
            self.values.tolist(),
            [*self.thresholds.tolist(), None],
            strict=True,
        )
        return [
            {
                "code": code,
                "stored": f"{code % (1 << bits):0{bits}b}",
                "unit": unit,
                "level": level,
                "value": value,
                "threshold": threshold,
            }
            for code, unit, level, value, threshold in columns
        ]

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON holds it."""
        return {
            "range": [self.lo, self.hi],
            "codes": self.codes.tolist(),
            "units": self.grid.units.tolist(),
            "levels": self.grid.levels.tolist(),
            "values": self.values.tolist(),
            "thresholds": self.thresholds.tolist(),
            "step_ratio": self.step_ratio,
            "smallest_value": self.smallest,
            "largest_gap": self.largest_gap,
            "fits_int8": self.fits_int8,
            "gaussian": {
                "range_sigmas": SIGMAS,
                "levels_within_sigmas": {str(s): self.share_within(s) for s in (1, 2)},
                "entropy_bits": self.entropy,
            },
        }

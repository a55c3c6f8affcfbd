"""Rounding policies: which of two neighbours on a grid a value goes to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from qcore.spec import Configurable

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Gap:
    """Where values lie between their two neighbours on a grid; all arrays have one shape.

    Attributes:
        x: the values, lower ≤ x ≤ upper.
        lower: the neighbour toward −∞.
        upper: the neighbour toward +∞.
        threshold: what separates the two, the midpoint for most grids.
        lower_code: the code of `lower`; a neighbour is even when its |code| is.
    """

    x: NDArray[Any]
    lower: NDArray[Any]
    upper: NDArray[Any]
    threshold: NDArray[Any]
    lower_code: NDArray[Any]

    @cached_property
    def above(self) -> Mask:
        """Nearer to the upper neighbour."""
        above: Mask = self.x > self.threshold
        return above

    @cached_property
    def tie(self) -> Mask:
        """Exactly at the threshold."""
        tie: Mask = self.x == self.threshold
        return tie

    @cached_property
    def negative(self) -> Mask:
        """Below zero."""
        negative: Mask = self.x < 0
        return negative

    @cached_property
    def lower_even(self) -> Mask:
        """The lower neighbour has an even code."""
        even: Mask = np.fmod(self.lower_code, 2) == 0
        return even

    @cached_property
    def fraction(self) -> NDArray[np.float64]:
        """How far x is on its way from lower to upper, in [0, 1]."""
        lower = self.lower.astype(np.float64)
        with np.errstate(invalid="ignore"):  # beyond 2^53 the neighbours are one
            return (self.x - lower) / (self.upper - lower)


class RoundingPolicy(Configurable, ABC):
    """One rule, for integer grids and level grids alike."""

    needs_positions: ClassVar[bool] = False
    """Whether the rule depends on where in its tensor an element stands."""

    @abstractmethod
    def goes_up(self, gap: Gap) -> Mask:
        """Which values go to their upper neighbour.

        A value that is on the grid already stays there, whatever this says.
        """

    def round(self, x: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """`x`, float32 or float64, rounded to integers in the same dtype."""
        lower = np.floor(x)
        gap = Gap(x, lower, lower + 1, lower + x.dtype.type(0.5), lower)
        up = (x != lower) & self.goes_up(gap)
        rounded: NDArray[Any] = np.add(lower, up, out=out)
        return rounded

    def at(self, index: NDArray[np.uint64]) -> RoundingPolicy:
        """The policy for the elements at these positions.

        Args:
            index: in the elements' shape, their C-order positions in the tensor.
        """
        return self

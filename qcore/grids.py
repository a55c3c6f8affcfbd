"""Grids: the normalised values that a scheme can represent, and the codes that stand for them."""

from __future__ import annotations

import bisect
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.errors import RangeError, UsageError
from qcore.interfaces.rounding import Gap, Mask, RoundingPolicy
from qcore.packing import code_dtype

# A level grid's scale is its range over its largest unit, rounded: the quotient may pass the end
# by a few units in the last place without having been clipped.
_END_SLACK = 1 + 2.0**-20


class Grid(ABC):
    """Values in units of the scale, each with an integer code; a larger value has a larger code."""

    @property
    @abstractmethod
    def code_range(self) -> tuple[int, int]:
        """The lowest code and the highest."""

    @property
    @abstractmethod
    def units(self) -> NDArray[np.float64]:
        """The values, ascending, in units of the scale."""

    @abstractmethod
    def encode(
        self, t: NDArray[np.float32], zero_point: NDArray[np.int32] | None, rounding: RoundingPolicy
    ) -> NDArray[Any]:
        """The codes of `t`, values over their scale."""

    @abstractmethod
    def decode(
        self, codes: NDArray[Any], zero_point: NDArray[np.int32] | None
    ) -> NDArray[np.float64]:
        """The values of `codes`, in units of the scale."""

    @abstractmethod
    def clipped(self, t: NDArray[np.float32], zero_point: NDArray[np.int32] | None) -> Mask:
        """Which of `t` lie outside what the grid covers."""

    @property
    def code_bits(self) -> int:
        """The bits that a code takes."""
        low, high = self.code_range
        return max(high.bit_length() + (low < 0), (-low - 1).bit_length() + 1 if low < 0 else 1)

    @property
    def code_dtype(self) -> np.dtype[Any]:
        """The smallest integer dtype that holds the codes."""
        return code_dtype(self.code_bits, self.code_range[0] < 0)

    @property
    def largest(self) -> float:
        """The largest magnitude among the units."""
        return float(max(-self.units[0], self.units[-1]))

    @property
    def levels(self) -> NDArray[np.float64]:
        """The units, ascending, normalised so that the largest magnitude is 1."""
        return self.units / self.largest

    @property
    def step(self) -> float:
        """The largest number that every unit is a whole multiple of."""
        # Floats are whole numbers over a power of two: their common divisor is exact.
        ratios = [float(unit).as_integer_ratio() for unit in self.units]
        common = max(denominator for _, denominator in ratios)
        whole = [numerator * (common // denominator) for numerator, denominator in ratios]
        return math.gcd(*whole) / common

    def multiples(self) -> NDArray[np.int64] | None:
        """The units over `step`, where 16 bits hold them, with a sign or without; else None."""
        with np.errstate(over="ignore"):
            whole = self.units / self.step
        if whole[0] < -(1 << 15) or whole[-1] >= 1 << (15 if whole[0] < 0 else 16):
            return None
        return whole.astype(np.int64)

    def as_int8(self) -> NDArray[np.int8] | None:
        """The units over `step` as int8, where they fit; otherwise None.

        A scheme that has them multiplies on an ordinary int8 GEMM, whatever its levels.
        """
        whole = self.multiples()
        if whole is None or whole[0] < -128 or whole[-1] > 127:
            return None
        return whole.astype(np.int8)


@dataclass(frozen=True)
class IntegerGrid(Grid):
    """The integers from qmin to qmax; a code is its own value, before the zero point."""

    qmin: int
    qmax: int

    def __post_init__(self) -> None:
        if self.qmin >= self.qmax:
            raise UsageError(f"an integer grid needs qmin < qmax, not {self.qmin} and {self.qmax}")

    @property
    def code_range(self) -> tuple[int, int]:
        return self.qmin, self.qmax

    @property
    def units(self) -> NDArray[np.float64]:
        return np.arange(self.qmin, self.qmax + 1, dtype=np.float64)

    @property
    def largest(self) -> float:
        return float(max(-self.qmin, self.qmax))

    @property
    def step(self) -> float:
        return 1.0

    def encode(
        self, t: NDArray[np.float32], zero_point: NDArray[np.int32] | None, rounding: RoundingPolicy
    ) -> NDArray[Any]:
        """Clip(round(t) + z, qmin, qmax), as float, since casting an infinity is undefined."""
        q = rounding.round(t)
        if zero_point is not None:
            q = q + zero_point.astype(np.float32)
        codes: NDArray[Any] = np.clip(q, self.qmin, self.qmax).astype(self.code_dtype)
        return codes

    def decode(
        self, codes: NDArray[Any], zero_point: NDArray[np.int32] | None
    ) -> NDArray[np.float64]:
        units = codes.astype(np.float64)
        return units if zero_point is None else units - zero_point

    def clipped(self, t: NDArray[np.float32], zero_point: NDArray[np.int32] | None) -> Mask:
        """Further than half a step outside."""
        z = np.float64(0) if zero_point is None else zero_point
        return (t + z < self.qmin - 0.5) | (t + z > self.qmax + 0.5)


@dataclass(frozen=True)
class LevelGrid(Grid):
    """Any ascending values.

    Where zero is among the values and codes counted from it fit two's complement, a code is the
    signed count of levels from zero: sign × magnitude index on a symmetric grid. Otherwise a
    code is the index of its level.

    Attributes:
        values: the units, ascending; `units` has them as an array.
        thresholds: what separates each value from the next; the midpoints where None.
    """

    values: tuple[float, ...]
    thresholds: tuple[float, ...] | None = None

    def __init__(self, units: Iterable[float], thresholds: Iterable[float] | None = None) -> None:
        """Make a grid of these units.

        Raises:
            UsageError: they are not ascending and finite, or the thresholds not between them.
        """
        values = tuple(float(unit) for unit in units)
        object.__setattr__(self, "values", values)
        between = None if thresholds is None else tuple(float(t) for t in thresholds)
        object.__setattr__(self, "thresholds", between)
        if len(values) < 2 or not all(a < b for a, b in itertools.pairwise(values)):
            raise UsageError("a level grid needs at least two units, ascending, each one once")
        if not np.isfinite(values).all():
            raise UsageError("the units of a level grid are finite")
        if between is not None:
            inside = len(between) == len(values) - 1 and all(
                low < t <= high for low, t, high in zip(values, between, values[1:], strict=False)
            )
            if not inside:
                raise UsageError("a level grid has one threshold between each unit and the next")

    def __repr__(self) -> str:
        return f"LevelGrid(units={self.values}, thresholds={self.thresholds})"

    @property
    def units(self) -> NDArray[np.float64]:
        return self._units

    @cached_property
    def _units(self) -> NDArray[np.float64]:
        units = np.array(self.values)
        units.flags.writeable = False
        return units

    @cached_property
    def step(self) -> float:  # kept, since it is sought among all the units
        return super().step

    @cached_property
    def cuts(self) -> NDArray[np.float64]:
        """The thresholds as an array."""
        between = (self._units[:-1] + self._units[1:]) / 2
        cuts = between if self.thresholds is None else np.array(self.thresholds)
        cuts.flags.writeable = False
        return cuts

    @cached_property
    def first_code(self) -> int:
        """The code of the lowest level."""
        count = len(self.values)
        zero = bisect.bisect_left(self.values, 0.0)
        half = 1 << ((count - 1).bit_length() - 1)
        has_zero = zero < count and self.values[zero] == 0
        return -zero if has_zero and zero <= half and count - 1 - zero < half else 0

    @property
    def code_range(self) -> tuple[int, int]:
        return self.first_code, self.first_code + len(self.values) - 1

    def encode(
        self, t: NDArray[np.float32], zero_point: NDArray[np.int32] | None, rounding: RoundingPolicy
    ) -> NDArray[Any]:
        _refuse_zero_point(zero_point)
        below = np.searchsorted(self._units, t, side="right") - 1
        index = np.clip(below, 0, len(self.values) - 2)
        lower, upper = self._units[index], self._units[index + 1]
        gap = Gap(t, lower, upper, self.cuts[index], index + self.first_code)
        up = (t >= upper) | ((t > lower) & rounding.goes_up(gap))
        return (index + up + self.first_code).astype(self.code_dtype)

    def decode(
        self, codes: NDArray[Any], zero_point: NDArray[np.int32] | None
    ) -> NDArray[np.float64]:
        _refuse_zero_point(zero_point)
        index = codes.astype(np.intp) - self.first_code
        if index.size and not (index.min() >= 0 and index.max() < len(self.values)):
            low, high = self.code_range
            raise RangeError(f"codes of this grid are {low} … {high}; got one outside")
        units: NDArray[np.float64] = self._units[index]
        return units

    def clipped(self, t: NDArray[np.float32], zero_point: NDArray[np.int32] | None) -> Mask:
        """Outside the lowest and the highest level by more than float32 rounding."""
        low, high = self.values[0], self.values[-1]
        slack = self.largest * (_END_SLACK - 1)
        return (t < low - slack) | (t > high + slack)


def _refuse_zero_point(zero_point: object) -> None:
    if zero_point is not None:
        raise UsageError("a level grid has no zero point; give params with a scale alone")

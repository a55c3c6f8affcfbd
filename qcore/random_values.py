"""What the theory asks of a distribution: quantiles, a density, and the moments of both tails."""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from qcore.errors import UsageError
from qcore.spec import Configurable

Floats = NDArray[np.float64]

_FLOAT32 = np.finfo(np.float32)
_FAR = 1e150  # nothing lies beyond it, and its square is still a number
_FARTHEST = 2.0**20  # how many scales from 0 float32 still has several values a scale
_MIRROR = np.array([[1.0], [-1.0], [1.0]])  # what y → −y makes of moments


@dataclass(frozen=True)
class Distribution(Configurable, ABC):
    """Values drawn independently: x = location + scale · y, y from the standard form.

    Moments of a tail are (3, n): ∫ x^k dP over it, k = 0, 1, 2. A tail ends before its edge, so
    that a value with a probability of its own, at the edge, belongs to neither.

    Attributes:
        location: value units; the centre of a symmetric distribution.
        scale: value units, > 0.
    """

    one_sided: ClassVar[bool] = False
    """Whether nothing lies below the location."""

    _: KW_ONLY
    location: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.location) and 0 < self.scale < math.inf):
            raise UsageError(f"'{self}' needs a finite location and a finite scale above 0")

    def check_float32(self) -> None:
        """Refuse values that float32 cannot tell apart, or cannot hold.

        Raises:
            UsageError: the scale is beyond float32, or too little for so far a location.
        """
        least, most = (float(end) for end in (_FLOAT32.smallest_subnormal, _FLOAT32.max))
        if not least <= self.scale <= most:
            raise UsageError(f"'{self}': float32 has no such values; choose a scale nearer to 1")
        if abs(self.location) > _FARTHEST * self.scale:
            message = f"'{self}': float32 has too few values so far from 0 in units of the scale"
            raise UsageError(f"{message}; choose a location within 2^20 scales")

    def above(self, x: Floats) -> Floats:
        """The moments (3, n) of what lies above each of x (n,)."""
        return self._shifted(self._above(self._standard(x)))

    def below(self, x: Floats) -> Floats:
        """The moments (3, n) of what lies below each of x (n,)."""
        return self._shifted(self._below(self._standard(x)))

    def quantile(self, share: Floats) -> Floats:
        """Below which `share` (n,) of the values lies, exact to the last digits of a small one."""
        return self.location + self.scale * self._quantile(share)

    def upper_quantile(self, share: Floats) -> Floats:
        """Above which `share` (n,) of the values lies, exact to the last digits of a small one."""
        return self.location + self.scale * self._upper_quantile(share)

    def density(self, x: Floats) -> Floats:
        """The density (n,) at each of x (n,), in 1 / value units."""
        return self._density(self._standard(x)) / self.scale

    @property
    def moments(self) -> Floats:
        """(3,): 1, the mean, and the mean square, which is the signal."""
        return self._shifted(self._whole)[:, 0]

    @property
    def deviation(self) -> float:
        """The standard deviation, value units."""
        _, mean, square = self._whole[:, 0]
        return self.scale * math.sqrt(square - mean**2)

    def _standard(self, x: Floats) -> Floats:
        with np.errstate(over="ignore"):
            return np.clip((x - self.location) / self.scale, -_FAR, _FAR)

    def _shifted(self, moments: Floats) -> Floats:
        mass, first, second = moments
        c, s = self.location, self.scale
        return np.array(
            [mass, c * mass + s * first, c * c * mass + s * (2 * c * first + s * second)]
        )

    @property
    @abstractmethod
    def _whole(self) -> Floats:
        """The moments (3, 1) of the standard form, which is also what the next five are of."""

    @abstractmethod
    def _above(self, y: Floats) -> Floats: ...

    @abstractmethod
    def _below(self, y: Floats) -> Floats: ...

    @abstractmethod
    def _quantile(self, share: Floats) -> Floats: ...

    @abstractmethod
    def _upper_quantile(self, share: Floats) -> Floats: ...

    @abstractmethod
    def _density(self, y: Floats) -> Floats: ...


class Symmetric(Distribution):
    """A density that is even about the location: one tail says it all."""

    @abstractmethod
    def _tail(self, y: Floats) -> Floats:
        """The moments (3, n) above y ≥ 0."""

    @abstractmethod
    def _tail_end(self, share: Floats) -> Floats:
        """The y ≥ 0 above which `share` ≤ ½ lies."""

    @functools.cached_property
    def _whole(self) -> Floats:
        whole: Floats = self._tail(np.zeros(1)) * np.array([[2.0], [0.0], [2.0]])
        return whole

    def _above(self, y: Floats) -> Floats:
        tail = self._tail(np.abs(y))
        return np.where(y < 0, self._whole - tail * _MIRROR, tail)

    def _below(self, y: Floats) -> Floats:
        mirrored: Floats = self._above(-y) * _MIRROR
        return mirrored

    def _quantile(self, share: Floats) -> Floats:
        return -self._upper_quantile(share)

    def _upper_quantile(self, share: Floats) -> Floats:
        end = self._tail_end(np.minimum(share, 1 - share))
        return np.where(share > 0.5, -end, end)

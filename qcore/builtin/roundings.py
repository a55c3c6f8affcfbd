"""The ten rounding policies."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from qcore.interfaces.rounding import Gap, Mask, RoundingPolicy


class Nearest(RoundingPolicy):
    """To the nearer neighbour; the policies differ in where a tie goes."""

    @abstractmethod
    def ties_go_up(self, gap: Gap) -> Mask:
        """Where a tie goes up."""

    def goes_up(self, gap: Gap) -> Mask:
        return gap.above | (gap.tie & self.ties_go_up(gap))

    def round(self, x: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """As for every policy; ties are rare, so they are looked for, and then dealt with."""
        nearest: NDArray[Any] = np.rint(x)
        distance = np.asarray(x - nearest)  # exact
        if (np.abs(distance, out=distance) == 0.5).any():
            return super().round(x, out)
        if out is None:
            return nearest
        np.copyto(out, nearest)
        return out


@dataclass(frozen=True)
class HalfEven(Nearest):
    """Ties to the even neighbour: IEEE 754's default, ONNX, torch."""

    id: ClassVar[str] = "half-even"

    def ties_go_up(self, gap: Gap) -> Mask:
        return ~gap.lower_even

    def round(self, x: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
        rounded: NDArray[Any] = np.rint(x, out=out)
        return rounded


@dataclass(frozen=True)
class HalfUp(Nearest):
    """Ties toward +∞: PPQ ROUND_HALF_UP, Vitis method 2."""

    id: ClassVar[str] = "half-up"

    def ties_go_up(self, gap: Gap) -> Mask:
        return gap.tie


@dataclass(frozen=True)
class HalfDown(Nearest):
    """Ties toward −∞: PPQ ROUND_HALF_DOWN."""

    id: ClassVar[str] = "half-down"

    def ties_go_up(self, gap: Gap) -> Mask:
        return ~gap.tie


@dataclass(frozen=True)
class HalfTowardZero(Nearest):
    """Ties toward 0: PPQ ROUND_HALF_TOWARDS_ZERO, Vitis method 6."""

    id: ClassVar[str] = "half-toward-zero"

    def ties_go_up(self, gap: Gap) -> Mask:
        return gap.negative


@dataclass(frozen=True)
class HalfAway(Nearest):
    """Ties away from 0: C's round(), Vitis method 3, ggml."""

    id: ClassVar[str] = "half-away"

    def ties_go_up(self, gap: Gap) -> Mask:
        return ~gap.negative


@dataclass(frozen=True)
class Dpu(Nearest):
    """Positive ties to even, negative ties up: Vitis method 5, Brevitas dpu_round."""

    id: ClassVar[str] = "dpu"

    def ties_go_up(self, gap: Gap) -> Mask:
        return gap.negative | ~gap.lower_even


@dataclass(frozen=True)
class Floor(RoundingPolicy):
    """Toward −∞: Vitis method 4."""

    id: ClassVar[str] = "floor"

    def goes_up(self, gap: Gap) -> Mask:
        return np.zeros(gap.x.shape, np.bool_)

    def round(self, x: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
        rounded: NDArray[Any] = np.floor(x, out=out)
        return rounded


@dataclass(frozen=True)
class Ceil(RoundingPolicy):
    """Toward +∞: PPQ ROUND_UP, Vitis method 7."""

    id: ClassVar[str] = "ceil"

    def goes_up(self, gap: Gap) -> Mask:
        return np.ones(gap.x.shape, np.bool_)

    def round(self, x: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
        rounded: NDArray[Any] = np.ceil(x, out=out)
        return rounded


@dataclass(frozen=True)
class TowardZero(RoundingPolicy):
    """Truncates: microxcaling's floor."""

    id: ClassVar[str] = "toward-zero"

    def goes_up(self, gap: Gap) -> Mask:
        return gap.negative

    def round(self, x: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
        rounded: NDArray[Any] = np.trunc(x, out=out)
        return rounded


@dataclass(frozen=True)
class Stochastic(RoundingPolicy):
    """Up with probability the fraction of the way to the upper neighbour, so unbiased.

    u in [0, 1) is the top 53 bits of a hash of seed and position; a value goes up where
    u < fraction. So codes depend on seed and position alone. The hash is the finalizer of
    SplitMix64 (Steele, Lea and Flood 2014), applied to the seed, then to seed hash + position.

    Attributes:
        seed: any integer, taken modulo 2⁶⁴.
    """

    id: ClassVar[str] = "stochastic"
    needs_positions: ClassVar[bool] = True
    seed: int = 0

    def at(self, index: NDArray[np.uint64]) -> RoundingPolicy:
        return _StochasticAt(uniform(self.seed, index))

    def goes_up(self, gap: Gap) -> Mask:
        """As for the elements of a whole tensor, in C order."""
        index = np.arange(gap.x.size, dtype=np.uint64).reshape(gap.x.shape)
        return self.at(index).goes_up(gap)


@dataclass(frozen=True, eq=False)
class _StochasticAt(RoundingPolicy):
    """The stochastic policy for elements whose u is known."""

    id: ClassVar[str] = "stochastic"
    needs_positions: ClassVar[bool] = True
    u: NDArray[np.float64]

    def goes_up(self, gap: Gap) -> Mask:
        up: Mask = self.u < gap.fraction
        return up


def uniform(seed: int, index: NDArray[np.uint64]) -> NDArray[np.float64]:
    """A number in [0, 1), a multiple of 2⁻⁵³, for each position."""
    start = _mix(np.array([seed % 2**64], np.uint64))
    numbers = (_mix(index + start) >> np.uint64(11)) * np.float64(2.0**-53)
    return numbers.reshape(index.shape)  # a single position is one number, too


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's output for state z."""
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))

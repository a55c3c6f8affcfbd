"""The distributions that values may have, each a few formulas, and their specs."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from qcore.errors import UnknownIdError, UsageError
from qcore.random_values import Distribution, Floats, Symmetric
from qcore.spec import construct, parse_fields, split


@dataclass(frozen=True)
class Normal(Symmetric):
    """The normal distribution; scale is its standard deviation σ.

    ∫_y^∞ tᵏφ dt is Q(y), φ(y) and yφ(y) + Q(y).
    """

    id: ClassVar[str] = "normal"

    def _tail(self, y: Floats) -> Floats:
        mass, density = _special().ndtr(-y), self._density(y)
        return np.array([mass, density, y * density + mass])

    def _tail_end(self, share: Floats) -> Floats:
        return np.asarray(-_special().ndtri(share))

    def _density(self, y: Floats) -> Floats:
        return np.exp(-y * y / 2) / math.sqrt(2 * math.pi)


@dataclass(frozen=True)
class HalfNormal(Normal):
    """The normal distribution with what lies below the location cut to it, as a ReLU does.

    Half of the values are the location itself. Scale is σ before the cut.
    """

    id: ClassVar[str] = "half-normal"
    one_sided: ClassVar[bool] = True

    @functools.cached_property
    def _whole(self) -> Floats:
        whole: Floats = self._tail(np.zeros(1)) + np.array([[0.5], [0.0], [0.0]])
        return whole

    def _above(self, y: Floats) -> Floats:
        return np.where(y < 0, self._whole, self._tail(np.maximum(y, 0)))

    def _below(self, y: Floats) -> Floats:
        return np.where(y > 0, self._whole - self._above(y), 0.0)

    def _quantile(self, share: Floats) -> Floats:
        return self._upper_quantile(1 - share)

    def _upper_quantile(self, share: Floats) -> Floats:
        return self._tail_end(np.minimum(share, 0.5))

    def _density(self, y: Floats) -> Floats:
        return np.where(y < 0, 0.0, super()._density(y))


@dataclass(frozen=True)
class Uniform(Symmetric):
    """Evenly spread from location − scale to location + scale."""

    id: ClassVar[str] = "uniform"

    def _tail(self, y: Floats) -> Floats:
        y = np.minimum(y, 1)
        return np.array([(1 - y) / 2, (1 - y**2) / 4, (1 - y**3) / 6])

    def _tail_end(self, share: Floats) -> Floats:
        return 1 - 2 * share

    def _density(self, y: Floats) -> Floats:
        return np.where(np.abs(y) <= 1, 0.5, 0.0)


@dataclass(frozen=True)
class Laplace(Symmetric):
    """The double exponential e^−|y| / 2; its standard deviation is √2 · scale."""

    id: ClassVar[str] = "laplace"

    def _tail(self, y: Floats) -> Floats:
        tail: Floats = self._density(y) * [np.ones_like(y), y + 1, (y + 1) ** 2 + 1]
        return tail

    def _tail_end(self, share: Floats) -> Floats:
        with np.errstate(divide="ignore"):
            return -np.log(2 * share)

    def _density(self, y: Floats) -> Floats:
        return np.exp(-np.abs(y)) / 2


@dataclass(frozen=True)
class StudentT(Symmetric):
    """Student's t, with tails that fall as |y|^−(df + 1).

    ∫_y^∞ t f dt = (df + y²) f(y) / (df − 1); the second moment follows by parts.

    Attributes:
        df: degrees of freedom, above 2: below that the mean square is infinite.
    """

    id: ClassVar[str] = "student-t"
    df: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 < self.df < math.inf:
            raise UsageError(f"'{self}' needs df above 2, for its mean square is else infinite")

    def _tail(self, y: Floats) -> Floats:
        df = self.df
        mass = _special().stdtr(df, -y)
        first = (df + y * y) * self._density(y) / (df - 1)
        second = (df - 1) / (df - 2) * y * first + df / (df - 2) * mass
        return np.array([mass, first, second])

    def _tail_end(self, share: Floats) -> Floats:
        return np.asarray(-_special().stdtrit(self.df, share))

    def _density(self, y: Floats) -> Floats:
        height = _special().poch(self.df / 2, 0.5)  # Γ((df + 1) / 2) / Γ(df / 2), of any df
        power = np.exp(-(self.df + 1) / 2 * np.log1p(y * y / self.df))
        density: Floats = height / math.sqrt(self.df * math.pi) * power
        return density


DISTRIBUTIONS: dict[str, type[Distribution]] = {
    cls.id: cls for cls in (Normal, HalfNormal, Uniform, Laplace, StudentT)
}


def distribution(spec: str | Distribution) -> Distribution:
    """The distribution of a spec, such as `normal`, `student-t:5` or `laplace:scale=2`.

    Raises:
        UnknownIdError: there is none of that id.
        SpecError: the spec does not fit it.
        UsageError: numbers that it cannot have; or SciPy is not installed.
    """
    _special()
    if isinstance(spec, Distribution):
        return spec
    id = split(spec)[0]
    if id not in DISTRIBUTIONS:
        raise UnknownIdError("distribution", id, DISTRIBUTIONS)
    return construct(DISTRIBUTIONS[id], parse_fields(DISTRIBUTIONS[id], spec))


def _special() -> Any:
    """SciPy's special functions.

    Raises:
        UsageError: SciPy is not installed.
    """
    try:
        from scipy import special
    except ImportError:
        message = "expected errors need SciPy; pip install 'qcore-quant[theory]'"
        raise UsageError(message) from None
    return special

"""The error that theory expects of a recipe on random values: integrals over its staircase."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from qcore.distributions import distribution as of_spec
from qcore.errors import UsageError
from qcore.extremes import Extremes, extremes
from qcore.random_values import Distribution
from qcore.recipe import DEFAULTS, Recipe
from qcore.staircase import Staircase
from qcore.staircase_noise import Noise, noise_at, noise_between

DEFAULT_SIZE = 4096
"""A row of a weight matrix, as large models have them."""

OPTIMAL = "optimal"

_LEAST_ALPHA, _RARE, _SCANNED = 0.02, 1e-15, 120
"""Scanned for the optimal alpha: from where, up to what share of values beyond, and how often."""


@dataclass(frozen=True)
class Expectation:
    """What is expected of a recipe on values of a distribution.

    Attributes:
        recipe: what quantizes them.
        distribution: what they are drawn from, each on its own.
        size: how many values a block holds, or None where the range does not depend on them.
        alpha: how far the range reaches from the location, in units of the scale; with `size`
            the expected largest distance of a value.
        signal: E[x²], value units².
        granular: the part of E[(x̂ − x)²] that comes from values between the outermost x̂.
        clipping: the part that comes from values beyond them.
    """

    recipe: Recipe
    distribution: Distribution
    size: int | None
    alpha: float
    signal: float
    granular: float
    clipping: float

    @property
    def noise(self) -> float:
        """E[(x̂ − x)²], value units²."""
        return self.granular + self.clipping

    @property
    def nsr(self) -> float:
        """Expected noise over expected signal, as of energies that are pooled over many blocks."""
        return self.noise / self.signal

    @property
    def sqnr_db(self) -> float:
        """−10·log₁₀ of `nsr`, in dB; infinite without noise."""
        return -10 * math.log10(self.nsr) if self.noise > 0 else math.inf

    @property
    def sigmas(self) -> float:
        """Alpha in standard deviations of the distribution."""
        return self.alpha * self.distribution.scale / self.distribution.deviation


def expected_sqnr(
    recipe: Recipe | str,
    distribution: Distribution | str = "normal",
    *,
    size: int | None = None,
    alpha: float | str | None = None,
) -> float:
    """The SQNR, in dB, that theory expects of a recipe on values of a distribution.

    Args:
        recipe: any whose scheme is a grid; its granularity does not matter, its observer is minmax.
        distribution: `normal`, `half-normal`, `uniform`, `laplace` or `student-t:DF`; all with
            location 0 and scale 1 unless told otherwise, as in `normal:location=1:scale=2`.
        size: how many values, at least 2, share a scale, whose range is then that of minmax over
            so many draws; 4096 where neither this nor `alpha` is given.
        alpha: instead, a fixed range: so many times the scale to either side of the location, or
            above it if nothing lies below; `optimal` for that with the least noise.

    Raises:
        UsageError: arguments that cannot be; a scheme that is no grid; SciPy is not installed.
    """
    return expect(recipe, distribution, size=size, alpha=alpha).sqnr_db


def expect(
    recipe: Recipe | str,
    distribution: Distribution | str = "normal",
    *,
    size: int | None = None,
    alpha: float | str | None = None,
) -> Expectation:
    """As `expected_sqnr`, with all that it follows from.

    Over a block whose range is [lo, hi] the noise is the sum over the staircase's steps of
    ∫ (x − x̂)² dP. With `size` it is the mean over the ranges that minmax finds, the two values
    at the ends being what they are and the others drawn from between them.
    """
    recipe = Recipe.parse(recipe) if isinstance(recipe, str) else recipe
    law = of_spec(distribution)
    law.check_float32()
    if recipe.observer != DEFAULTS["observer"]:
        message = f"observer={recipe.observer} has no expected range; give alpha, such as optimal"
        raise UsageError(message)
    if size is not None and alpha is not None:
        raise UsageError("give size or alpha, not both: either one says what the range is")
    if alpha is None:
        size = DEFAULT_SIZE if size is None else _checked_size(size)
        reach, noise = _over_blocks(recipe, law, size)
    else:
        optimal = isinstance(alpha, str) and alpha == OPTIMAL
        reach = _optimal_alpha(recipe, law) if optimal else _checked_alpha(alpha)
        noise = _over_range(recipe, law, reach)
    return Expectation(recipe, law, size, reach, float(law.moments[2]), *noise)


def _checked_size(size: int) -> int:
    try:
        whole = int(size)
    except (TypeError, ValueError, OverflowError):
        whole = 0
    if size != whole or not 2 <= whole < 2**63:
        raise UsageError(f"size={size}: a block of random values holds at least 2, and under 2^63")
    return whole


def _checked_alpha(alpha: float | str) -> float:
    try:
        value = math.nan if isinstance(alpha, bool | np.bool_) else float(alpha)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not 0 < value < math.inf:
        raise UsageError(f"alpha={alpha} is neither a number above 0 nor '{OPTIMAL}'")
    return value


def _over_range(recipe: Recipe, law: Distribution, alpha: float) -> Noise:
    """The noise with a range given by alpha."""
    reach = alpha * law.scale
    lo = law.location - (0 if law.one_sided else reach)
    return noise_between(Staircase.of(recipe, lo, law.location + reach), law, -math.inf, math.inf)


def _optimal_alpha(recipe: Recipe, law: Distribution) -> float:
    """The alpha with the least noise: a scan for the valley among several, then its floor."""
    from scipy.optimize import minimize_scalar

    def noise(alpha: float) -> float:
        return sum(_over_range(recipe, law, alpha))

    end = (law.upper_quantile(np.array([_RARE]))[0] - law.location) / law.scale
    scan = np.geomspace(_LEAST_ALPHA, end, _SCANNED)
    place = int(np.argmin([noise(alpha) for alpha in scan]))
    low, best, high = scan[np.clip([place - 1, place, place + 1], 0, _SCANNED - 1)]
    valley = {"bounds": (low, high), "method": "bounded", "options": {"xatol": 1e-6 * best}}
    found = minimize_scalar(noise, **valley)
    return float(found.x if found.fun < noise(best) else best)


def _over_blocks(recipe: Recipe, law: Distribution, size: int) -> tuple[float, Noise]:
    """The expected reach of minmax's range, and the noise with it."""
    return mean_over(extremes(law, size), recipe, law, size)


def mean_over(
    ranges: Extremes, recipe: Recipe, law: Distribution, size: int
) -> tuple[float, Noise]:
    """The same over some ranges that stand for all those of blocks of so many values."""
    means = np.zeros(3)
    rows = zip(ranges.lo, ranges.hi, ranges.at_lo, ranges.weight, strict=True)
    for lo, hi, at_lo, weight in rows:
        stairs = Staircase.of(recipe, lo, hi)
        between = np.array(noise_between(stairs, law, lo, hi))
        least, most = np.array(noise_at(recipe, stairs, np.array([lo, hi])))
        noise = (at_lo * least + (size - 1 - at_lo) * between + most) / size
        means += weight * np.append(noise, max(law.location - lo, hi - law.location) / law.scale)
    granular, clipping, reach = means.tolist()
    return reach, Noise(granular, clipping)

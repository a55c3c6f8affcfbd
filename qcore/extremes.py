"""The least and the greatest of n random values: the range that minmax finds in a block."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qcore.distributions import StudentT
from qcore.errors import UsageError
from qcore.random_values import Distribution

Floats = NDArray[np.float64]

_SPAN, _NODES = (-5.0, 8.0), 160
"""Where the largest magnitude is looked at, in standard normal scores of its probability.

In blocks below 16 values single ones matter: there are more nodes, inversely to the size.
"""

_LEAST_DF = 2.3
"""Of Student's t: below it, more than 1 % of the mean square of the largest value lies beyond
those scores, whatever the size."""

_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, eq=False)
class Extremes:
    """Ranges that stand for all: a mean over blocks is the sum of weight × the value at a range.

    Attributes:
        lo: (m,) float64, value units.
        hi: (m,) float64, at or above lo.
        at_lo: (m,) float64, the expected number of values that equal lo: 1, or more where lo has
            a probability of its own. Exactly one equals hi.
        weight: (m,) float64, > 0, 1 in all.
    """

    lo: Floats
    hi: Floats
    at_lo: Floats
    weight: Floats


def extremes(distribution: Distribution, size: int) -> Extremes:
    """The joint distribution of the least and the greatest of `size` ≥ 2 independent values.

    The largest magnitude M comes first: P(max|x| ≤ M) = P(|x| ≤ M)^n = Φ(z), and the trapezoid rule
    in z is exact to many digits for all that is smooth in M. It is at either end. The other end
    is the outermost of n − 1 values within ±M: one for every z and either end, its probability
    stepping by the golden ratio, so that (z, probability) is a lattice. So errors that jump or
    oscillate with the range, as of a power-of-two scale or of few codes, are met at many places.

    Raises:
        UsageError: the distribution has tails too heavy for that.
    """
    from scipy.special import log_ndtr

    if isinstance(distribution, StudentT) and distribution.df < _LEAST_DF:
        message = f"'{distribution}': the mean range of minmax needs df of {_LEAST_DF} or above"
        raise UsageError(f"{message}; give a range instead, such as --alpha optimal")
    count = max(_NODES, _NODES * 16 // size)
    scores = np.linspace(*_SPAN, count)
    beyond = -np.expm1(log_ndtr(scores) / size)  # P(|x| > M)
    largest = _magnitude_quantile(distribution, beyond) * (1 - 2.0**-40)  # not beyond all values
    turns = (np.arange(count) * _GOLDEN + np.array([[0.25], [0.75]])) % 1
    share = -np.expm1(np.log(turns) / (size - 1)) * (1 - beyond)
    lowest = distribution.quantile(distribution.below(-largest)[0] + share[0])
    highest = distribution.upper_quantile(distribution.above(largest)[0] + share[1])
    positive, negative = distribution.density(largest), distribution.density(-largest)
    weight = np.exp(-(scores**2) / 2) * np.array([positive, negative]) / (positive + negative)
    lo = np.concatenate([np.minimum(lowest, largest), -largest])
    hi = np.concatenate([largest, np.maximum(highest, -largest)])
    likely = weight.ravel() > 0
    lo, hi, weight = lo[likely], hi[likely], weight.ravel()[likely]
    return Extremes(lo, hi, _count_at(distribution, lo, hi, size - 1), weight / weight.sum())


def _count_at(law: Distribution, lo: Floats, hi: Floats, others: int) -> Floats:
    """How many of `others` values from lo to hi equal lo, if at least one does.

    Each does with probability p: others · p / (1 − (1 − p)^others), which is 1 for p → 0.
    """
    above, below = law.above(lo)[0], law.below(lo)[0]
    share = (1 - above - below) / (1 - law.above(hi)[0] - below)
    share = np.where(share > 1e-9, share, 0)  # what rounding leaves is no probability
    some = -np.expm1(others * np.log1p(-np.minimum(share, 1 - 1e-12)))
    counts: Floats = np.ones_like(share)
    np.divide(others * share, some, out=counts, where=share > 0)
    return counts


def _magnitude_quantile(distribution: Distribution, share: Floats) -> Floats:
    """The M (n,) beyond which, on either side, `share` (n,) of the values lies; by bisection."""
    reach = np.maximum(distribution.upper_quantile(share / 2), -distribution.quantile(share / 2))
    low, high = np.zeros_like(reach), np.maximum(reach, 0)
    for _ in range(60):
        middle = (low + high) / 2
        beyond = distribution.above(middle)[0] + distribution.below(-middle)[0]
        low, high = np.where(beyond > share, middle, low), np.where(beyond > share, high, middle)
    return high

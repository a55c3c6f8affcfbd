"""The distribution that a tensor's values look like, told from a few of their statistics."""

from __future__ import annotations

import math

from qcore.distributions import HalfNormal, Normal, StudentT, Uniform
from qcore.random_values import Distribution
from qcore.statistics import TensorStatistics

_RECTIFIED = 0.25
"""The least share of zeros among values none of which is negative: what a ReLU leaves has half."""

_FLAT, _HEAVY = -0.6, 0.1
"""Excess kurtosis up to which values are taken for uniform, halfway from there (−1.2) to normal
(0); and from which for Student's t: below it that has more than 64 degrees of freedom."""


def fitted(statistics: TensorStatistics) -> Distribution | None:
    """A distribution with the mean square of these values, and their mean unless rectified.

    Student's t has the excess kurtosis 6 / (df − 4), so that df = 4 + 6 / kurtosis: the method of
    moments. None where the values are all alike, or there are none.
    """
    mean, deviation, count = statistics.mean, statistics.deviation, statistics.count
    if not deviation > 0:
        return None
    if statistics.min >= 0 and statistics.zeros >= _RECTIFIED * count:
        return HalfNormal(scale=math.sqrt(2 * (mean**2 + deviation**2)))
    if statistics.kurtosis <= _FLAT:
        return Uniform(location=mean, scale=math.sqrt(3) * deviation)
    if statistics.kurtosis < _HEAVY:
        return Normal(location=mean, scale=deviation)
    df = 4 + 6 / statistics.kurtosis
    return StudentT(df, location=mean, scale=deviation * math.sqrt((df - 2) / df))

"""Hints: what is unusual about a tensor, and the recipes that are worth trying on it.

Each is a rule with a threshold, for a tensor that would otherwise be quantized by the default,
`symmetric`. Where a hint is given, what it names has a higher SQNR: at 8 bits and at 4, or at 4
where it says so. Rounding to steps of s makes noise of s²/12, from which most thresholds follow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from qcore.float_bins import edges_of
from qcore.statistics import TensorStatistics

FEWEST = 1000
"""Of fewer elements the 99.9th percentile is the maximum, and kurtosis is off by more than 0.15."""

ONE_DECIBEL = 10 ** (-1 / 20)
"""A step smaller by this factor makes 1 dB less noise: less is not worth a word."""

OUTLIERS = 3.0
"""max |x| over the 99.9th percentile. Normal data stay below 2, and exponential tails reach 3 with
10⁹ elements: what is beyond is few and far."""

HEAVY_TAILS = 1.0
"""Excess kurtosis: the normal distribution has 0, the logistic 1.2, Laplace's 3."""

NEAR_ZERO = 1.5
"""|mean| over the deviation. Levels that are dense around 0 are of no use further off."""

CHANNELS = 2.0
"""The largest channel maximum over their median. At 2 half of the channels have a step that is half
as large or less: at least 10·lg(2 / (1 + 1/4)) = 2 dB."""

ZEROS = 0.2
"""The share of zeros. Where none of them has an error there is 1 dB less noise, −10·lg(1 − 0.2)."""


@dataclass(frozen=True)
class Hint:
    """One thing that is unusual about a tensor.

    Attributes:
        word: what it is called.
        finding: what was found, with `{}` in the place of `value`.
        value: how much of it.
        recipes: what to try, each in the words of a recipe.
    """

    word: str
    finding: str
    value: float = math.nan
    recipes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.told(shown(self.value))

    def told(self, value: str) -> str:
        """The hint in one line, with a value, or what stands for several."""
        recipes = f": {' or '.join(self.recipes)}" if self.recipes else ""
        return f"{self.word}: {self.finding.format(value)}{recipes}"


PLAIN = Hint("plain", "nothing that calls for another recipe", recipes=("symmetric",))


def shown(value: float) -> str:
    """A value in two digits, or all before the point; a count whole."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.0f}" if 10 <= abs(value) < 1e5 else f"{value:.2g}"


def hints(statistics: TensorStatistics, shape: tuple[int, ...]) -> list[Hint]:
    """What is unusual about a tensor of floats; or that nothing is. None for a few elements.

    Args:
        statistics: the tensor's.
        shape: the tensor's.
    """
    found = []
    if statistics.nonfinite:
        values, them = ("value is", "it") if statistics.nonfinite == 1 else ("values are", "them")
        finding = f"{{}} {values} NaN or infinite, and left out: --nonfinite clip takes {them}"
        found.append(Hint("not finite", finding, statistics.nonfinite))
    if statistics.min == statistics.max:
        finding = "every value is {}, which any scheme keeps"
        found.append(Hint("constant", finding, statistics.min))
    elif statistics.count >= FEWEST:
        found += list(_of_values(statistics, shape))
        found = found or [PLAIN]
    return found


def _of_values(statistics: TensorStatistics, shape: tuple[int, ...]) -> Iterator[Hint]:
    s = statistics
    if s.outlier_ratio >= OUTLIERS:
        ratio = "max |x| is {} times its 99.9th percentile"
        finding = ratio if s.p999 else "99.9 % of the values, or more, are 0"
        yield Hint("outliers", finding, s.outlier_ratio, _for_outliers(s, shape))
    else:
        yield from _of_range(s)
        if s.kurtosis >= HEAVY_TAILS and abs(s.mean) <= NEAR_ZERO * s.deviation:
            recipes = ("apot bits=4", "observer=mse bits=4")
            yield Hint("tails", "they are heavy: excess kurtosis {}", s.kurtosis, recipes)
    if s.channel_spread >= CHANNELS:
        blocks = dict.fromkeys(["granularity=channel:0", *_small_blocks(s, shape)])
        finding = "the largest is {} times the median one"
        yield Hint("channels", finding, s.channel_spread, tuple(blocks))
    zeros = s.zeros / s.count
    if zeros >= ZEROS and s.min < 0 < s.max:
        recipes = ("symmetric", "asymmetric")
        yield Hint("zeros", "{} % are 0, which uniform does not keep", 100 * zeros, recipes)


def _of_range(s: TensorStatistics) -> Iterator[Hint]:
    """Whether an even range, from −max |x| to max |x|, is too large; one with 0, or any."""
    with_zero = max(s.max, 0) - min(s.min, 0)
    share = with_zero / (2 * s.max_abs)
    if s.max - s.min <= ONE_DECIBEL * with_zero:
        away = abs(s.mean) / s.deviation
        yield Hint("far", "the mean is {} deviations away from 0", away, ("uniform",))
    elif share <= ONE_DECIBEL:
        finding = "the values take {} % of an even range"
        yield Hint("shifted", finding, 100 * share, ("asymmetric",))


def _small_blocks(s: TensorStatistics, shape: tuple[int, ...]) -> tuple[str, ...]:
    """The granularity in which few values share a scale with an outlier, if there is one.

    Groups along the last axis; where it is short channels, of which there are several of some
    length; or else groups along the longest axis.
    """
    last = len(shape) - 1
    if shape[last] <= 128 and s.channel_maxima.size > 1:
        return ("granularity=channel:0",)
    axis = last if shape[last] > 128 else shape.index(max(shape))
    if shape[axis] <= 128:
        return ()
    group = "group:128" + (f":{axis}" if axis != last else "")
    return (f"granularity={group}" + (":tail=short" if shape[axis] % 128 else ""),)


def _for_outliers(s: TensorStatistics, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Blocks that keep outliers to themselves; and clipping, where it is worth what it costs."""
    blocks = _small_blocks(s, shape)
    gain = 10 * math.log10(_noise(s, s.max_abs) / _noise(s, s.p999)) if s.p999 else 0
    return (*blocks, "observer=mse bits=4") if gain >= 1 else blocks


def _noise(s: TensorStatistics, limit: float, bits: int = 4) -> float:
    """What `symmetric` makes of the values with a range of ±`limit`, by the histogram: Σe².

    Values below half a step become 0, those in the range are off by s²/12, and the rest by what is
    cut off.
    """
    magnitudes = s.histogram.magnitudes
    x = np.mean(edges_of(magnitudes.bins), axis=0)
    step = limit / (2 ** (bits - 1) - 1)
    noise = np.where(x < step / 2, x**2, step**2 / 12) + np.maximum(x - limit, 0) ** 2
    return float(noise @ magnitudes.counts)

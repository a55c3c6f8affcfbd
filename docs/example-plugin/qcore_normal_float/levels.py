"""The levels of NormalFloat: quantiles of the standard normal distribution, zero among them."""

from __future__ import annotations

import functools
from statistics import NormalDist

from qcore import LevelGrid


@functools.cache
def normal_grid(bits: int) -> LevelGrid:
    """2^bits levels from −1 to 1: half of them above zero, one fewer below, and zero itself.

    Either side holds the quantiles at evenly spaced probabilities from the outermost one to ½,
    where the quantile is zero, over the largest. The outermost probability is
    1 − ½·(1 / (2·2^bits) + 1 / (2·(2^bits − 1))): 0.96770833 for 4 bits.

    Source: Dettmers, Pagnoni, Holtzman and Zettlemoyer, "QLoRA", 2023, arXiv:2305.14314, part 3;
    `create_normal_map` in bitsandbytes.
    """
    count = 1 << bits
    outermost = 1 - (1 / (2 * count) + 1 / (2 * (count - 1))) / 2
    above = _quantiles(outermost, count // 2)
    below = [-quantile for quantile in reversed(_quantiles(outermost, count // 2 - 1))]
    return LevelGrid([*below, 0.0, *above])


def _quantiles(outermost: float, count: int) -> list[float]:
    """`count` positive quantiles, ascending, the last one at `outermost`; over that one."""
    normal = NormalDist()
    step = (outermost - 0.5) / count
    quantiles = [normal.inv_cdf(0.5 + step * i) for i in range(1, count)]
    largest = normal.inv_cdf(outermost)
    return [*(quantile / largest for quantile in quantiles), 1.0]

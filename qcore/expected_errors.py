"""What theory expects of recipes on a tensor: the error on values of the distribution that fits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.blame import contained
from qcore.blocking import Layout
from qcore.builtin.observers import Fixed, MinMax
from qcore.expectation import mean_over
from qcore.extremes import Extremes, extremes
from qcore.fitted import fitted
from qcore.fitting import FLOAT32
from qcore.random_values import Distribution
from qcore.recipe import Recipe
from qcore.scheduling import Job
from qcore.staircase import Staircase
from qcore.staircase_noise import noise_at, noise_between
from qcore.statistics import TensorStatistics, measure_statistics

_TINY, _SMALL = 16, 64
"""Blocks of fewer values have ranges that vary very widely; or widely."""

_FEW, _MANY, _MOST = 8, 32, 160
"""Ranges that stand for those of all blocks: where noise goes smoothly by the range, where it does
not, and of tiny ones. `qcore.expected_sqnr` takes hundreds, and the time for them."""


def expected_errors(tensor: NDArray[Any], recipes: Sequence[Recipe]) -> Job[dict[Recipe, float]]:
    """The Σe² that theory expects of each recipe; NaN where it has no answer.

    It has none for a scheme that is no grid, for a rounding policy that goes by an element's place,
    and for observers other than minmax and fixed.
    """
    statistics = yield from measure_statistics(tensor)
    if not statistics.count:
        return dict.fromkeys(recipes, 0.0)
    (means,) = yield [partial(_mean_squares, statistics, tensor.shape, recipes)]
    return {recipe: mean * statistics.count for recipe, mean in zip(recipes, means, strict=True)}


def _mean_squares(
    statistics: TensorStatistics, shape: tuple[int, ...], recipes: Sequence[Recipe]
) -> list[float]:
    law = fitted(statistics)
    ranges: dict[tuple[int, int], Extremes] = {}
    means = []
    for recipe in recipes:
        try:
            with contained():  # whatever a plugin does here, it does in its own row too
                if law is None:
                    means.append(_of_constant(recipe, statistics.min))
                else:
                    means.append(_mean_square(law, shape, recipe, ranges))
        except Exception:
            means.append(math.nan)
    return means


def _of_constant(recipe: Recipe, value: float) -> float:
    """(x̂ − x)² where every x is the same."""
    return sum(noise_at(recipe, Staircase.of(recipe, value, value), np.array([value]))[0])


def _mean_square(
    law: Distribution,
    shape: tuple[int, ...],
    recipe: Recipe,
    ranges: dict[tuple[int, int], Extremes],
) -> float:
    """E[(x̂ − x)²]; `ranges` keeps those of minmax, by the size of a block and how many."""
    _, granularity, _, observer, scale_format = recipe.parts
    if isinstance(observer, Fixed):
        stairs = Staircase.of(recipe, observer.lo, observer.hi)
        return sum(noise_between(stairs, law, -math.inf, math.inf))
    size = math.prod(Layout.of(granularity, shape).tile)
    if not isinstance(observer, MinMax) or size < 2:
        return math.nan
    smooth = size >= _SMALL and scale_format == FLOAT32
    count = _MOST if size < _TINY else _FEW if smooth else _MANY
    if (size, count) not in ranges:
        ranges[size, count] = _thinned(extremes(law, size), count)
    return sum(mean_over(ranges[size, count], recipe, law, size)[1])


def _thinned(ranges: Extremes, count: int) -> Extremes:
    """So many of the ranges, equally likely, one from each part of them by the larger end."""
    order = np.argsort(np.maximum(np.abs(ranges.lo), np.abs(ranges.hi)), kind="stable")
    ends = np.cumsum(ranges.weight[order])
    some = order[np.searchsorted(ends, (np.arange(count) + 0.5) / count * ends[-1])]
    equal = np.full(count, 1 / count)
    return Extremes(ranges.lo[some], ranges.hi[some], ranges.at_lo[some], equal)

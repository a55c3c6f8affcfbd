"""What theory expects of recipes on a tensor: the error on values of the distribution that fits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.blocking import Layout
from qcore.builtin.observers import Fixed, MinMax
from qcore.errors import QcoreError
from qcore.extremes import extremes
from qcore.fitted import fitted
from qcore.random_values import Distribution
from qcore.recipe import Recipe
from qcore.scheduling import Job
from qcore.staircase import Staircase
from qcore.staircase_noise import noise_between
from qcore.statistics import measure_statistics


def expected_errors(tensor: NDArray[Any], recipes: Sequence[Recipe]) -> Job[dict[Recipe, float]]:
    """The Σe² that theory expects of each recipe; NaN where it has no answer.

    It has none for a scheme that is no grid, for a rounding policy that goes by an element's place,
    for observers other than minmax and fixed, and for a tensor that is constant.
    """
    statistics = yield from measure_statistics(tensor)
    law = fitted(statistics)
    if law is None:
        return dict.fromkeys(recipes, math.nan)
    (means,) = yield [partial(_mean_squares, law, tensor.shape, recipes)]
    return {recipe: mean * statistics.count for recipe, mean in zip(recipes, means, strict=True)}


def _mean_squares(
    law: Distribution, shape: tuple[int, ...], recipes: Sequence[Recipe]
) -> list[float]:
    ranges: dict[int, tuple[float, float]] = {}
    return [_mean_square(law, shape, recipe, ranges) for recipe in recipes]


def _mean_square(
    law: Distribution,
    shape: tuple[int, ...],
    recipe: Recipe,
    ranges: dict[int, tuple[float, float]],
) -> float:
    """E[(x̂ − x)²] over a range of typical width; `ranges` keeps those of minmax by block size."""
    _, granularity, _, observer, _ = recipe.parts
    try:
        if isinstance(observer, Fixed):
            stairs = Staircase.of(recipe, observer.lo, observer.hi)
            return sum(noise_between(stairs, law, -math.inf, math.inf))
        size = math.prod(Layout.of(granularity, shape).tile)
        if not isinstance(observer, MinMax) or size < 2:
            return math.nan
        if size not in ranges:
            ranges[size] = _typical_range(law, size)
        lo, hi = ranges[size]
        within = np.nextafter(lo, -math.inf), hi  # lo too, which may have a probability of its own
        return sum(noise_between(Staircase.of(recipe, lo, hi), law, *within))
    except QcoreError:  # what a recipe cannot do here, its own row says
        return math.nan


def _typical_range(law: Distribution, size: int) -> tuple[float, float]:
    """One range for all that blocks of so many values have: noise goes by the square of a range, so
    it is the root mean square of either end, over the blocks whose larger end is on the likelier
    side: what is larger is one thing to a symmetric scheme, and what lies between another.

    It is a hundred times as fast as `qcore.expected_sqnr`, and a tenth of a decibel from it.
    """
    found = extremes(law, size)
    upward = found.hi >= -found.lo
    if found.weight[upward].sum() < 0.5 - 1e-6:
        upward = ~upward
    weight = found.weight[upward] / found.weight[upward].sum()
    lo, hi = (
        float(np.sign(weight @ e) * np.sqrt(weight @ e**2))
        for e in (found.lo[upward], found.hi[upward])
    )
    return lo, hi

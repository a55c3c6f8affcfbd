"""Every picture that the pages show, by its file."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from pictures import digits, granularities, levels_on_data, tradeoff
from pictures.network import WEIGHTS


def weights() -> str:
    """A layer of the bundled network, and where levels of 4 bits lie on it."""
    recipes = {
        "symmetric, from the extremes": "symmetric bits=4",
        "symmetric, range by mse": "symmetric bits=4 observer=mse",
        "apot, from the extremes": "apot bits=4",
    }
    axis = [-0.4, -0.2, 0, 0.2, 0.4], "weight of fc1"
    return levels_on_data.drawing(WEIGHTS["fc1.weight"], recipes, (-0.5, 0.5), axis)


def outliers() -> str:
    """A thousand values in [−1, 1] and one at 100, looked at near zero."""
    values = np.append(np.linspace(-1, 1, 1000), 100).astype(np.float32)
    recipes = {
        "minmax": "symmetric bits=8",
        "mse": "symmetric bits=8 observer=mse",
        "percentile:99.9": "symmetric bits=8 observer=percentile:99.9",
    }
    axis = [-1, -0.5, 0, 0.5, 1], "value; one more lies at 100"
    return levels_on_data.drawing(values, recipes, (-1.25, 1.25), axis)


PICTURES: Mapping[str, Callable[[], str]] = {
    "digits.svg": digits.drawing,
    "granularities.svg": granularities.drawing,
    "outliers.svg": outliers,
    "tradeoff.svg": tradeoff.drawing,
    "weights.svg": weights,
}

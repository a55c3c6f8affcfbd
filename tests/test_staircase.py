"""The staircase of a recipe is what the engine does to single values."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import qcore
from qcore.staircase import Staircase

NEAREST = ["half-even", "half-up", "half-down", "half-toward-zero", "half-away", "dpu"]
DIRECTED = ["floor", "ceil", "toward-zero"]
SCHEMES = [
    "symmetric bits=2",
    "symmetric:full_range=true bits=4",
    "symmetric:signed=false bits=3",
    "asymmetric bits=3",
    "asymmetric:signed=false:include_zero=false bits=4",
    "uniform bits=4",
    "uniform:offset=none bits=4",
    "pot bits=3",
    "pot:domain=linear bits=4",
    "pot:signed=false bits=3",
    "apot bits=4",
    "apot:k=3:signed=false bits=6",
]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("rounding", NEAREST + DIRECTED)
def test_between_two_edges_everything_becomes_the_value(scheme: str, rounding: str) -> None:
    for (lo, hi), scale_format in product([(-1.5, 1.0), (0.25, 3.0)], ["float32", "pow2"]):
        recipe = qcore.Recipe.parse(f"{scheme} rounding={rounding} scale_format={scale_format}")
        stairs = Staircase.of(recipe, lo, hi)
        edges = np.clip(stairs.edges, -10, 10)
        assert (np.diff(stairs.edges) > 0).all()
        shares = np.array([[0.01], [0.3], [0.5], [0.99]])
        x = (edges[:-1] + shares * np.diff(edges)).astype(np.float32).ravel()
        q = qcore.quantize(x, recipe, params=stairs.params)
        np.testing.assert_array_equal(q.codes, np.tile(stairs.codes, 4))
        np.testing.assert_array_equal(q.dequantize(), np.tile(stairs.values, 4))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_range_ends_where_float32_does(scheme: str) -> None:
    recipe = qcore.Recipe.parse(scheme)
    assert np.isfinite(Staircase.of(recipe, -1e38, 1e38).values).all()
    for lo, hi in [(-1e39, 1), (0, 1e300), (-np.inf, 0), (0, np.nan)]:
        with pytest.raises(qcore.UsageError, match="beyond float32, which ends at"):
            Staircase.of(recipe, lo, hi)


def test_a_width_beyond_float32_is_no_warning() -> None:
    stairs = Staircase.of(qcore.Recipe("uniform", bits=4), -3e38, 3e38)
    assert stairs.values[-1] - stairs.values[0] == pytest.approx(6e38)


def test_a_policy_by_position_has_none() -> None:
    recipe = qcore.Recipe("symmetric", bits=4, rounding="stochastic:1")
    with pytest.raises(qcore.UsageError, match="several x̂; choose one that does not, such as"):
        Staircase.of(recipe, -1, 1)

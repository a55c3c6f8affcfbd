"""The kernels' error sums: those asked for, and what is not finite shows in them."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest

from against_reference import REFERENCE, normal, policy_for, quantizer_of
from qcore import Backend, QuantParams
from qcore.error_detail import HISTOGRAMS
from qcore_cupy.errors import ORDER


@pytest.mark.parametrize("sums", [(name,) for name in ORDER] + [("x2", "e2"), ()])
def test_only_the_sums_asked_for_are_there(backend: Backend, sums: tuple[str, ...]) -> None:
    quantizer, blocks = quantizer_of("symmetric", 3), normal(7, 60)
    params, policy = QuantParams(np.float32([[0.2]])), policy_for("half-even", (7, 60))
    found = backend.measure(quantizer, blocks, params, policy, sums)
    expected = REFERENCE.measure(quantizer, blocks, params, policy, sums)
    for name in ORDER:
        wanted = pytest.approx(getattr(expected, name), rel=1e-12, nan_ok=True)
        assert getattr(found, name) == wanted
        assert math.isnan(getattr(found, name)) == (name not in sums)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("rounding", ["half-even", "stochastic:1"])
def test_histograms_are_the_references(
    backend: Backend, rounding: str, order: Literal["C", "F"]
) -> None:
    quantizer, blocks = quantizer_of("apot", 4), np.array(normal(7, 60), order=order)
    params, policy = QuantParams(np.float32([[0.2]])), policy_for(rounding, (7, 60))
    args = (quantizer, blocks, params, policy, ("e2", *HISTOGRAMS))
    found, expected = backend.measure(*args), REFERENCE.measure(*args)
    assert found.e2 == pytest.approx(expected.e2, rel=1e-12)
    for name in HISTOGRAMS:
        own, wanted = getattr(found, name), getattr(expected, name)
        np.testing.assert_array_equal(own.bins, wanted.bins)
        np.testing.assert_array_equal(own.counts, wanted.counts)
        for key, total in wanted.sums.items():
            np.testing.assert_allclose(own.sums[key], total, rtol=1e-12)


def test_a_value_that_is_not_finite_shows_in_the_sums(backend: Backend) -> None:
    quantizer, policy = quantizer_of("symmetric", 8), policy_for("half-even", (1, 3))
    blocks = np.float32([[1, 2, 3]])
    found = backend.measure(quantizer, blocks, QuantParams(np.float32([[np.nan]])), policy, ORDER)
    assert math.isnan(found.e2)
    assert math.isnan(found.max_e)

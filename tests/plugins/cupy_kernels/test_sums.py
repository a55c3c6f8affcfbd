"""The kernels' error sums: those asked for, and what is not finite shows in them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from against_reference import REFERENCE, normal, policy_for, quantizer_of
from qcore import Backend, QuantParams
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


def test_a_value_that_is_not_finite_shows_in_the_sums(backend: Backend) -> None:
    quantizer, policy = quantizer_of("symmetric", 8), policy_for("half-even", (1, 3))
    blocks = np.float32([[1, 2, 3]])
    found = backend.measure(quantizer, blocks, QuantParams(np.float32([[np.nan]])), policy, ORDER)
    assert math.isnan(found.e2)
    assert math.isnan(found.max_e)

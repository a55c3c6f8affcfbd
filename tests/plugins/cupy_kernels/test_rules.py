"""Rounding policies are the same as tables of twelve bits, and as numbers in [0, 1)."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qcore
from against_reference import (
    POLICIES,
    Levels,
    assert_same,
    context_of,
    normal,
    policy_for,
    quantizer_of,
)
from qcore import Backend, Gap, QuantParams
from qcore_cupy.rules import table_of


@pytest.mark.parametrize("rounding", POLICIES[:-1])
def test_a_policys_table_says_what_the_policy_says(rounding: str) -> None:
    policy, rng = qcore.create("rounding", rounding), np.random.default_rng(0)
    halves = np.arange(-1000, 1000) / 2
    near = np.concatenate([halves, np.nextafter(halves, 1000), np.nextafter(halves, -1000)])
    t = np.concatenate([near, rng.uniform(-1e6, 1e6, 10_000)]).astype(np.float32)
    lower = np.floor(t)
    gap = Gap(t, lower, lower + 1, lower + np.float32(0.5), lower)
    region = 1 + np.sign(t - gap.threshold).astype(int)
    bit = 4 * region + 2 * gap.negative + gap.lower_even
    assert set(bit) == set(range(12))
    np.testing.assert_array_equal(table_of(policy) >> bit & 1, policy.goes_up(gap))


@given(seed=st.integers(0, 2**64 - 1), position=st.integers(0, 2**64 - 1))
def test_the_hash_is_the_policys(library: ctypes.CDLL, seed: int, position: int) -> None:
    policy: Any = qcore.create("rounding", f"stochastic:{seed}")
    u = policy.at(np.array([position], np.uint64)).u
    given = ctypes.c_ulonglong(seed), ctypes.c_ulonglong(position)
    assert library.uniform_at(*given) == u[0]


@pytest.mark.parametrize("seed", [0, 7, -1, 2**63, 2**70 + 5])
@pytest.mark.parametrize("scheme", ["symmetric", "apot"])
def test_the_stochastic_policy_itself_goes_by_places_in_c_order(
    backend: Backend, scheme: str, seed: int
) -> None:
    quantizer, blocks = quantizer_of(scheme, 4), normal(40, 130)
    params = quantizer.fit(blocks, context_of(blocks))
    assert_same(backend, quantizer, blocks, params, qcore.create("rounding", f"stochastic:{seed}"))


def test_a_value_goes_up_where_its_number_is_below_its_fraction_not_where_it_is_the_same(
    backend: Backend,
) -> None:
    policy: Any = policy_for("stochastic", (1, 3))
    below, same, above = np.nextafter(0.25, 0), 0.25, np.nextafter(0.25, 1)
    exact = type(policy)(np.array([[below, same, above]]))
    params = QuantParams(np.float32([[1]]))
    for quantizer in (quantizer_of("symmetric", 4), Levels((0.0, 1.0, 2.0, 3.0))):
        codes = backend.encode(quantizer, np.float32([[1.25, 1.25, 1.25]]), params, exact)
        assert codes.tolist() == [[2, 1, 1]]

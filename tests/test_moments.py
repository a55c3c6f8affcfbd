"""Moments are SciPy's, however the values are cut up and however far from zero they are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import stats

from qcore.moments import Moments

RNG = np.random.default_rng(0)
NORMAL = RNG.standard_normal(100_003)
SAMPLES = {
    "normal": NORMAL,
    "large mean, tiny deviation": NORMAL * 1e-3 + 1000,
    "one beyond all others": np.append(NORMAL, 1e4),
    "heavy tails": RNG.standard_t(3, 50_000),
    "one-sided": np.maximum(NORMAL, 0),
    "one piece and a bit": NORMAL[:8193],
    "tiny": NORMAL * 1e-30,
    "huge": NORMAL * 1e37,
    "two": NORMAL[:2],
}


def float64(values: NDArray[np.float32]) -> tuple[float, float, float, float]:
    wide = values.astype(np.float64)
    return wide.mean(), wide.std(), stats.skew(wide), stats.kurtosis(wide)


def shape(moments: Moments) -> tuple[float, float, float, float]:
    return moments.mean, moments.deviation, moments.skew, moments.kurtosis


@pytest.mark.parametrize("name", SAMPLES)
def test_they_are_scipy_s(name: str) -> None:
    values = SAMPLES[name].astype(np.float32)
    found = Moments.of(values)
    assert found.count == values.size
    np.testing.assert_allclose(shape(found), float64(values), rtol=1e-9, atol=1e-12)


@given(
    arrays(np.float32, st.integers(2, 300), elements=st.floats(-1e6, 1e6, width=32)),
    st.lists(st.integers(0, 300), max_size=5),
)
def test_parts_make_the_whole(values: NDArray[np.float32], cuts: list[int]) -> None:
    parts = np.split(values, sorted(min(cut, values.size) for cut in cuts))
    merged, whole = Moments.merged(map(Moments.of, parts)), Moments.of(values)
    assert merged.count == whole.count
    spread = float(np.abs(values).max())
    for own, other, power in zip(
        (merged.mean, merged.m2, merged.m3, merged.m4),
        (whole.mean, whole.m2, whole.m3, whole.m4),
        (1, 2, 3, 4),
        strict=True,
    ):
        assert own == pytest.approx(other, rel=1e-9, abs=1e-12 * values.size * spread**power)


def test_a_constant_has_no_deviation_at_all() -> None:
    for value in (0.1, -3.4e38, 1e-45):
        parts = [np.full(n, value, np.float32) for n in (8193, 1, 20_000)]
        merged = Moments.merged(map(Moments.of, parts))
        assert (merged.mean, merged.m2) == (float(np.float32(value)), 0)
        assert math.isnan(merged.skew)
        assert math.isnan(merged.kurtosis)


def test_of_nothing_nothing_is_known() -> None:
    nothing = Moments.of(np.empty(0, np.float32))
    assert nothing == Moments.merged([]) == Moments()
    assert math.isnan(nothing.deviation)

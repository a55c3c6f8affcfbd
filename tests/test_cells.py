"""Cells hold what lies in each part of a range, to within a bin or exactly."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from qcore.cells import CELLS, counted, shared_out, too_coarse
from qcore.float_bins import Histogram

RNG = np.random.default_rng(0)


def by_numpy(values: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.histogram(values.astype(np.float64), CELLS)[0]


@pytest.mark.parametrize("shift", [0, 1.5, -3])
def test_a_histogram_is_shared_out_nearly_as_numpy_counts(shift: float) -> None:
    values = (RNG.standard_normal(100_000) + shift).astype(np.float32)
    lo, hi = float(values.min()), float(values.max())
    assert not too_coarse(lo, hi)
    found = shared_out(Histogram.of(values), lo, hi)
    assert found.sum() == values.size
    assert np.abs(found - by_numpy(values)).max() < 0.01 * values.size


def test_far_from_zero_bins_are_too_coarse_and_values_are_counted() -> None:
    values = (RNG.standard_normal(10_000) * 0.1 + 50).astype(np.float32)
    lo, hi = float(values.min()), float(values.max())
    assert too_coarse(lo, hi)
    np.testing.assert_array_equal(counted(values, lo, hi), by_numpy(values))


def test_the_zeros_of_an_even_range_are_in_the_middle() -> None:
    values = np.concatenate([np.zeros(100), [-1, 1]]).astype(np.float32)
    found = shared_out(Histogram.of(values), -1, 1)
    assert found.tolist() == [1, 0, 0, 0, 0, 100, 0, 0, 0, 0, 1]


def test_a_constant_is_in_the_middle_and_nothing_is_nowhere() -> None:
    values = np.full(7, 3, np.float32)
    assert shared_out(Histogram.of(values), 3, 3)[CELLS // 2] == 7
    assert not too_coarse(3, 3)
    assert shared_out(Histogram(), np.inf, -np.inf).sum() == 0
    assert not too_coarse(np.inf, -np.inf)

"""Statistics are those of the values, however these lie in memory and whoever reads them."""

from __future__ import annotations

import json
import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from qcore import statistics
from qcore.scheduling import run
from qcore.statistics import TensorStatistics, measure_statistics

RNG = np.random.default_rng(0)
MATRIX = (RNG.standard_normal((300, 500)) * 0.1 + 0.05).astype(np.float32)


def measured(tensor: Any, threads: int = 1) -> TensorStatistics:
    return run(measure_statistics(np.asarray(tensor)), threads)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "_CHUNK", 1 << 10)
    monkeypatch.setattr(statistics, "_MOST_TASKS", 7)


def check(found: TensorStatistics, values: NDArray[Any]) -> None:
    """All of it, by NumPy and SciPy in float64, of what is finite as float32."""
    with np.errstate(over="ignore"):
        x = values.astype(np.float32).ravel()
    wide = x[np.isfinite(x)].astype(np.float64)
    assert (found.count, found.nonfinite) == (wide.size, x.size - wide.size)
    assert found.zeros == (wide == 0).sum()
    assert (found.min, found.max) == (wide.min(), wide.max())
    expected = wide.mean(), wide.std(), stats.skew(wide), stats.kurtosis(wide)
    shape = found.mean, found.deviation, found.skew, found.kurtosis
    np.testing.assert_allclose(shape, expected, rtol=1e-9, atol=1e-9)
    rank = math.ceil(0.999 * wide.size)
    assert found.p999 == pytest.approx(np.sort(np.abs(wide))[rank - 1], rel=1 / 63)
    assert found.p999 <= found.max_abs == np.abs(wide).max()
    assert sum(found.cells) == found.histogram.count == wide.size


TENSORS = {
    "a matrix": MATRIX,
    "in Fortran order": np.asfortranarray(MATRIX),
    "transposed": MATRIX.T,
    "every other": MATRIX[::2, ::3],
    "a kernel": MATRIX.reshape(30, 50, 10, 10),
    "short rows": MATRIX.reshape(-1, 3),
    "one axis": MATRIX.ravel(),
    "far from zero": MATRIX * 1e-3 + 100,
    "with zeros": np.maximum(MATRIX, 0),
    "float64": MATRIX.astype(np.float64),
    "float16": MATRIX.astype(np.float16),
    "bfloat16": MATRIX.astype(ml_dtypes.bfloat16),
    "big-endian": MATRIX.astype(">f4"),
    "integers": np.arange(-50, 1000).reshape(-1, 50),
    "booleans": MATRIX > 0,
    "tiny numbers": MATRIX * np.float32(1e-42),
}


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.usefixtures("small_chunks")
def test_they_are_numpy_s_and_scipy_s(name: str) -> None:
    check(measured(TENSORS[name]), TENSORS[name])


def test_large_chunks_too() -> None:
    check(measured(MATRIX), MATRIX)


@pytest.mark.parametrize("name", ["a matrix", "short rows", "far from zero", "float16"])
@pytest.mark.usefixtures("small_chunks")
def test_threads_and_memory_order_change_nothing(name: str) -> None:
    tensor = TENSORS[name]
    alone = measured(tensor)
    for other in (measured(tensor, 3), measured(np.asfortranarray(tensor), 2)):
        assert other.to_dict() == alone.to_dict()
        np.testing.assert_array_equal(other.channel_maxima, alone.channel_maxima)


@pytest.mark.usefixtures("small_chunks")
def test_what_is_not_finite_is_counted_and_left_out() -> None:
    tensor = MATRIX.astype(np.float64)
    tensor[0, 0], tensor[7, 1], tensor[7, 2], tensor[9, :] = np.nan, np.inf, 1e300, -np.inf
    found = measured(tensor)
    check(found, tensor)
    assert found.nonfinite == 503
    finite = np.where(np.abs(tensor) < 1e38, np.abs(tensor), 0)
    np.testing.assert_array_equal(found.channel_maxima, finite.max(axis=1).astype(np.float32))
    nothing = measured(np.full((2, 64), np.nan))
    assert (nothing.count, nothing.nonfinite) == (0, 128)


@pytest.mark.parametrize("name", ["a matrix", "in Fortran order", "a kernel", "every other"])
@pytest.mark.usefixtures("small_chunks")
def test_each_channel_has_its_maximum(name: str) -> None:
    tensor = TENSORS[name]
    found = measured(tensor)
    maxima = np.abs(tensor.reshape(len(tensor), -1)).max(axis=1)
    np.testing.assert_array_equal(found.channel_maxima, maxima)
    assert found.channel_spread == pytest.approx(maxima.max() / np.median(maxima))


def test_channels_without_a_value_do_not_count_and_short_ones_are_none() -> None:
    tensor = np.zeros((9, 64), np.float32)
    tensor[0], tensor[1] = 1, 3
    assert measured(tensor).channel_spread == 1.5
    for few in (np.ones(100), np.ones((10, 31)), np.ones(()), np.ones((4, 0))):
        found = measured(few)
        assert found.channel_maxima.size == 0
        assert math.isnan(found.channel_spread)


def test_the_channels_of_huge_values_are_compared_too() -> None:
    tensor = np.full((4, 64), 3e38, np.float32)
    tensor[2:] = 2.9e38
    assert measured(tensor).channel_spread == pytest.approx(3 / 2.95)


def test_cells_of_values_far_from_zero_are_counted_exactly() -> None:
    tensor = TENSORS["far from zero"]
    expected = np.histogram(tensor.astype(np.float64), len(measured(tensor).cells))[0]
    np.testing.assert_array_equal(measured(tensor).cells, expected)


def test_a_constant_has_a_range_of_one_value() -> None:
    for value in (0.1, 0, -7):
        found = measured(np.full((3, 5000), value, np.float32))
        assert found.min == found.max == found.mean == np.float32(value)
        assert found.deviation == 0
        assert math.isnan(found.skew)
        assert found.cells[len(found.cells) // 2] == 15_000
    assert math.isnan(measured(np.zeros(9)).outlier_ratio)


def test_of_no_elements_nothing_is_known() -> None:
    found = measured(np.empty((0, 5)))
    assert found.count == found.nonfinite == found.zeros == sum(found.cells) == 0
    numbers = found.to_dict()
    assert numbers.pop("cells") == (0,) * 11
    assert {key for key, value in numbers.items() if value is None} == set(numbers) - {
        "count", "nonfinite", "zeros",
    }  # fmt: skip


def test_outliers_are_told_by_the_percentile() -> None:
    values = np.concatenate([RNG.uniform(-1, 1, 9999), [50]]).astype(np.float32)
    assert measured(values).outlier_ratio == pytest.approx(50, rel=1 / 60)
    mostly = np.zeros(10_000)
    mostly[0] = 3
    assert measured(mostly).outlier_ratio == math.inf


def test_json_holds_them() -> None:
    for tensor in (MATRIX, np.zeros(3), np.empty(0)):
        found = measured(tensor).to_dict()
        assert json.loads(json.dumps(found, allow_nan=False)) == {
            **found, "cells": list(found["cells"]),
        }  # fmt: skip
        assert set(found) == set(TensorStatistics.KEYS)

"""Each metric is its formula on whole arrays, though it sees sums alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

import qcore
from qcore.error_stats import SUMS, ErrorStats, measure_errors
from qcore.evaluation import evaluate

Wide = NDArray[np.float64]


def cosine(x: Wide, values: Wide) -> float:
    return float(x @ values / (np.linalg.norm(x) * np.linalg.norm(values)))


FORMULAS: dict[str, Callable[[Wide, Wide], float]] = {
    "sqnr_db": lambda x, v: 10 * math.log10(np.mean(x**2) / np.mean((v - x) ** 2)),
    "mse": lambda x, v: float(np.mean((v - x) ** 2)),
    "rmse": lambda x, v: float(np.sqrt(np.mean((v - x) ** 2))),
    "mae": lambda x, v: float(np.mean(np.abs(v - x))),
    "max_abs": lambda x, v: float(np.max(np.abs(v - x))),
    "rel_l2": lambda x, v: float(np.linalg.norm(v - x) / np.linalg.norm(x)),
    "nsr": lambda x, v: float(np.sum((v - x) ** 2) / np.sum(x**2)),
    "cosine": cosine,
}
HIGH = {"sqnr_db", "cosine"}


def metric(id: str) -> Any:
    return qcore.create("metric", id)


def stats_of(x: Any, values: Any) -> ErrorStats:
    return measure_errors(np.float32(x), np.float32(values), SUMS)


@pytest.mark.parametrize("id", FORMULAS)
@settings(deadline=None, max_examples=50)
@given(
    x=hnp.arrays(np.float32, st.integers(1, 50), elements=st.floats(0.5, 64, width=32)),
    seed=st.integers(0, 1000),
)
def test_a_metric_is_its_formula(id: str, x: NDArray[np.float32], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = x * rng.choice(np.float32([-1, 1]), x.size)
    values = x + rng.uniform(0.01, 0.1, x.size).astype(np.float32)
    expected = FORMULAS[id](x.astype(np.float64), values.astype(np.float64))
    assert metric(id).from_stats(stats_of(x, values)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("id", sorted({*FORMULAS, "clipped", "bits_per_weight"}))
def test_a_metric_reads_only_the_sums_it_says_it_needs(id: str) -> None:
    made = metric(id)
    assert made.needs <= set(SUMS)
    full = stats_of([1, -2, 3], [1.5, -2, 2])
    full = ErrorStats(**{**vars(full), "clipped": 1.0, "stored_bits": 42})
    unasked = dict.fromkeys(set(SUMS) - made.needs, math.nan)
    assert made.from_stats(ErrorStats(**{**vars(full), **unasked})) == made.from_stats(full)
    for name in made.needs:
        assert math.isnan(made.from_stats(ErrorStats(**{**vars(full), name: math.nan})))


@pytest.mark.parametrize("id", sorted({*FORMULAS, "clipped", "bits_per_weight"}))
def test_a_metric_says_which_end_is_better(id: str) -> None:
    assert metric(id).best == ("high" if id in HIGH else "low")


def test_clipped_is_a_fraction_and_bits_per_weight_counts_what_is_stored() -> None:
    stats = ErrorStats(count=8, stored_bits=36, clipped=2.0)
    assert metric("clipped").from_stats(stats) == 0.25
    assert metric("bits_per_weight").from_stats(stats) == 4.5


NAN, INF = math.nan, math.inf
EXACT = {"mse": 0, "rmse": 0, "mae": 0, "max_abs": 0}


@pytest.mark.parametrize(
    ("x", "values", "expected"),
    [
        ([0, 0], [0, 0], {"sqnr_db": NAN, "rel_l2": NAN, "nsr": NAN, "cosine": NAN, **EXACT}),
        ([0, 0], [1, 0], {"sqnr_db": -INF, "rel_l2": NAN, "nsr": NAN, "cosine": NAN, "mse": 0.5}),
        ([1, -2], [1, -2], {"sqnr_db": INF, "rel_l2": 0, "nsr": 0, "cosine": 1, **EXACT}),
        ([3, 4], [0, 0], {"sqnr_db": 0, "rel_l2": 1, "nsr": 1, "cosine": NAN, "max_abs": 4}),
        ([1, 1], [-1, -1], {"sqnr_db": 10 * math.log10(1 / 4), "nsr": 4, "cosine": -1}),
        ([1, 0], [0, 1], {"cosine": 0}),
        ([5], [5], {"cosine": 1}),
    ],
)
def test_degenerate_cases_have_a_defined_answer(
    x: list[float], values: list[float], expected: dict[str, float]
) -> None:
    stats = stats_of(x, values)
    for id, value in expected.items():
        assert metric(id).from_stats(stats) == pytest.approx(value, nan_ok=True), id


def test_without_elements_every_metric_is_nan() -> None:
    made = [metric(id) for id in (*FORMULAS, "clipped", "bits_per_weight", "output_sqnr_db")]
    found = evaluate(made, ErrorStats(), ErrorStats())
    assert found.keys() == {m.id for m in made}
    assert all(math.isnan(value) for value in found.values())


@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1e30, 3e38])
def test_ratios_do_not_depend_on_the_scale_of_the_tensor(scale: float) -> None:
    x = np.float32([1, 0.5, -0.75]) * np.float32(scale)
    stats = stats_of(x, x * np.float32(0.5))
    assert metric("sqnr_db").from_stats(stats) == pytest.approx(6.0206, abs=1e-3)
    assert metric("nsr").from_stats(stats) == pytest.approx(0.25, rel=1e-4)
    assert metric("cosine").from_stats(stats) == pytest.approx(1, rel=1e-6)


@settings(deadline=None, max_examples=80)
@given(
    hnp.arrays(np.float32, 7, elements=st.floats(-64, 64, width=32)),
    hnp.arrays(np.float32, 7, elements=st.floats(-64, 64, width=32)),
)
def test_the_cosine_is_never_beyond_one(
    x: NDArray[np.float32], values: NDArray[np.float32]
) -> None:
    found = metric("cosine").from_stats(stats_of(x, values))
    assert math.isnan(found) or -1 <= found <= 1


def test_the_cosine_survives_a_faint_rendering() -> None:
    x = np.float32([1, 1])
    assert metric("cosine").from_stats(stats_of(x, x * np.float32(2.0**-20))) == pytest.approx(1)

"""Hints are right: what they name has a higher SQNR than the default, on such data."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

import qcore
from qcore import samples
from qcore.hints import FEWEST, Hint, hints
from qcore.scheduling import run
from qcore.statistics import TensorStatistics, measure_statistics

RNG = np.random.default_rng(0)
SHAPE = (64, 256)


def statistics(tensor: NDArray[Any]) -> TensorStatistics:
    return run(measure_statistics(tensor), 1)


def found(tensor: NDArray[Any]) -> dict[str, Hint]:
    return {hint.word: hint for hint in hints(statistics(tensor), tensor.shape)}


def with_outliers(count: int, size: float) -> NDArray[np.float64]:
    tensor = RNG.standard_normal(SHAPE)
    tensor.ravel()[:: tensor.size // count] *= size
    return tensor


NORMAL = RNG.standard_normal(SHAPE)
TENSORS = {
    name: tensor.astype(np.float32)
    for name, tensor in {
        "normal": NORMAL,
        "uniform": RNG.uniform(-1, 1, SHAPE),
        "laplace": RNG.laplace(size=SHAPE),
        "student-t": RNG.standard_t(5, size=SHAPE),
        "relu": np.maximum(NORMAL, 0),
        "gamma": RNG.gamma(2, size=SHAPE),
        "below zero": -RNG.gamma(2, size=SHAPE),
        "off by a deviation": NORMAL + 1,
        "laplace, off by two": RNG.laplace(size=SHAPE) + 2 * math.sqrt(2),
        "far": NORMAL * 0.1 + 3,
        "far below": NORMAL * 0.1 - 3,
        "pruned": NORMAL * (RNG.uniform(size=SHAPE) > 0.6),
        "one outlier": with_outliers(1, 1000),
        "some outliers": with_outliers(8, 20),
        "channels": NORMAL * np.exp(RNG.normal(0, 1, (64, 1))),
        "short rows": with_outliers(3, 50).reshape(-1, 64),
        "odd rows": with_outliers(3, 50)[:, :200],
        "one channel": with_outliers(1, 1000).reshape(1, 256, 64),
        "pairs": with_outliers(1, 1000)[:, :250].reshape(-1, 2),
        "cube": with_outliers(1, 1000)[:10, :250].reshape(100, 5, 5),
        "a kernel": (NORMAL * np.exp(RNG.normal(0, 1, (64, 1)))).reshape(64, 4, 8, 8),
    }.items()
}
WORDS = {
    "normal": {"plain"},
    "uniform": {"plain"},
    "laplace": {"tails"},
    "student-t": {"tails", "channels"},
    "relu": {"shifted", "tails"},
    "gamma": {"shifted", "tails"},
    "below zero": {"shifted", "tails"},
    "off by a deviation": {"shifted"},
    "laplace, off by two": {"shifted"},
    "far": {"far"},
    "far below": {"far"},
    "pruned": {"tails", "zeros"},
    "one outlier": {"outliers", "channels"},
    "some outliers": {"outliers", "channels"},
    "channels": {"tails", "channels"},
    "short rows": {"outliers", "channels"},
    "odd rows": {"outliers", "channels"},
    "one channel": {"outliers"},
    "pairs": {"outliers"},
    "cube": {"outliers"},
    "a kernel": {"tails", "channels"},
}
REAL = {n: x for n, x in load_file(samples.path()).items() if x.dtype == np.float32}


def sqnr(tensor: NDArray[Any], recipe: str) -> float:
    (row,) = qcore.compare({"x": tensor}, recipe, threads=1).rows
    assert row.error is None
    return row.metrics["sqnr_db"]


def gains(tensor: NDArray[Any], hint: Hint) -> dict[str, float]:
    """How much better each named recipe is than the default, or than what the hint warns of."""
    gained = {}
    for named in hint.recipes:
        scheme = named.partition(" ")[0]
        recipe = named if "=" not in scheme else f"symmetric {named}"
        for bits in [4] if "bits=4" in named else [4, 8]:
            other = "uniform" if hint.word == "zeros" else "symmetric"
            text = recipe if "bits=4" in named else f"{recipe} bits={bits}"
            gained[text] = sqnr(tensor, text) - sqnr(tensor, f"{other} bits={bits}")
    return gained


@pytest.mark.parametrize("name", TENSORS)
def test_what_is_unusual_is_seen(name: str) -> None:
    assert found(TENSORS[name]).keys() == WORDS[name]


@pytest.mark.parametrize(
    "tensor",
    [*TENSORS.values(), *REAL.values()],
    ids=[*TENSORS, *REAL],
)
def test_what_is_named_wins(tensor: NDArray[Any]) -> None:
    for hint in found(tensor).values():
        if hint.word != "plain":
            assert min(gains(tensor, hint).values(), default=1) > 0.3, hint


def test_on_a_plain_tensor_neither_zero_point_nor_channels_change_much() -> None:
    for name in ("normal", "uniform"):
        base = sqnr(TENSORS[name], "symmetric bits=8")
        for other in (
            "asymmetric bits=8",
            "uniform bits=8",
            "symmetric bits=8 granularity=channel:0",
        ):
            assert abs(sqnr(TENSORS[name], other) - base) < 3


def test_clipping_is_named_where_it_wins_and_not_where_it_loses() -> None:
    some, one = (
        found(TENSORS["some outliers"])["outliers"],
        found(TENSORS["one outlier"])["outliers"],
    )
    assert "observer=mse bits=4" in some.recipes
    assert one.recipes == ("granularity=group:128",)
    assert sqnr(TENSORS["one outlier"], "symmetric bits=4 observer=percentile:99.9") < sqnr(
        TENSORS["one outlier"], "symmetric bits=4"
    )


def test_small_blocks_are_such_as_the_shape_has() -> None:
    assert found(TENSORS["short rows"])["outliers"].recipes[0] == "granularity=channel:0"
    assert found(TENSORS["odd rows"])["outliers"].recipes[0] == "granularity=group:128:tail=short"
    assert found(TENSORS["one channel"])["outliers"].recipes[0] == "granularity=group:128:1"
    assert found(TENSORS["pairs"])["outliers"].recipes[0] == "granularity=group:128:0:tail=short"
    assert found(TENSORS["cube"])["outliers"].recipes == ()


# --- borders --------------------------------------------------------------------------------------

PLAIN = statistics(TENSORS["normal"])


def changed(**changes: Any) -> set[str]:
    given = {"min": -4.0, "max": 4.0, "p999": 3.3, "mean": 0.0, "deviation": 1.0} | changes
    return {hint.word for hint in hints(dataclasses.replace(PLAIN, **given), SHAPE)}


def maxima(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


@pytest.mark.parametrize(
    ("word", "here", "beyond"),
    [
        ("outliers", {"p999": 4 / 3.001}, {"p999": 4 / 2.999}),
        ("tails", {"kurtosis": 1.0}, {"kurtosis": 0.99}),
        ("tails", {"kurtosis": 3.0, "mean": -1.5}, {"kurtosis": 3.0, "mean": -1.51}),
        ("shifted", {"min": -3.12}, {"min": -3.14}),  # 7.13 = 0.891 · 8
        ("shifted", {"max": 0.0}, {"max": 3.5}),
        ("far", {"min": 0.44, "mean": 2.0}, {"min": 0.43, "mean": 2.0}),  # 3.565 = 0.891 · 4
        ("zeros", {"zeros": PLAIN.count // 5 + 1}, {"zeros": PLAIN.count // 5 - 1}),
        ("zeros", {"zeros": 9000}, {"zeros": 9000, "min": 0.0}),
        ("not finite", {"nonfinite": 1}, {"nonfinite": 0}),
        ("channels", {"channel_maxima": maxima(4, 2, 2)}, {"channel_maxima": maxima(4, 2.1, 2.1)}),
        ("plain", {"count": FEWEST}, {"count": FEWEST - 1}),
        ("constant", {"min": 4.0}, {"min": 3.9}),
    ],
)  # fmt: skip
def test_a_hint_begins_at_its_threshold(word: str, here: Any, beyond: Any) -> None:
    assert word in changed(**here)
    assert word not in changed(**beyond)


def test_a_plain_tensor_has_no_other_hint() -> None:
    assert changed() == {"plain"}
    assert "plain" not in changed(kurtosis=2.0)


def test_outliers_make_the_range_and_the_tails_no_matter_of_their_own() -> None:
    assert changed(p999=1.0, kurtosis=50.0, min=-1.0) == {"outliers"}


def test_of_few_elements_nothing_is_said_but_what_is_certain() -> None:
    few = np.append(np.zeros(998, np.float32), np.float32(100))
    assert found(few) == {}
    assert found(np.append(few[:900], np.float32(np.nan))).keys() == {"not finite", "constant"}
    assert found(np.empty(0, np.float32)) == {}


def test_a_hint_is_one_line_with_its_value() -> None:
    hint = Hint("channels", "the largest is {} times the median one", 41.3, ("a", "b"))
    assert str(hint) == "channels: the largest is 41 times the median one: a or b"
    assert str(found(np.zeros(2000, np.float32))["constant"]) == (
        "constant: every value is 0, which any scheme keeps"
    )
    mostly = np.zeros(10_000, np.float32)
    mostly[:3] = -1, 1, 2
    assert str(found(mostly)["outliers"]) == (
        "outliers: 99.9 % of the values, or more, are 0: granularity=group:128:tail=short"
    )


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (1, "1 value is NaN or infinite, and left out: --nonfinite clip takes it"),
        (2, "2 values are NaN or infinite, and left out: --nonfinite clip takes them"),
        (150_000, "150,000 values are NaN or infinite, and left out: --nonfinite clip takes them"),
    ],
)
def test_values_that_are_not_finite_are_counted_one_by_one(count: int, said: str) -> None:
    (hint, *_) = hints(dataclasses.replace(PLAIN, nonfinite=count), SHAPE)
    assert str(hint) == f"not finite: {said}"


def test_the_fewest_elements_are_those_whose_percentile_is_not_their_maximum() -> None:
    for count, ratio in ((FEWEST, 4), (FEWEST - 1, 1)):
        values = np.append(np.ones(count - 1, np.float32), np.float32(4))
        assert statistics(values).outlier_ratio == pytest.approx(ratio, rel=1 / 63)

"""Another checkpoint against the first: its error, its bits, and what it lacks."""

from __future__ import annotations

import math
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import qcore

RECIPE = "apot bits=4 granularity=channel:0"
SUMS = ("x2", "e2", "max_e")


@pytest.fixture
def tensors() -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    return {name: random.standard_normal((40, 30)).astype(np.float32) for name in ("a", "b")}


@pytest.fixture
def model(tmp_path: Path, tensors: dict[str, np.ndarray]) -> Path:
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(tensors, path)
    return path


def test_a_quantized_file_has_the_error_and_the_bits_of_its_recipe(
    model: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small.safetensors"
    qcore.quantize_file(model, small, RECIPE)
    ours, theirs = qcore.compare(model, RECIPE, against=small).summary()
    assert str(theirs.recipe) == "small.safetensors"
    for name in ("sqnr_db", "max_abs", "cosine"):
        assert theirs.metrics[name] == pytest.approx(ours.metrics[name], rel=1e-5)
    assert theirs.metrics["bits_per_weight"] == ours.metrics["bits_per_weight"]


def test_rows_say_how_each_tensor_is_stored(model: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.safetensors"
    qcore.quantize_file(model, small, [f"a={RECIPE}", "b=keep"])
    a, b = qcore.compare(model, against=small).rows
    assert (str(a.recipe), str(b.recipe)) == (
        f"small.safetensors {RECIPE}",
        "small.safetensors float32",
    )
    assert b.metrics["sqnr_db"] == math.inf
    assert b.metrics["bits_per_weight"] == 32
    assert a.to_dict()["recipe"] == {"against": "small.safetensors", "encoding": RECIPE}


@settings(deadline=None, max_examples=40)
@given(
    x=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=0, max_dims=3, max_side=9),
        elements=st.floats(-100, 100, width=32),
    )
)
def test_the_sums_are_those_of_the_difference(x: np.ndarray) -> None:
    y = x.astype(ml_dtypes.bfloat16)
    (row,) = qcore.compare({"w": x}, against={"w": y}).rows
    expected = qcore.measure_errors(x, y.astype(np.float32), SUMS)
    for name in SUMS:
        assert getattr(row.stats, name) == getattr(expected, name)
    assert row.metrics["bits_per_weight"] == 16


def test_any_layout_is_compared_with_any_other(tensors: dict[str, np.ndarray]) -> None:
    turned = {name: np.asfortranarray(array) for name, array in tensors.items()}
    for row in qcore.compare(tensors, against=turned).rows:
        assert row.stats.e2 == 0


def test_what_it_lacks_is_left_out_and_counted(tensors: dict[str, np.ndarray]) -> None:
    comparison = qcore.compare(tensors, "symmetric", against={"a": tensors["a"]})
    assert {row.tensor for row in comparison.rows} == {"a"}
    assert comparison.skipped == {"not in given arrays": 1}


def test_nothing_in_common_is_an_error_that_shows_both(tensors: dict[str, np.ndarray]) -> None:
    with pytest.raises(qcore.UsageError, match=r"none of the 2 tensors, such as 'a'; it has 'z'"):
        qcore.compare(tensors, against={"z": tensors["a"]})


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (np.zeros((40, 31), np.float32), r"'a': it has shape \(40, 30\), and \(40, 31\) in ''"),
        (np.zeros((40, 30), np.int8), "holds int8"),
        (np.full((40, 30), np.inf, np.float32), "not finite"),
        (np.full((40, 30), np.nan, np.float32), "not finite"),
    ],
)
def test_a_tensor_that_does_not_fit_fails_alone(
    tensors: dict[str, np.ndarray], other: np.ndarray, message: str
) -> None:
    comparison = qcore.compare(tensors, against={**tensors, "a": other})
    (failed,) = comparison.failed
    assert failed.tensor == "a"
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(failed.error)


def test_without_recipes_and_against_there_is_nothing_to_do(
    tensors: dict[str, np.ndarray],
) -> None:
    with pytest.raises(qcore.UsageError, match="against="):
        qcore.compare(tensors)


def test_a_file_that_cannot_be_read_is_named(model: Path, tmp_path: Path) -> None:
    with pytest.raises(qcore.ReadError, match=r"no such file: '.*none\.gguf'"):
        qcore.compare(model, against=tmp_path / "none.gguf")

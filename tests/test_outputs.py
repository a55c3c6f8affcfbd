"""With activations, a comparison measures the output of layers: y = x · wᵀ, quantized and not."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import qcore
from qcore import samples
from qcore.activations import Activations
from qcore.sources import from_arrays

W8, W4 = "symmetric bits=8 granularity=channel:0", "asymmetric bits=4 granularity=group:8"
A8 = "asymmetric bits=8 granularity=token"


def normal(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


LAYER = {"fc.weight": normal(6, 16)}
INPUT = {"fc.input": normal(5, 16, seed=1) + np.float32(0.5)}


def compare(weights: Any = LAYER, recipes: Any = W8, **options: Any) -> qcore.Comparison:
    return qcore.compare(weights, recipes, **{"activations": INPUT, **options})


def output_error(w: Any, x: Any, w_hat: Any, x_hat: Any) -> tuple[float, float]:
    """SQNR in dB and relative error of the product, by their definitions, in float64."""
    exact = x.astype(np.float64) @ w.astype(np.float64).T
    error = x_hat.astype(np.float64) @ w_hat.astype(np.float64).T - exact
    ratio = float((exact**2).sum() / (error**2).sum())
    return 10 * math.log10(ratio), math.sqrt(1 / ratio)


# --- what is measured ----------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    scheme=st.sampled_from(["symmetric", "asymmetric", "uniform", "apot", "pot"]),
    bits=st.sampled_from([3, 4, 8]),
    granularity=st.sampled_from(["tensor", "channel:0", "group:8"]),
    activations=st.sampled_from(["float", A8, "symmetric bits=4", "uniform bits=6", "pot bits=8"]),
    seed=st.integers(0, 5),
)
def test_the_error_is_that_of_the_product_of_what_was_quantized(
    scheme: str, bits: int, granularity: str, activations: str, seed: int
) -> None:
    w, x = normal(7, 24, seed=seed), normal(3, 4, 24, seed=seed + 10)
    recipe = qcore.Recipe(scheme, bits, granularity)
    comparison = qcore.compare(
        {"w.weight": w}, recipe, activations={"w.input": x}, activation_recipes=activations
    )
    rows = x.reshape(12, 24)
    x_hat = rows if activations == "float" else qcore.fake_quantize(rows, activations)
    sqnr, relative = output_error(w, rows, qcore.fake_quantize(w, recipe), x_hat)
    (row,) = comparison.rows
    assert row.metrics["output_sqnr_db"] == pytest.approx(sqnr, abs=1e-3)
    assert row.metrics["output_rel_l2"] == pytest.approx(relative, rel=1e-3)
    assert row.error is None


def test_weights_are_measured_as_they_are_without_activations() -> None:
    with_them, without = compare().rows[0], qcore.compare(LAYER, W8).rows[0]
    assert {id: with_them.metrics[id] for id in without.metrics} == without.metrics
    assert without.activations is None
    assert without.output is None


def test_every_recipe_goes_with_every_one_for_the_activations_in_order() -> None:
    comparison = compare(recipes=[W8, W4], activation_recipes=["float", A8])
    cases = [(str(case.recipe), str(case.activations)) for case in comparison.cases]
    assert cases == [(w, a) for w in (W8, W4) for a in ("float", A8)]
    assert [row.case for row in comparison.rows] == comparison.cases
    paths = [row.output.path for row in comparison.rows if row.output is not None]
    assert paths == ["float32: the activations are not quantized", "int8"] * 2


def test_fewer_bits_on_either_side_cost_output() -> None:
    comparison = compare(
        recipes=["symmetric bits=8", "symmetric bits=4"],
        activation_recipes=["float", "symmetric bits=8", "symmetric bits=4"],
    )
    found = [row.metrics["output_sqnr_db"] for row in comparison.rows]
    assert found[:3] == sorted(found[:3], reverse=True)
    assert found[0] > found[3] + 15


@pytest.mark.parametrize("backend", ["int8-blas", "numpy", "reference"])
@pytest.mark.parametrize("threads", [1, 3])
def test_neither_backend_nor_threads_change_it(backend: str, threads: int) -> None:
    options: dict[str, Any] = {"recipes": [W8, W4], "activation_recipes": ["float", A8]}
    expected = [row.metrics["output_sqnr_db"] for row in compare(**options).rows]
    found = compare(**options, backend=backend, threads=threads).rows
    assert [row.metrics["output_sqnr_db"] for row in found] == pytest.approx(expected, abs=1e-6)


def test_a_summary_pools_the_layers_that_have_activations() -> None:
    weights = {"a.weight": normal(4, 8), "b.weight": normal(6, 8, seed=1), "c": normal(4, 4)}
    inputs = {"a.input": normal(5, 8, seed=2), "b.input": 9 * normal(7, 8, seed=3)}
    (summary,) = compare(weights, activations=inputs).summary()
    assert (summary.tensors, summary.layers) == (3, 2)
    signal = noise = 0.0
    for name in ("a", "b"):
        w, x = weights[f"{name}.weight"], inputs[f"{name}.input"]
        exact = x.astype(np.float64) @ w.astype(np.float64).T
        error = x.astype(np.float64) @ qcore.fake_quantize(w, W8).astype(np.float64).T - exact
        signal, noise = signal + (exact**2).sum(), noise + (error**2).sum()
    expected = 10 * math.log10(signal / noise)
    assert summary.metrics["output_sqnr_db"] == pytest.approx(expected, abs=1e-3)


def test_the_document_says_what_was_applied_and_how_it_was_computed() -> None:
    document = compare(activation_recipes=["float", A8]).to_dict()
    floating, quantized = document["results"]
    assert floating["activations"] == "float"
    assert quantized["activations"] == qcore.Recipe.parse(A8).to_dict()
    assert quantized["output"] == {
        "input": "fc.input", "source": "", "path": "int8", "backend": "int8-blas",
    }  # fmt: skip
    assert [summary["layers"] for summary in document["summary"]] == [1, 1]


def test_the_samples_carry_the_inputs_of_their_dense_layers() -> None:
    path = samples.path()
    comparison = qcore.compare(path, W8, activations=path, activation_recipes=A8)
    measured = {row.tensor for row in comparison.rows if row.output is not None}
    assert measured == {"fc1.weight", "fc2.weight"}
    assert 45 < comparison.summary()[0].metrics["output_sqnr_db"] < 55


# --- which activations belong to a weight --------------------------------------------------------


def found(inputs: dict[str, Any], name: str = "fc.weight", shape: tuple[int, ...] = (6, 16)) -> Any:
    (weight,) = from_arrays({name: np.zeros(shape, np.float32)})
    ref = Activations.of(inputs).find(weight)
    return None if ref is None else ref.name


def test_the_input_is_the_one_of_the_same_layer() -> None:
    assert found({"other": normal(4, 16), "fc.input": normal(4, 16)}) == "fc.input"
    assert found({"fc.input": normal(4, 15), "other": normal(4, 16)}) is None
    assert found({"w.input": normal(16), "x": normal(16)}, "w") == "w.input"
    assert found({"fc.weight": normal(4, 16), "x": normal(16)}) == "fc.weight"


def test_a_single_tensor_is_the_input_of_all_that_have_as_many_columns() -> None:
    assert found({"x": normal(4, 16)}) == "x"
    assert found({"x": normal(4, 16), "y": normal(4, 8)}) is None
    assert found({"x": normal(4, 8)}) is None
    assert found({"ids": np.zeros((4, 16), np.int64)}) is None


def test_what_is_named_after_another_layer_is_not_taken() -> None:
    assert found({"o.input": normal(4, 16)}) is None


def test_only_matrices_have_an_input() -> None:
    assert found({"fc.input": normal(4, 16)}, shape=(6, 16, 1, 16)) is None


def test_a_weight_is_not_its_own_input(tmp_path: Path) -> None:
    one, other = tmp_path / "model.npz", tmp_path / "inputs.npz"
    np.savez(one, w=normal(16, 16))
    np.savez(other, w=normal(3, 16, seed=1))
    for path in (one, tmp_path / "." / ".." / tmp_path.name / "model.npz"):
        with pytest.raises(qcore.UsageError, match=r"^the activations fit none of the 1 tensors; "):
            qcore.compare(one, W8, activations=path)
    w = {"w": normal(16, 16)}
    with pytest.raises(qcore.UsageError, match="fit none"):
        qcore.compare(w, W8, activations=w)
    assert qcore.compare(one, W8, activations=other).rows[0].output is not None


def test_synthetic_activations_fit_every_matrix_and_are_always_the_same() -> None:
    weights = {"a": normal(4, 8), "b": normal(3, 16)}
    first, second = (compare(weights, activations="synthetic:normal") for _ in range(2))
    assert all(row.output is not None for row in first.rows)
    assert [row.metrics for row in first.rows] == [row.metrics for row in second.rows]


# --- what goes wrong -----------------------------------------------------------------------------


def test_a_recipe_that_fails_on_the_activations_leaves_the_others_alone() -> None:
    comparison = compare(activation_recipes=[A8, "symmetric granularity=group:7"])
    good, bad = comparison.rows
    assert good.error is None
    assert bad.error == (
        "'fc.weight': 'group:7': 7 does not divide axis 1 of shape (5, 16); "
        "sizes that do: 1, 2, 4, 8, 16; or add tail=short"
    )
    assert math.isnan(bad.metrics["output_sqnr_db"])
    assert bad.metrics["sqnr_db"] == good.metrics["sqnr_db"]


def test_a_recipe_that_fails_on_all_activations_empties_no_other_summary() -> None:
    weights = {**LAYER, "other": normal(3, 5)}
    good, bad = compare(
        weights, activation_recipes=[A8, "symmetric granularity=channel:9"]
    ).summary()
    assert (good.tensors, good.layers, good.failed) == (2, 1, 0)
    assert (bad.tensors, bad.layers, bad.failed) == (2, 0, 1)
    assert good.metrics["sqnr_db"] == bad.metrics["sqnr_db"]
    assert good.metrics["output_sqnr_db"] > 30
    assert math.isnan(bad.metrics["output_sqnr_db"])


def test_activations_that_are_not_finite_are_named_or_clipped() -> None:
    broken = INPUT["fc.input"].copy()
    broken[0, :2] = np.nan
    (row,) = compare(activations={"fc.input": broken}).rows
    assert row.error is not None
    assert row.error.startswith("'fc.weight': activations 'fc.input': 2 of 80 values are NaN")
    assert row.metrics["sqnr_db"] > 30
    (row,) = compare(activations={"fc.input": broken}, nonfinite="clip").rows
    assert row.error is None


def test_an_output_beyond_float32_is_an_error() -> None:
    huge = {"fc.input": np.full((2, 16), 3e38, np.float32)}
    (row,) = compare({"fc.weight": np.full((3, 16), 9, np.float32)}, activations=huge).rows
    assert row.error is not None
    assert row.error.endswith("the layer's output is beyond float32")


def test_integer_weights_are_taken_as_numbers_if_asked_for() -> None:
    weights = {"fc.weight": np.arange(96, dtype=np.int8).reshape(6, 16)}
    (row,) = compare(weights, integers=True).rows
    assert row.error is None
    assert row.output is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activations": "synthetic:laplace"}, "'synthetic:laplace' are not known; there is"),
        ({"activations": {"x": normal(3, 5)}}, "^the activations fit none of the 1 tensors; "),
        ({"activations": normal(3, 5)}, "activations are arrays by name, files, or synthetic"),
        ({"activations": [""]}, "activations are arrays by name, files, or synthetic"),
        ({"activations": None, "activation_recipes": A8}, "but no activations$"),
        ({"activation_recipes": []}, "give at least one recipe for the activations, or 'float'"),
        ({"activations": None, "metrics": "output_rel_l2"}, "'output_rel_l2' measures a layer's"),
    ],
)
def test_what_cannot_be_measured_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(qcore.UsageError, match=message):
        compare(**options)


def test_a_file_of_activations_that_cannot_be_read_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(qcore.ReadError, match="no such file"):
        compare(activations=tmp_path / "none.npz")

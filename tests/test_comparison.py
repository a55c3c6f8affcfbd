"""A comparison is what NumPy finds, tensor by tensor and recipe by recipe, in a fixed order."""

from __future__ import annotations

import dataclasses
import json
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

import qcore
from qcore import Comparison, QcoreError, ReadError, Recipe, UnavailableError, UsageError, compare
from qcore.builtin.backends import Reference
from qcore.builtin.readers.npy import NpyReader
from qcore.preparing import STANDARD_METRICS

RECIPES = [
    Recipe("symmetric", 8),
    Recipe("asymmetric", 4, granularity="channel:0"),
    Recipe("apot", 4, granularity="token", scale_format="pow2"),
    Recipe("uniform", 3, rounding="stochastic:1", observer="percentile:95"),
    Recipe("pot", 4, observer="mse"),
]


def normal(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


TENSORS = {"a": normal(6, 8), "b": normal(3, 4, 5, seed=1), "c": 100 * normal(16, seed=2)}


def by_numpy(x: NDArray[Any], values: NDArray[Any]) -> dict[str, float]:
    """The metrics by their definitions, in float64."""
    x, values = x.astype(np.float64).ravel(), values.astype(np.float64).ravel()
    error = values - x
    e2, x2 = float(np.sum(error**2)), float(np.sum(x**2))
    return {
        "sqnr_db": 10 * math.log10(x2 / e2),
        "mse": e2 / x.size,
        "rmse": math.sqrt(e2 / x.size),
        "mae": float(np.abs(error).mean()),
        "rel_l2": float(np.linalg.norm(error) / np.linalg.norm(x)),
        "nsr": e2 / x2,
        "cosine": float(x @ values / (np.linalg.norm(x) * np.linalg.norm(values))),
        "max_abs": float(np.abs(error).max()),
    }


def strict(document: Any) -> Any:
    """The document, once written as strict JSON and read again."""

    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} in JSON")

    return json.loads(json.dumps(document, allow_nan=False), parse_constant=refuse)


def test_rows_go_by_tensor_then_by_recipe_in_the_order_given() -> None:
    comparison = compare(TENSORS, RECIPES)
    assert [(row.tensor, row.recipe) for row in comparison.rows] == [
        (name, recipe) for name in TENSORS for recipe in RECIPES
    ]
    assert [case.recipe for case in comparison.cases] == RECIPES
    assert comparison.tensors == 3
    assert [summary.recipe for summary in comparison.summary()] == RECIPES


def test_a_row_says_what_was_compared() -> None:
    row = compare({"h": normal(2, 3).astype(np.float16)}, ["symmetric bits=4"]).rows[0]
    assert (row.tensor, row.source, row.shape, row.dtype) == ("h", "", (2, 3), "float16")
    assert (row.recipe, row.backend, row.error) == (Recipe("symmetric", 4), "numpy", None)
    assert row.seconds >= 0


@pytest.mark.parametrize(("backend", "digits"), [("reference", 9), ("numpy", 6)])
@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_metrics_are_those_of_numpy_in_float64(recipe: Recipe, backend: str, digits: int) -> None:
    for row in compare(TENSORS, [recipe], metrics=["mae"], backend=backend).rows:
        x = TENSORS[row.tensor]
        q = qcore.quantize(x, recipe)
        expected = by_numpy(x, q.dequantize()) | {"bits_per_weight": q.bits_per_weight}
        assert row.metrics == pytest.approx(expected, rel=10.0**-digits)
        assert row.metrics["bits_per_weight"] == q.bits_per_weight


@pytest.mark.parametrize(
    "dtype", [np.float64, np.float16, ml_dtypes.bfloat16, ">f4"], ids=lambda d: np.dtype(d).name
)
def test_tensors_of_every_floating_type_are_compared_as_float32(dtype: Any) -> None:
    x = normal(8, 8).astype(dtype)
    (row,) = compare({"x": x}, ["symmetric"]).rows
    (same,) = compare({"x": x.astype(np.float32)}, ["symmetric"]).rows
    assert row.metrics == same.metrics


def test_the_summary_pools_energies_and_not_decibels() -> None:
    # Two bits: scale 1, codes −1, 0, 1. Errors: 0.25 and 0; then 0, 0, 0.5 and 0.
    x, y = np.array([[1.0, 0.25]], np.float32), np.array([[2.0, 0.0], [1.5, 0.0]], np.float32)
    comparison = compare({"x": x, "y": y}, ["symmetric bits=2"])
    first, second = (row.metrics for row in comparison.rows)
    (summary,) = comparison.summary()
    assert (first["mse"], second["mse"]) == (0.0625 / 2, 0.25 / 4)
    assert summary.metrics["mse"] == (0.0625 + 0.25) / 6
    energy = 1 + 0.0625 + 4 + 2.25
    assert summary.metrics["nsr"] == 0.3125 / energy
    assert summary.metrics["sqnr_db"] == pytest.approx(10 * math.log10(energy / 0.3125), rel=1e-12)
    assert summary.metrics["max_abs"] == 0.5
    assert summary.metrics["bits_per_weight"] == (2 * 6 + 2 * 32) / 6
    assert (summary.tensors, summary.elements, summary.failed) == (2, 6, 0)
    assert summary.seconds == sum(row.seconds for row in comparison.rows)


def test_the_summary_of_one_tensor_is_its_row() -> None:
    comparison = compare({"x": normal(7, 9)}, RECIPES[:3])
    for row, summary in zip(comparison.rows, comparison.summary(), strict=True):
        assert summary.metrics == row.metrics


@pytest.fixture
def partly() -> Comparison:
    """One recipe fails on one tensor of three."""
    tensors = {"a": normal(4, 8), "b": normal(4, 6, seed=1), "c": normal(4, 4, seed=2)}
    return compare(tensors, ["symmetric", "symmetric granularity=group:4", "pot"])


def test_a_summary_pools_the_tensors_on_which_every_recipe_succeeded(partly: Comparison) -> None:
    (failed,) = partly.failed
    assert (failed.tensor, str(failed.recipe)) == ("b", "symmetric bits=8 granularity=group:4")
    assert failed.error == (
        "'b': 'group:4': 4 does not divide axis 1 of shape (4, 6); "
        "sizes that do: 1, 2, 3, 6; or add tail=short"
    )
    assert all(math.isnan(value) for value in failed.metrics.values())
    assert partly.tensors == 3
    assert [(s.tensors, s.elements, s.failed) for s in partly.summary()] == [
        (2, 48, 0),
        (2, 48, 1),
        (2, 48, 0),
    ]
    recipes = [case.recipe for case in partly.cases]
    whole = compare({"a": normal(4, 8), "c": normal(4, 4, seed=2)}, recipes)
    assert [s.metrics for s in partly.summary()] == [s.metrics for s in whole.summary()]


def test_a_failure_in_the_document_has_no_metrics_and_its_error(partly: Comparison) -> None:
    results = strict(partly.to_dict())["results"]
    assert [r["error"] is None for r in results] == [True] * 4 + [False] + [True] * 4
    assert set(results[4]["metrics"].values()) == {None}


def test_where_nothing_succeeded_the_summary_has_no_numbers() -> None:
    comparison = compare({"x": normal(4)}, ["symmetric granularity=channel:1"])
    (summary,) = comparison.summary()
    assert (summary.tensors, summary.elements, summary.failed) == (0, 0, 1)
    assert all(math.isnan(value) for value in summary.metrics.values())
    assert set(strict(comparison.to_dict())["summary"][0]["metrics"].values()) == {None}


RECIPE_KEYS = [
    "scheme", "options", "bits", "granularity", "rounding", "observer", "scale_format",
]  # fmt: skip
METRIC_KEYS = [
    "sqnr_db", "mse", "rmse", "rel_l2", "nsr", "cosine", "max_abs", "bits_per_weight",
]  # fmt: skip
RESULT_KEYS = [
    "tensor",
    "source",
    "shape",
    "dtype",
    "recipe",
    "activations",
    "output",
    "backend",
    "metrics",
    "nonfinite",
    "seconds",
    "error",
]
SUMMARY_KEYS = ["recipe", "activations", "metrics", "tensors", "layers", "elements", "seconds"]


def test_the_document_has_the_keys_of_the_contract() -> None:
    document = compare(TENSORS, RECIPES[:2], metrics=["mae", "clipped"]).to_dict()
    assert list(document)[:3] == ["qcore", "results", "summary"]
    assert set(document) - {"qcore", "results", "summary"} <= {"skipped", "unreadable"}
    assert list(document["qcore"]) == ["version", "plugins"]
    assert document["qcore"]["plugins"]["qcore-symmetric"] == "0.1.0"
    for result in document["results"]:
        assert list(result) == RESULT_KEYS
        assert list(result["recipe"]) == RECIPE_KEYS
        assert list(result["metrics"]) == [*METRIC_KEYS, "mae", "clipped"]
    for summary in document["summary"]:
        assert list(summary) == SUMMARY_KEYS
        assert list(summary["recipe"]) == RECIPE_KEYS
        assert list(summary["metrics"]) == [*METRIC_KEYS, "mae", "clipped"]
    assert strict(document) == document


@pytest.mark.parametrize(
    ("x", "nulls"),
    [
        (np.array([[-3.0, 1.0, 2.0, 3.0]], np.float32), {"sqnr_db"}),
        (np.zeros((2, 2), np.float32), {"sqnr_db", "rel_l2", "nsr", "cosine"}),
        (np.zeros((0, 3), np.float32), set(METRIC_KEYS)),
    ],
    ids=["exact", "zeros", "empty"],
)
def test_what_json_cannot_say_is_null(x: NDArray[np.float32], nulls: set[str]) -> None:
    comparison = compare({"x": x}, ["symmetric bits=3"])
    document = strict(comparison.to_dict())
    for part in (*document["results"], *document["summary"]):
        assert {id for id, value in part["metrics"].items() if value is None} == nulls
    assert document["results"][0]["error"] is None


def test_without_error_the_ratio_is_infinite() -> None:
    (row,) = compare({"x": np.array([[-3.0, 3.0]], np.float32)}, ["symmetric bits=3"]).rows
    assert row.metrics["sqnr_db"] == math.inf
    assert row.metrics["mse"] == row.metrics["max_abs"] == 0
    assert row.metrics["cosine"] == 1


# Failures


@dataclass(frozen=True)
class Raising(type(qcore.create("scheme", "symmetric", bits=8))):  # type: ignore[misc]
    """A scheme that cannot do what it should on negative numbers alone."""

    id: ClassVar[str] = "raising"
    where: str = "encode"

    def encode(self, blocks: Any, params: Any, rounding: Any) -> Any:
        if self.where == "encode" and blocks.max() < 0:
            raise ValueError("first line\nsecond line")
        return super().encode(blocks, params, rounding)

    def decode(self, codes: Any, params: Any) -> Any:
        values = super().decode(codes, params)
        if codes.max() < 0:
            values = {"nan": values * np.float32(np.nan), "shape": values[:1]}.get(
                self.where, values
            )
        return values


@pytest.mark.parametrize(
    ("where", "cause"),
    [
        ("encode", "ValueError: first line"),
        ("nan", "its values are not finite"),
        ("shape", "gave values of shape (1, 2); these blocks need (2, 2)"),
    ],
)
def test_a_scheme_that_fails_is_a_row_with_an_error(where: str, cause: str) -> None:
    x = normal(2, 2)
    recipes = [Recipe("symmetric"), Recipe(Raising(8, where=where), granularity="token")]  # type: ignore[arg-type]
    comparison = compare({"x": abs(x), "y": -abs(x)}, recipes, backend=Reference())
    assert [row.error is None for row in comparison.rows] == [True, True, True, False]
    error = comparison.rows[3].error
    assert error == f"'y': '{recipes[1]}' failed: {cause}"


@pytest.mark.parametrize("error", [ValueError("of all things"), ReadError("of all things")])
def test_a_reader_that_fails_is_a_row_with_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    read = NpyReader.read
    for name in ("good", "bad"):
        np.save(tmp_path / f"{name}.npy", normal(2, 2))

    def raising(self: NpyReader, info: Any) -> Any:
        if info.name == "bad":
            raise error
        return read(self, info)

    monkeypatch.setattr(NpyReader, "read", raising)
    comparison = compare([tmp_path / "bad.npy", tmp_path / "good.npy"], ["symmetric", "pot"])
    assert [row.error is None for row in comparison.rows] == [False, False, True, True]
    message = comparison.rows[0].error
    assert message is not None
    assert str(tmp_path / "bad.npy") in message
    assert "of all things" in message
    assert [s.failed for s in comparison.summary()] == [1, 1]


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("symmetric granularity=channel:7", "'x': 'channel:7': axis 7 is out of range for shape"),
        ("symmetric granularity=group:3", "'x': 'group:3': 3 does not divide axis 1 of shape"),
        ("symmetric scale_format=float16", "'x': a scale of "),
    ],
)
def test_a_recipe_that_does_not_fit_a_tensor_is_a_row_with_an_error(
    recipe: str, message: str
) -> None:
    fitting, failing = compare({"x": 1e30 * normal(2, 4)}, ["symmetric", recipe]).rows
    assert fitting.error is None
    assert failing.error is not None
    assert failing.error.startswith(message)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_counted(bad: float) -> None:
    x = normal(3, 4)
    x[1, 1:3] = bad
    good, broken = compare({"good": normal(3, 4), "x": x}, ["symmetric"]).rows
    assert good.error is None
    assert broken.error == (
        "'x': 2 of 12 values are NaN, infinite or beyond float32; "
        "clean the tensor, or pass nonfinite='clip' (--nonfinite clip)"
    )
    (clipped,) = compare({"x": x}, ["symmetric"], nonfinite="clip").rows
    assert clipped.error is None


def test_a_file_that_cannot_be_read_is_reported_beside_the_others(tmp_path: Path) -> None:
    np.save(tmp_path / "good.npy", normal(2, 2))
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY")
    comparison = compare([tmp_path / "bad.npy", tmp_path / "good.npy"], ["symmetric"])
    assert [row.tensor for row in comparison.rows] == ["good"]
    (unreadable,) = comparison.unreadable
    assert unreadable.source == str(tmp_path / "bad.npy")
    document = strict(comparison.to_dict())
    assert document["unreadable"] == [dataclasses.asdict(unreadable)]


# Progress and threads


@pytest.mark.parametrize("threads", [1, 4])
def test_progress_rises_to_its_total(threads: int) -> None:
    tensors = {**TENSORS, "long": normal(2, 70_000)}
    calls: list[tuple[int, int]] = []
    lock = threading.Lock()

    def report(done: int, total: int) -> None:
        with lock:
            calls.append((done, total))

    compare(tensors, RECIPES, progress=report, threads=threads)
    elements = sum(x.size for x in tensors.values()) * len(RECIPES)
    assert {total for _, total in calls} == {elements}
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    assert calls[-1] == (elements, elements)


def test_results_do_not_depend_on_threads() -> None:
    tensors = {"wide": normal(2, 140_000), "tall": normal(50_000, 3, seed=1), **TENSORS}
    found = [
        compare(tensors, RECIPES, metrics=["mae", "clipped"], threads=threads)
        for threads in (1, 4, None)
    ]
    for other in found[1:]:
        for ours, theirs in zip(found[0].rows, other.rows, strict=True):
            assert ours.error == theirs.error is None
            assert ours.metrics == theirs.metrics
            assert ours.stats == theirs.stats
        assert [s.metrics for s in found[0].summary()] == [s.metrics for s in other.summary()]


# What is compared


def test_metrics_asked_for_stand_beside_the_standard_ones_once() -> None:
    comparison = compare({"x": normal(2, 2)}, ["symmetric"], metrics=["clipped", "mae", "mse"])
    assert tuple(comparison.rows[0].metrics) == (*STANDARD_METRICS, "clipped", "mae")
    assert [metric.id for metric in comparison.metrics] == [*STANDARD_METRICS, "clipped", "mae"]


def test_clipped_counts_what_lies_outside_the_range() -> None:
    x = np.array([[-2.0, -0.5, 0.5, 3.0]], np.float32)
    (row,) = compare({"x": x}, ["symmetric observer=fixed:-1:1"], metrics=["clipped"]).rows
    assert row.metrics["clipped"] == 0.5


def test_files_give_matrices_and_arrays_give_all_unless_told_otherwise(tmp_path: Path) -> None:
    arrays = {"point": np.float32(1), "line": normal(4), "plane": normal(2, 2)}
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    paths = [tmp_path / f"{name}.npy" for name in arrays]

    def compared(source: Any, **options: Any) -> tuple[list[str], dict[str, int]]:
        comparison = compare(source, ["symmetric"], **options)
        return [row.tensor for row in comparison.rows], dict(comparison.skipped)

    assert compared(arrays) == (["point", "line", "plane"], {})
    assert compared(paths) == (["plane"], {"of fewer than 2 dimensions": 2})
    assert compared(paths, min_ndim=1) == (["line", "plane"], {"of fewer than 1 dimensions": 1})
    assert compared(paths, min_ndim=0) == (["point", "line", "plane"], {})
    assert compared(arrays, min_ndim=2) == (["plane"], {"of fewer than 2 dimensions": 2})
    assert compared(paths[2]) == (["plane"], {})
    assert compared(str(paths[2])) == (["plane"], {})
    assert compared(arrays, include="^p", exclude="lane") == (
        ["point"],
        {"not included": 1, "excluded": 1},
    )


def test_integers_are_compared_as_the_numbers_they_are() -> None:
    x = np.arange(-6, 6).reshape(3, 4)
    arrays = {"x": x, "y": normal(2, 2), "mask": x > 0}
    assert compare(arrays, ["symmetric"]).skipped == {"not floating point": 2}
    taken = compare(arrays, ["symmetric"], integers=True)
    assert [row.tensor for row in taken.rows] == ["x", "y", "mask"]
    (same,) = compare({"x": x.astype(np.float32)}, ["symmetric"]).rows
    assert taken.rows[0].metrics == same.metrics
    assert taken.rows[0].dtype == "int64"


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ({}, {}, "nothing to compare: no tensors"),
        (
            {"x": np.arange(3)},
            {},
            "nothing to compare: 1 not floating point; --integers takes integers",
        ),
        (
            {"x": np.zeros(3), "y": np.zeros(2), "z": np.arange(3)},
            {"min_ndim": 2, "exclude": "y"},
            "nothing to compare: 1 of fewer than 2 dimensions, 1 excluded, 1 not floating point; "
            "--min-ndim 1 takes fewer dimensions; --integers takes integers",
        ),
        ([], {}, "nothing to compare: no tensors"),
    ],
)
def test_nothing_to_compare_is_an_error_that_counts_why(
    source: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        compare(source, ["symmetric"], **options)
    assert str(caught.value) == message


@dataclass(frozen=True)
class Absent(Reference):
    """A backend that cannot run here."""

    id: ClassVar[str] = "absent"

    def available(self) -> str | None:
        return "no such device"


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"recipes": []}, UsageError, "give at least one recipe"),
        ({"recipes": ["symetric"]}, UsageError, "did you mean 'symmetric'?"),
        ({"metrics": ["maee"]}, UsageError, "unknown metric 'maee', did you mean 'mae'?"),
        ({"backend": "nunpy"}, UsageError, "unknown backend 'nunpy', did you mean 'numpy'?"),
        ({"include": "("}, UsageError, "include: '(' is no regular expression"),
        ({"nonfinite": "clipp"}, UsageError, "clip"),
        (
            {"backend": Absent()},
            UnavailableError,
            "backend 'absent' cannot run here: no such device",
        ),
    ],
)
def test_a_wrong_option_is_an_error_before_anything_is_measured(
    options: dict[str, Any], kind: type[QcoreError], message: str
) -> None:
    arguments = {"recipes": ["symmetric"], **options}
    with pytest.raises(kind) as caught:
        compare({"x": normal(2, 2)}, **arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_where_no_file_can_be_opened_the_first_error_is_raised(tmp_path: Path) -> None:
    with pytest.raises(ReadError) as caught:
        compare([tmp_path / "one.npy", tmp_path / "two.npy"], ["symmetric"])
    assert str(caught.value) == f"no such file: '{tmp_path / 'one.npy'}'"


@pytest.mark.parametrize(
    "change",
    [lambda x: x.T, lambda x: x[::-1], lambda x: np.asfortranarray(x), lambda x: x[:, ::2]],
)
def test_memory_layout_does_not_matter(change: Callable[[Any], Any]) -> None:
    x = change(normal(6, 8))
    (ours,) = compare({"x": x}, [RECIPES[1]]).rows
    (theirs,) = compare({"x": x.copy(order="C")}, [RECIPES[1]]).rows
    assert ours.metrics == theirs.metrics


def test_a_recipe_that_fails_everywhere_does_not_empty_the_rows_of_the_others() -> None:
    comparison = compare({"x": normal(4, 6)}, ["symmetric", "symmetric granularity=group:5"])
    healthy, failed = comparison.summary()
    assert (healthy.tensors, healthy.failed) == (1, 0)
    assert math.isfinite(healthy.metrics["sqnr_db"])
    assert (failed.tensors, failed.failed) == (0, 1)


def test_recipes_of_one_id_but_different_classes_are_told_apart() -> None:
    @dataclass(frozen=True)
    class Coarse(type(qcore.create("scheme", "symmetric", bits=8))):  # type: ignore[misc]
        """The symmetric scheme, on a scale twice as large."""

        def params(self, context: Any) -> Any:
            return qcore.QuantParams(2 * super().params(context).scale)

    recipes = [qcore.Recipe(Coarse(4)), qcore.Recipe("symmetric", 4)]
    coarse, fine = compare({"x": normal(8, 64)}, recipes).rows
    assert fine.metrics["sqnr_db"] > coarse.metrics["sqnr_db"] + 3

"""Whatever does the work, and however it is cut, the result is the same to the last bit."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import qcore
from qcore import Comparison, compare, distribution
from qcore.distribution import plan
from qcore.sources import TensorRef, from_arrays, from_paths
from qcore.stats_record import to_record

RECIPES = [
    "symmetric bits=4",
    "asymmetric bits=4 granularity=channel:0",
    "apot bits=4 granularity=group:32 scale_format=pow2",
    "uniform bits=3 rounding=stochastic:1 observer=percentile:95",
    "pot bits=4 observer=mse",
    "symmetric bits=8 granularity=channel:1 observer=percentile:99",
    "asymmetric bits=8 granularity=block:16:16",
    "symmetric bits=4 granularity=channel:5",  # which no tensor has
    "symmetric bits=4 granularity=group:7",  # which divides none
]
OTHERS = ["float", "asymmetric bits=8 granularity=token"]


class Here(Executor):
    """Does everything at once, as an executor far away would: pickled on both ways."""

    def submit(self, call: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        result = pickle.loads(pickle.dumps(call))(*args, **kwargs)
        future.set_result(pickle.loads(pickle.dumps(result)))
        return future


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a tensor of a test has many."""
    backend = qcore.create("backend", "numpy")
    monkeypatch.setattr(type(backend), "chunk_elements", 700)
    monkeypatch.setattr(type(backend), "grid_chunk_elements", 1500)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    bad = normal(32, 32, seed=5)
    bad[3, 4], bad[7, 7], bad[20, 1] = np.nan, np.inf, -np.inf
    tensors = {
        "large.weight": normal(96, 64),
        "empty.weight": normal(0, 8),
        "half.weight": normal(32, 64, seed=1).astype(np.float16),
        "small.weight": normal(4, 32, seed=2),
        "bad.weight": bad,
        "tiny.weight": normal(2, 2, seed=3),
    }
    save_file(tensors, path)
    save_file({f"{name.split('.')[0]}.input": normal(5, array.shape[1], seed=9)
               for name, array in tensors.items()}, tmp_path / "inputs.safetensors")  # fmt: skip
    save_file({name: (array + 0.01).astype(array.dtype) for name, array in tensors.items()},
              tmp_path / "other.safetensors")  # fmt: skip
    return path


def cut_small(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(distribution, "_LEAST", min(most, distribution._LEAST))
    monkeypatch.setattr(distribution, "_MOST", most)


def facts(comparison: Comparison) -> list[Any]:
    """All that a comparison found, but for the time it took."""
    return [
        (row.tensor, row.source, str(row.recipe), str(row.activations), row.error,
         to_record(row.stats), repr(row.output), repr(row.metrics))
        for row in comparison.rows
    ]  # fmt: skip


WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "clipped": {"nonfinite": "clip"},
    "every sum": {"metrics": ["mae", "clipped"], "nonfinite": "clip"},
    "layers": {"activations": "inputs.safetensors", "activation_recipes": OTHERS},
    "synthetic": {"activations": "synthetic:normal", "include": "small|tiny"},
    "against": {"against": "other.safetensors", "nonfinite": "clip"},
    "histograms": {"metrics": ["p99", "decile:1"], "nonfinite": "clip"},
    "reference": {"backend": "reference"},
}


@pytest.mark.parametrize("most", [1, 20_000])
@pytest.mark.parametrize("way", WAYS)
def test_any_cut_gives_what_one_thread_gives(
    file: Path, monkeypatch: pytest.MonkeyPatch, way: str, most: int
) -> None:
    monkeypatch.chdir(file.parent)
    expected = facts(compare(file, RECIPES, threads=1, **WAYS[way]))
    assert facts(compare(file, RECIPES, threads=2, **WAYS[way])) == expected
    cut_small(monkeypatch, most)
    assert facts(compare(file, RECIPES, executor=Here(), workers=3, **WAYS[way])) == expected


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_so_does_any_number_of_workers(
    file: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    expected = facts(compare(file, RECIPES, threads=1))
    cut_small(monkeypatch, 9_000)
    with ThreadPoolExecutor(workers) as pool:
        assert facts(compare(file, RECIPES, executor=pool)) == expected
        assert facts(compare(file, RECIPES, executor=pool)) == expected  # it is still open


@settings(max_examples=20, deadline=None)
@given(
    shapes=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 60)), min_size=1, max_size=5),
    most=st.integers(1, 30_000),
    workers=st.integers(1, 4),
    recipes=st.sets(st.sampled_from(RECIPES), min_size=1, max_size=3).map(sorted),
)
def test_arrays_of_any_shape_in_any_cut(
    shapes: list[tuple[int, int]], most: int, workers: int, recipes: list[str]
) -> None:
    arrays = {f"t{i}": normal(*shape, seed=i) for i, shape in enumerate(shapes)}
    expected = facts(compare(arrays, recipes, threads=1))
    with pytest.MonkeyPatch.context() as patch:
        cut_small(patch, most)
        assert facts(compare(arrays, recipes, executor=Here(), workers=workers)) == expected


def test_a_large_tensor_travels_in_pieces_and_without_its_data(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    class Weighing(Here):
        def submit(self, call: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            sizes.append(len(pickle.dumps(call)))
            return super().submit(call, *args, **kwargs)

    cut_small(monkeypatch, 2_000)
    compare(file, "symmetric bits=4", executor=Weighing(), include="large", workers=2)
    assert len(sizes) == 7  # five chunks by two, observed and measured, and what follows them
    assert max(sizes) < 3_000


def test_a_file_that_was_replaced_is_read_again(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_small(monkeypatch, 2_000)
    with ThreadPoolExecutor(1) as pool:
        before = compare(file, "symmetric bits=4", executor=pool, include="large")
        save_file({"large.weight": 2 * normal(96, 64)}, file)
        after = compare(file, "symmetric bits=4", executor=pool, include="large")
    assert after.rows[0].stats.x2 == 4 * before.rows[0].stats.x2


def test_a_tensor_that_is_gone_is_a_row_with_its_error(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_small(monkeypatch, 2_000)
    gone: list[Path] = [file]

    class Removes(Here):
        def submit(self, call: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            if gone:
                gone.pop().unlink()
            return super().submit(call, *args, **kwargs)

    found = compare(file, RECIPES[:2], executor=Removes(), workers=2)
    assert all("model.safetensors" in (row.error or "") for row in found.rows)
    assert len(found.rows) == 2 * 6


# --- the plan -------------------------------------------------------------------------------------


def refs_of(sizes: list[int], *, stored: bool) -> list[TensorRef]:
    refs = from_arrays(
        {str(i): np.broadcast_to(np.float32(0), size) for i, size in enumerate(sizes)}
    )
    if stored:
        info = qcore.TensorInfo("x", (1,), "float32", Path("x"))
        refs = [TensorRef(r.name, "x", r.shape, r.dtype, r.load, info) for r in refs]
    return refs


@given(
    sizes=st.lists(st.integers(0, 10**10), max_size=40),
    recipes=st.integers(1, 100),
    workers=st.integers(1, 64),
    stored=st.booleans(),
)
def test_a_plan_holds_every_tensor_once_in_tasks_that_are_not_too_large(
    sizes: list[int], recipes: int, workers: int, stored: bool
) -> None:
    refs = refs_of(sizes, stored=stored)
    units = plan(refs, recipes, workers)
    assert [member for unit in units for member in unit.members] == list(range(len(refs)))
    for unit in units:
        assert unit.cost == recipes * sum(refs[member].size for member in unit.members)
        if stored:
            assert unit.cost <= 2 * unit.pieces * distribution._MOST
        else:
            assert unit.pieces == 1
        assert unit.pieces == 1 or len(unit.members) == 1
    for one, following in itertools.pairwise(units):
        if one.pieces == following.pieces == 1:
            assert one.cost + following.cost > distribution._LEAST


# --- what fails -----------------------------------------------------------------------------------


class Odd(Exception):
    """One that cannot be unpickled."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


@dataclass(frozen=True)
class Blind(type(qcore.create("observer", "percentile:95"))):  # type: ignore[misc]
    """Fails on one chunk alone."""

    id: ClassVar[str] = "blind"

    def summarize(self, blocks: Any, trial: Any, previous: Any) -> Any:
        if (blocks == normal(96, 64)[40, 40]).any():
            raise Odd("cannot", "look")
        return super().summarize(blocks, trial, previous)


def test_what_a_plugin_raises_is_told_alike(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipes: Any = [qcore.Recipe("symmetric", 4, observer=Blind()), "pot bits=4"]  # type: ignore[arg-type]
    expected = facts(compare(file, recipes, threads=1))
    errors = [error for _, _, _, _, error, *_ in expected if error]
    assert any("failed: Odd: cannot look" in error for error in errors)
    cut_small(monkeypatch, 3_000)
    assert facts(compare(file, recipes, executor=Here(), workers=2)) == expected


class Fails(Executor):
    """Loses its workers at one of its tasks."""

    def __init__(self, at: int, how: str) -> None:
        self.left, self.how = at, how

    def submit(self, call: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.left -= 1
        if self.left == 0 and self.how == "refuses":
            raise RuntimeError("no workers are left")
        future: Future[Any] = Future()
        if self.left == 0 and self.how == "breaks":
            future.set_exception(RuntimeError("a process ended"))
        elif self.left == 0:
            future.cancel()
            future.set_running_or_notify_cancel()
        else:
            future.set_result(call())
        return future


@pytest.fixture(params=["refuses", "breaks", "cancels"])
def how(request: pytest.FixtureRequest) -> Iterator[str]:
    return request.param


@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize("way", ["plain", "layers", "against"])
def test_a_lost_worker_ends_the_run_and_is_no_row(
    file: Path, monkeypatch: pytest.MonkeyPatch, how: str, at: int, way: str
) -> None:
    monkeypatch.chdir(file.parent)
    cut_small(monkeypatch, 3_000)
    with pytest.raises(qcore.WorkerError, match=r"worker is gone|has cancelled"):
        compare(file, RECIPES, executor=Fails(at, how), workers=2, **WAYS[way])


def test_refs_of_files_travel(file: Path) -> None:
    refs, _ = from_paths([file])
    for ref in refs:
        assert np.array_equal(pickle.loads(pickle.dumps(ref)).load(), ref.load(), equal_nan=True)

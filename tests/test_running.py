"""Whoever is asked to work does, and results do not tell who did."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from safetensors.numpy import save_file

import qcore
from qcore import Team, UnavailableError, UsageError, Workers, compare
from qcore.builtin.processes import Processes
from qcore.running import team_of

RECIPES = [
    "symmetric bits=4",
    "uniform bits=3 rounding=stochastic:1 observer=percentile:95",
    "apot bits=4 granularity=channel:0",
    "symmetric bits=4 granularity=channel:5",  # which no tensor has
]
LARGE = (1 << 12, 1 << 12)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Large enough for a tensor to be cut, with nothing made smaller."""
    random = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("runs") / "model.safetensors"
    tensors = {"large.weight": random.standard_normal(LARGE, np.float32).astype(np.float16)}
    for i in range(3):
        tensors[f"small{i}.weight"] = random.standard_normal((64, 64), np.float32)
    save_file(tensors, path)
    return path


@pytest.fixture(scope="module")
def expected(file: Path) -> list[Any]:
    return facts(compare(file, RECIPES, threads=1))


def facts(comparison: qcore.Comparison) -> list[Any]:
    return [(row.tensor, str(row.recipe), row.error, repr(row.stats)) for row in comparison.rows]


@pytest.mark.parametrize("count", [1, 2])
def test_processes_find_what_one_thread_finds(file: Path, expected: list[Any], count: int) -> None:
    assert facts(compare(file, RECIPES, executor="processes", workers=count)) == expected


def test_so_does_any_executor_and_it_is_left_open(file: Path, expected: list[Any]) -> None:
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        assert facts(compare(file, RECIPES, executor=pool)) == expected
        assert pool.submit(int, "7").result() == 7
    with ThreadPoolExecutor(3) as threads:
        assert facts(compare(file, RECIPES, executor=threads)) == expected


@pytest.mark.parametrize("executor", [None, "threads"])
def test_threads_are_no_team(executor: str | None) -> None:
    with team_of(executor, None) as team:
        assert team is None


def test_an_executor_is_taken_for_as_many_workers_as_it_has_or_as_are_said() -> None:
    with ThreadPoolExecutor(3) as pool:
        with team_of(pool, None) as team:
            assert team is not None
            assert (team.executor, team.size()) == (pool, 3)
        with team_of(pool, 7) as team:
            assert team is not None
            assert team.size() == 7


def test_workers_are_made_from_their_spec_or_given() -> None:
    for given in ("processes", Processes()):
        with team_of(given, 1) as team:
            assert isinstance(team, Team)


@dataclass(frozen=True)
class Absent(Workers):
    id: ClassVar[str] = "absent"

    def available(self) -> str:
        return "it is not plugged in"

    def open(self, count: int | None) -> Any:
        raise AssertionError


def test_what_cannot_work_is_refused() -> None:
    tensors = {"a": np.ones((2, 2), np.float32)}
    with pytest.raises(UnavailableError, match="'absent' cannot be had here: it is not plugged in"):
        compare(tensors, RECIPES, executor=Absent())
    with pytest.raises(qcore.UnknownIdError, match="unknown executor 'process', did you mean"):
        compare(tensors, RECIPES, executor="process")
    with pytest.raises(UsageError, match="executor=3 is no executor"):
        compare(tensors, RECIPES, executor=3)  # type: ignore[arg-type]


def test_a_worker_that_dies_ends_the_run_with_a_way_out(file: Path, tmp_path: Path) -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:

        class Kills:
            def begins(self, refs: Any, team: Any) -> None:
                pool.submit(int)
                for process in pool._processes.values():
                    process.kill()

            def rows(self, ref: Any, rows: Any) -> None:
                pass

        with pytest.raises(qcore.WorkerError, match="a worker is gone") as caught:
            compare(file, RECIPES, executor=pool, watch=Kills())
    assert "\n" not in str(caught.value)
    assert "go on with --resume" in str(caught.value)

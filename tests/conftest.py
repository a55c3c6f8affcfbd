"""What all tests share: one thread for BLAS, and the flag that rewrites the golden files."""

from __future__ import annotations

import os

import pytest

# Before NumPy is imported. Tests run side by side, one for each processor: more threads would wait
# for each other, and OpenBLAS's do so at full speed.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite tests/golden/, and fail to say so"
    )

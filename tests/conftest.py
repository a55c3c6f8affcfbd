"""What all tests share: one thread for BLAS, how much hypothesis tries, and the flag that rewrites
the golden files.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# There are a hundred and forty laws: `--hypothesis-profile=default` tries each for longer.
settings.register_profile("short", max_examples=50)
settings.load_profile("short")

# Before NumPy is imported. Tests run side by side, one for each processor: more threads would wait
# for each other, and OpenBLAS's do so at full speed.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite tests/golden/, and fail to say so"
    )

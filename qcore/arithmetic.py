"""NumPy as chunks want it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

_BUFFER = 512
"""Elements in NumPy's own buffers. With its default of 8192, a scale (n, 1) is first copied out for
every element of a row; with buffers no longer than a row or two it is used where it is, and what
converts a dtype on the way is faster too."""


@contextmanager
def chunk_arithmetic() -> Iterator[None]:
    """No warnings, as overflow and NaN are looked for afterwards; and small buffers."""
    with np.errstate(all="ignore"):  # which restores the buffers' size too
        np.setbufsize(_BUFFER)
        yield

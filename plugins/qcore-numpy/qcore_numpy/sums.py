"""Error sums in float32 by rows of a few thousand, added up in float64."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from qcore import ErrorStats
from qcore_numpy.buffers import BUFFERS

_ROW = 4096
"""Short enough that float32 keeps about six digits, long enough to be fast."""

_FAINT = 2.0**-78
"""A mean square below this may have lost errors to float32's underflow."""


def sum_errors(
    x: NDArray[np.float32], values: NDArray[np.float32], sums: Collection[str]
) -> ErrorStats | None:
    """As `qcore.measure_errors`, to about six digits; Σx² and Σe² always, as they tell whether
    float32 is enough.

    Args:
        x: (n, b) float32, compact.
        values: (n, b) float32, in the memory order of `x`; overwritten.
        sums: which sums to compute.

    Returns:
        None where squares leave the range of float32.
    """
    signal = x.ravel(order="K")
    error = np.subtract(values, x, out=values).ravel(order="K")
    x2, e2 = _dot(signal, signal), _dot(error, error)
    lost = e2 < _FAINT * x.size and bool(error.any())
    if lost or not _FAINT * x.size <= x2 < math.inf or not e2 < math.inf:
        return None
    return ErrorStats(
        count=x.size,
        x2=x2,
        e2=e2,
        xe=_dot(signal, error) if "xe" in sums else math.nan,
        abs_e=_absolute_sum(error) if "abs_e" in sums else math.nan,
        max_e=float(max(error.max(), -error.min())) if "max_e" in sums else math.nan,
        clipped=math.nan,
    )


def _absolute_sum(error: NDArray[np.float32]) -> float:
    magnitude = np.abs(error, out=BUFFERS.flat("magnitude", error.size, np.float32))
    return float(magnitude.sum())


def _dot(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    whole = a.size - a.size % _ROW
    rows = np.vecdot(a[:whole].reshape(-1, _ROW), b[:whole].reshape(-1, _ROW))
    return float(rows.sum(dtype=np.float64)) + float(np.vecdot(a[whole:], b[whole:]))

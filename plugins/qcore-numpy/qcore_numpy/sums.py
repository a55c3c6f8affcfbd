"""Error sums in float32 by rows of a few thousand, added up in float64."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qcore import ErrorStats
from qcore_numpy.buffers import BUFFERS

_ROW = 4096
"""Short enough that float32 keeps about six digits, long enough to be fast."""

_FAINT = 2.0**-78
"""A mean square below this may have lost errors to float32's underflow."""

_CANCELLED = 2.0**-6


class ErrorSums:
    """As `qcore.measure_errors`, to about six digits, over pieces added one by one.

    The histograms are the reference's own, of errors in float64.
    """

    def __init__(self, sums: Collection[str]) -> None:
        self._sums = sums
        self._count = 0
        self._detail = ErrorStats()
        self._x2 = self._e2 = self._xy = self._y2 = self._abs_e = self._max_e = 0.0

    def add(self, x: NDArray[np.float32], values: NDArray[np.float32]) -> bool:
        """Add a piece.

        Args:
            x: float32, compact.
            values: float32, of the shape of `x`; overwritten if they are in the buffer "t".

        Returns:
            False where squares leave the range of float32: the sums are then of no use.
        """
        order: Literal["C", "F"] = "C" if x.flags.c_contiguous else "F"
        flat = x.ravel(order), values.ravel(order)
        detail = ErrorStats(count=x.size).with_histograms(*flat, self._sums)
        error = np.subtract(values, x, out=BUFFERS.like(x, "t", np.float32))
        signal_rows, error_rows = _rows(x), _rows(error)
        x2, e2 = _dot(signal_rows, signal_rows), _dot(error_rows, error_rows)
        faint = _FAINT * x.size
        lost = (x2 < faint and x.any()) or (e2 < faint and error.any())
        if lost or not (x2 < math.inf and e2 < math.inf):
            return False
        if not {"xy", "y2"}.isdisjoint(self._sums):
            # Two sums from one pass; where they cancel, as under heavy clipping, little is left.
            xe = _dot(signal_rows, error_rows)
            y2 = x2 + 2 * xe + e2
            if y2 < _CANCELLED * (x2 + e2):
                return False
            self._xy += x2 + xe
            self._y2 += y2
        self._count += x.size
        self._detail = self._detail.merge(detail)
        self._x2 += x2
        self._e2 += e2
        if "max_e" in self._sums:
            self._max_e = max(self._max_e, float(error.max()), -float(error.min()))
        if "abs_e" in self._sums:
            magnitude = np.abs(error, out=BUFFERS.like(error, "magnitude", np.float32))
            self._abs_e += float(magnitude.sum())
        return True

    def stats(self) -> ErrorStats:
        """The sums so far, `clipped` aside; those that were not asked for are NaN."""
        return ErrorStats(
            count=self._count,
            x2=self._x2 if "x2" in self._sums else math.nan,
            e2=self._e2 if "e2" in self._sums else math.nan,
            xy=self._xy if "xy" in self._sums else math.nan,
            y2=self._y2 if "y2" in self._sums else math.nan,
            abs_e=self._abs_e if "abs_e" in self._sums else math.nan,
            max_e=self._max_e if "max_e" in self._sums else math.nan,
            clipped=0.0 if "clipped" in self._sums else math.nan,
            errors=self._detail.errors,
            magnitudes=self._detail.magnitudes,
        )


Rows = tuple[NDArray[np.float32], ...]


def _rows(array: NDArray[np.float32]) -> Rows:
    """The elements of a compact array as rows of about `_ROW`, and the rest."""
    flat = array.ravel(order="K")
    length = array.shape[-1] if array.flags.c_contiguous else array.shape[0]
    for together in (16, 8, 4, 2, 1):
        row = together * length
        if _ROW // 8 <= row <= 2 * _ROW and flat.size % row == 0:
            return (flat.reshape(-1, row),)
    whole = flat.size - flat.size % _ROW
    return flat[:whole].reshape(-1, _ROW), flat[whole:].reshape(1, -1)


def _dot(a: Rows, b: Rows) -> float:
    return sum(
        float(np.vecdot(x, y).sum(dtype=np.float64)) for x, y in zip(a, b, strict=True) if x.size
    )

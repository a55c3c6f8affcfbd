"""Central moments up to the fourth, of values and of parts put together: mean, deviation, skew,
kurtosis.

Moments about each part's own mean are what merges without loss, however large the mean is beside
the deviation. The formulas are Pébay's (Formulas for Robust, One-Pass Parallel Computation of
Covariances and Arbitrary-Order Statistical Moments, SAND2008-6212), for any number of parts:
Mₚ = Σᵢ Σₖ C(p, k) δᵢᵏ Mₚ₋ₖ,ᵢ, where δᵢ is part i's mean less the mean of all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

_PIECE = 1 << 13
"""Elements summed at once: too few for a BLAS to share among threads, so that the sums are the same
to the last bit however many it has."""

_PIECES = 4
"""So many pieces side by side are still in cache."""


@dataclass(frozen=True)
class Moments:
    """Of `count` values x, in float64.

    Attributes:
        count: how many there are.
        mean: their mean; 0 without values.
        m2: Σ(x − mean)². m3: Σ(x − mean)³. m4: Σ(x − mean)⁴.
    """

    count: int = 0
    mean: float = 0.0
    m2: float = 0.0
    m3: float = 0.0
    m4: float = 0.0

    @classmethod
    def of(cls, values: NDArray[np.float32]) -> Self:
        """The moments of finite values along one axis."""
        whole = values.size // _PIECE * _PIECE
        rows, rest = values[:whole].reshape(-1, _PIECE), values[None, whole:]
        parts = [_of_rows(rows[i : i + _PIECES]) for i in range(0, len(rows), _PIECES)]
        return cls._together(np.concatenate([*parts, _of_rows(rest)], axis=1))

    @classmethod
    def merged(cls, parts: Iterable[Self]) -> Self:
        """The moments of all parts together."""
        columns = [(part.count, part.mean, part.m2, part.m3, part.m4) for part in parts]
        return cls._together(np.array(columns, np.float64).T)

    @classmethod
    def _together(cls, parts: NDArray[np.float64]) -> Self:
        """From the rows count, mean, m2, m3 and m4, a column for each part."""
        parts = parts[:, parts[0] > 0] if parts.size else np.empty((5, 0))
        if not parts.size:
            return cls()
        n, means, m2, m3, m4 = parts
        count = n.sum()
        mean = means[0] + (n * (means - means[0])).sum() / count  # exact for equal means
        d = means - mean
        return cls(
            int(count),
            float(mean),
            float((m2 + n * d**2).sum()),
            float((m3 + 3 * d * m2 + n * d**3).sum()),
            float((m4 + 4 * d * m3 + 6 * d**2 * m2 + n * d**4).sum()),
        )

    @property
    def deviation(self) -> float:
        """The standard deviation √(m2/n); NaN without values."""
        return math.sqrt(self.m2 / self.count) if self.count else math.nan

    @property
    def skew(self) -> float:
        """(m3/n) / deviation³; NaN where nothing varies."""
        return math.sqrt(self.count) * self.m3 / self.m2**1.5 if self.m2 else math.nan

    @property
    def kurtosis(self) -> float:
        """The excess: (m4/n) / deviation⁴ − 3, which is 0 for normal data; NaN likewise."""
        return self.count * self.m4 / self.m2**2 - 3 if self.m2 else math.nan


def _of_rows(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """The moments of each row, as columns."""
    n = rows.shape[1]
    if not n:
        return np.zeros((5, len(rows)))
    d = rows.astype(np.float64)
    means = d.mean(axis=1)
    d -= means[:, None]
    d2 = d * d
    sums: tuple[NDArray[Any], ...] = (np.vecdot(d, d), np.vecdot(d2, d), np.vecdot(d2, d2))
    return np.stack([np.full(len(rows), float(n)), means, *sums])

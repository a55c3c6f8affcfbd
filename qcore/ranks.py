"""Which element a percentile is."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal


def nearest_rank(percent: float, count: int) -> int:
    """The least rank with at least `percent` of `count` elements at or below it, counted from 1.

    In Decimal: in float 99.9 / 100 · 1000 is above 999.
    """
    exact = Decimal(str(percent)) * count / 100
    return int(exact.to_integral_value(ROUND_CEILING))

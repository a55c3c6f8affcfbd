"""NormalFloat levels for qcore: x ≈ scale · a quantile of the normal distribution."""

from __future__ import annotations

import qcore
from qcore_normal_float.scheme import NormalFloat


@qcore.hookimpl
def qcore_schemes() -> list[type[NormalFloat]]:
    return [NormalFloat]

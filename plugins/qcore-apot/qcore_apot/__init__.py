"""Additive power-of-two levels for qcore: x ≈ ± scale · Σ 2^−i."""

from __future__ import annotations

import qcore
from qcore_apot.scheme import AdditivePowerOfTwo


@qcore.hookimpl
def qcore_schemes() -> list[type[AdditivePowerOfTwo]]:
    return [AdditivePowerOfTwo]

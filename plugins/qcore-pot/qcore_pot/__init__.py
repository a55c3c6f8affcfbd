"""Power-of-two levels for qcore: x ≈ ± scale · 2^−i."""

from __future__ import annotations

import qcore
from qcore_pot.scheme import PowerOfTwo


@qcore.hookimpl
def qcore_schemes() -> list[type[PowerOfTwo]]:
    return [PowerOfTwo]

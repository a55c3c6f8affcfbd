"""Asymmetric codes for qcore: x ≈ scale · (code − zero_point)."""

from __future__ import annotations

import qcore
from qcore_asymmetric.scheme import Asymmetric


@qcore.hookimpl
def qcore_schemes() -> list[type[Asymmetric]]:
    return [Asymmetric]

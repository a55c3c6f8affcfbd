"""Symmetric codes for qcore: x ≈ scale · code."""

from __future__ import annotations

import qcore
from qcore_symmetric.scheme import Symmetric


@qcore.hookimpl
def qcore_schemes() -> list[type[Symmetric]]:
    return [Symmetric]

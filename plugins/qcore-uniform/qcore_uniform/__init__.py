"""Evenly spaced codes for qcore: x ≈ lo + scale · code."""

from __future__ import annotations

import qcore
from qcore_uniform.scheme import Uniform


@qcore.hookimpl
def qcore_schemes() -> list[type[Uniform]]:
    return [Uniform]

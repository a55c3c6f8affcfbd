"""Exact int8 matrix products for qcore, from float32 BLAS."""

from __future__ import annotations

import qcore
from qcore_int8.backend import Int8Blas


@qcore.hookimpl
def qcore_backends() -> list[type[Int8Blas]]:
    return [Int8Blas]

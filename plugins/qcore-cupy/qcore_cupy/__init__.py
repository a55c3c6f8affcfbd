"""Quantization kernels and int8 products for qcore on NVIDIA GPUs, through CuPy."""

from __future__ import annotations

import qcore
from qcore_cupy.backend import CupyBackend


@qcore.hookimpl
def qcore_backends() -> list[type[CupyBackend]]:
    return [CupyBackend]

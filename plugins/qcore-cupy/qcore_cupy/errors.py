"""Error sums on the device: one set for each group of threads, added up in a fixed order."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np

from qcore import ErrorStats
from qcore_cupy.arguments import Structure
from qcore_cupy.device import Device
from qcore_cupy.layout import Laid

ORDER = ("x2", "e2", "xy", "y2", "abs_e", "max_e", "clipped")
"""The sums as the kernels number them, in errors.cuh."""


def measure_scheme(
    device: Device, blocks: Laid, scheme: Structure, sums: Collection[str]
) -> ErrorStats:
    """The sums for decode(encode(blocks))."""
    partial, wanted = _room(device, blocks), _wanted(sums)
    if blocks.groups:
        arguments = (blocks.structure, scheme, blocks.flat, wanted, partial)
        device.launch("measure_scheme", blocks.groups, *arguments)
    return _stats(device, blocks, partial, sums)


def measure_values(device: Device, blocks: Laid, values: Any, sums: Collection[str]) -> ErrorStats:
    """The sums for values that lie as the blocks do, float32 or wider; `clipped` is not counted."""
    partial, wanted = _room(device, blocks), _wanted(sums)
    if values.dtype != np.float32:
        values = values.astype(np.float64)
    if blocks.groups:
        arguments = (blocks.structure, blocks.flat, values, wanted, partial)
        device.launch(f"measure_{values.dtype}", blocks.groups, *arguments)
    return _stats(device, blocks, partial, set(sums) - {"clipped"})


def _room(device: Device, blocks: Laid) -> Any:
    return device.xp.empty((blocks.groups, len(ORDER)), np.float64)


def _wanted(sums: Collection[str]) -> int:
    return sum(1 << place for place, name in enumerate(ORDER) if name in sums)


def _stats(device: Device, blocks: Laid, partial: Any, sums: Collection[str]) -> ErrorStats:
    rows = device.download(partial)
    found = {
        name: float(column.max(initial=0.0) if name == "max_e" else column.sum())
        for name, column in zip(ORDER, rows.T, strict=True)
    }
    kept: dict[str, Any] = {
        name: value if name in sums else math.nan for name, value in found.items()
    }
    return ErrorStats(count=int(blocks.flat.size), **kept)

"""Schemes that the kernels know: integers and levels, with params as documented."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from qcore import Grid, GridQuantizer, IntegerGrid, LevelGrid, Quantizer, QuantParams
from qcore_cupy.arguments import SCHEME, Structure
from qcore_cupy.device import Device
from qcore_cupy.layout import Laid
from qcore_cupy.rules import Rule

_SLACK = 2.0**-20
"""How far beyond the end of a level grid nothing counts as clipped, over the largest unit."""

_DTYPES = {"scale": np.float32, "zero_point": np.int32, "offset": np.float32}


def known_grid(quantizer: Quantizer) -> Grid | None:
    """The grid of a scheme, where that is all there is to it; otherwise None."""
    if not isinstance(quantizer, GridQuantizer):
        return None
    own = ("encode", "decode", "clipped")
    if any(getattr(type(quantizer), name) is not getattr(GridQuantizer, name) for name in own):
        return None
    grid = quantizer.grid
    if type(grid) is IntegerGrid:
        limits, (low, high) = np.iinfo(grid.code_dtype), grid.code_range
        return grid if limits.min <= low and high <= limits.max else None
    return grid if type(grid) is LevelGrid else None


def knows(grid: Grid, params: QuantParams) -> bool:
    """Whether the params are of the documented dtypes, and the grid takes them."""
    if isinstance(grid, LevelGrid) and params.zero_point is not None:
        return False  # the grid itself says so
    present = params.fields()
    return all(present[name].dtype == dtype for name, dtype in _DTYPES.items() if name in present)


def scheme_for(
    device: Device, grid: Grid, params: QuantParams, blocks: Laid, rule: Rule | None = None
) -> Structure:
    """What the kernels are told of a scheme.

    Args:
        device: theirs.
        grid: known.
        params: a row for each block, or one for all; of the host or of the device.
        blocks: what it is for.
        rule: how to round, where anything is rounded.
    """
    rows = {
        name: None if (field := getattr(params, name)) is None else _rows(device, field, blocks)
        for name in _DTYPES
    }
    rule = rule or Rule(0)
    u = None if rule.u is None else blocks.alike(device, rule.u)
    rounding = {"rule": rule.code, "u": u, "seed": rule.seed, "position": rule.position}
    return Structure(SCHEME, rows | _grid_fields(device, grid) | rounding)


def _rows(device: Device, field: Any, blocks: Laid) -> Any:
    xp = device.xp if device.holds(field) else np
    return device.upload(xp.broadcast_to(field, (blocks.shape[0], 1)))


def _grid_fields(device: Device, grid: Grid) -> dict[str, Any]:
    low, high = grid.code_range
    fields: dict[str, Any] = {"low": low, "high": high}
    if isinstance(grid, LevelGrid):
        tables = (grid.units.tobytes(), grid.cuts.tobytes())
        units, cuts = (_table(device, device.current, table) for table in tables)
        slack = grid.largest * _SLACK
        ends = grid.values[0] - slack, grid.values[-1] + slack
        with np.errstate(over="ignore"):
            clip_low, clip_high = (float(end) for end in np.array(ends).astype(np.float32))
        fields |= {"units": units, "cuts": cuts, "count": len(grid.values)}
    else:
        clip_low, clip_high = low - 0.5, high + 0.5
    return fields | {"clip_low": clip_low, "clip_high": clip_high}


@functools.lru_cache(maxsize=64)
def _table(device: Device, current: int, numbers: bytes) -> Any:
    """Some float64 on the current GPU. They go by their bytes: 0.0 and -0.0 are equal."""
    table = device.upload(np.frombuffer(numbers))
    device.finish()
    return table

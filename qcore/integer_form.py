"""Quantized tensors as integer matrices, where their grid and their blocks allow it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.errors import UsageError
from qcore.grids import Grid, IntegerGrid
from qcore.interfaces.grid_quantizer import GridQuantizer
from qcore.interfaces.products import AffineRows
from qcore.qtensor import QuantizedTensor

_SHORTEST_GROUP = 8
"""Shorter runs of one scale are not worth an integer product each."""


def obstacle(tensor: QuantizedTensor) -> str | None:
    """Why a tensor cannot be multiplied as integers, in a few words; None if it can."""
    quantizer = tensor.recipe.parts.quantizer
    if not isinstance(quantizer, GridQuantizer):
        return f"'{quantizer.id}' is no grid"
    if type(quantizer).decode is not GridQuantizer.decode:
        return f"'{quantizer.id}' decodes in its own way"
    if digit_count(quantizer.grid) is None:
        return (
            f"the levels of '{quantizer}' at {quantizer.bits} bits span more than 16-bit integers"
        )
    if tensor.params.extra:
        return f"'{quantizer.id}' stores more than scale, zero point and offset"
    if tensor.params.zero_point is not None and quantizer.grid.step != 1:
        return f"'{quantizer.id}' has a zero point between its levels"
    depth, group = tensor.layout.shape[-1], tensor.layout.tile[-1]
    if group < min(depth, _SHORTEST_GROUP):
        return f"'{tensor.recipe.granularity}' has a scale for every {_inputs(group)}"
    return None


def _inputs(count: int) -> str:
    return "input" if count == 1 else f"{count} inputs"


def affine_rows(tensor: QuantizedTensor) -> AffineRows:
    """A tensor (…, K) as a matrix of integers, all axes but the last together.

    Raises:
        UsageError: it cannot be; `obstacle` says why.
    """
    why_not = obstacle(tensor)
    quantizer = tensor.recipe.parts.quantizer
    if why_not is not None or not isinstance(quantizer, GridQuantizer):
        raise UsageError(f"no integer product: {why_not}")
    codes = tensor.codes.reshape(math.prod(tensor.layout.shape[:-1]), tensor.layout.shape[-1])
    params = tensor.params
    step = quantizer.grid.step
    scale = _per_row(tensor, params.scale) * step
    constant = None
    if params.zero_point is not None and params.zero_point.any():
        constant = -scale * _per_row(tensor, params.zero_point)
    if params.offset is not None:
        offset = _per_row(tensor, params.offset)
        constant = offset if constant is None else constant + offset
    return AffineRows(_digits(quantizer.grid, codes), scale, constant, tensor.layout.tile[-1])


def _per_row(tensor: QuantizedTensor, field: NDArray[Any]) -> NDArray[np.float64]:
    """A field of the params as (rows or 1, groups)."""
    layout = tensor.layout
    blocks = field.astype(np.float64).reshape(layout.grid)
    groups = layout.grid[-1]
    if blocks.size == groups:
        return blocks.reshape(1, groups)
    for axis, (extent, length) in enumerate(zip(layout.tile, layout.shape[:-1], strict=False)):
        blocks = np.repeat(blocks, extent, axis=axis).take(range(length), axis=axis)
    return blocks.reshape(-1, groups)


def digit_count(grid: Grid) -> int | None:
    """How many int8 or uint8 digits the integers of a grid need: 1 or 2; None if it has none."""
    if isinstance(grid, IntegerGrid):
        low, high = grid.code_range
    else:
        whole = grid.multiples()
        if whole is None:
            return None
        low, high = int(whole[0]), int(whole[-1])
    if (low >= -128 and high <= 127) or (low >= 0 and high <= 255):
        return 1
    return 2 if low >= -(1 << 15) and high < 1 << (15 if low < 0 else 16) else None


def _digits(grid: Grid, codes: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """The integers behind codes in base 256, the lowest digit first."""
    if isinstance(grid, IntegerGrid):  # a code is its own integer
        integers, (low, high) = codes, grid.code_range
    else:
        whole = grid.multiples()
        assert whole is not None  # there is no obstacle
        low, high = int(whole[0]), int(whole[-1])
        integers = whole[codes.astype(np.intp) - grid.code_range[0]]
    top = np.int8 if low < 0 or high <= 127 else np.uint8
    if digit_count(grid) == 1:
        return (integers.astype(top, copy=False),)
    return (integers & 0xFF).astype(np.uint8), (integers >> 8).astype(top)

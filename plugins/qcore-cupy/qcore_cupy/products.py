"""Exact integer products: the device's int8 product, and what restores the integers behind it.

With u = s + c on both sides, c = 128 for what was uint8 and 0 for int8, L elements long,

    Σ u·v = Σ s·t + c_v·Σ s + c_u·Σ t + L·c_u·c_v

so what a product of the recentred integers lacks is one number for each row, and one a column.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qcore_cupy.depth import Factor, Piece
from qcore_cupy.device import Device
from qcore_cupy.layout import Laid


def product(device: Device, left: Factor, right: Factor, dtype: np.dtype[Any]) -> Any:
    """Left · rightᵀ, (M, N), exactly.

    Args:
        device: where.
        left: M rows, one span.
        right: N rows, padded, the same span.
        dtype: int32 or int64, which holds every sum.
    """
    return span_product(device, left, right, 0, dtype)


def span_product(
    device: Device, left: Factor, right: Factor, span: int, dtype: np.dtype[Any]
) -> Any:
    """The part of a product that comes from one span of K."""
    shape = left.rows, right.rows
    pieces = [piece for piece in left.pieces if piece.span == span]
    if not pieces or 0 in shape:
        return device.xp.zeros(shape, dtype)
    narrow = piece_product(device, left, right, pieces[0])
    lacking = lacks(left, right, span)
    complete = len(pieces) == 1 and lacking[0] is None and lacking[1] is None
    if complete and narrow.shape == shape and dtype == np.int32:
        return narrow
    out = device.xp.empty(shape, dtype)
    for number, piece in enumerate(pieces):
        if number:
            narrow, lacking = piece_product(device, left, right, piece, narrow), (None, None)
        laid = Laid(narrow, turned=False)
        arguments = (laid.structure, narrow, *lacking, number, right.rows, out)
        device.launch(f"restore_{dtype}", laid.groups, *arguments)
    return out


def piece_product(
    device: Device, left: Factor, right: Factor, piece: Piece, out: Any = None
) -> Any:
    """The product of recentred integers over one piece of K, (M, padded N) int32."""
    if out is None:
        out = device.xp.empty((left.rows, right.matrix.shape[0]), np.int32)
    device.multiply(left.matrix, right.matrix, piece.at, piece.size, out)
    return out


def lacks(left: Factor, right: Factor, span: int) -> tuple[Any, Any]:
    """What recentring took from the sums over a span: (M,) and (N,) int64, or None for nothing."""
    rows = columns = None
    if right.centre:
        rows = left.sums[:, span] * right.centre
        rows = rows + left.length(span) * left.centre * right.centre
    if left.centre:
        columns = right.sums[:, span] * left.centre
    return rows, columns

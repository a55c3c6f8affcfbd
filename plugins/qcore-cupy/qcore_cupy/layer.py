"""Quantized linear layers: integer products, and all that follows, in float64 on the device."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from qcore import AffineRows, Epilogue, NonFiniteError, PreparedWeights, Requantize
from qcore_cupy.arguments import LAYER, Structure
from qcore_cupy.depth import Factor
from qcore_cupy.device import Device
from qcore_cupy.layout import Laid
from qcore_cupy.products import lacks, piece_product, span_product
from qcore_cupy.quantization import codes_of
from qcore_cupy.rules import rule_of

_TILE_ELEMENTS = 1 << 24
"""Outputs, or inputs, that are on the device at a time."""


@dataclass(frozen=True, eq=False)
class Side:
    """Some rows of one matrix of a layer, on the device.

    Attributes:
        digits: the integers, in base 256, the lowest digit first.
        scale: (R or 1, G or 1) float64.
        constant: likewise, or None.
    """

    digits: tuple[Factor, ...]
    scale: Any
    constant: Any

    @classmethod
    def of(
        cls,
        device: Device,
        matrix: AffineRows,
        spans: Sequence[slice],
        rows: slice = slice(None),
        *,
        pad_rows: bool = False,
    ) -> Self:
        """Lay out some rows of a matrix, cut along K at `spans`."""
        scale, constant = (
            None if field is None else device.upload(field[rows] if len(field) > 1 else field)
            for field in (matrix.scale, matrix.constant)
        )
        digits = (Factor.of(device, d[rows], spans, pad_rows=pad_rows) for d in matrix.digits)
        return cls(tuple(digits), scale, constant)

    @property
    def rows(self) -> int:
        return self.digits[0].rows

    @property
    def spans(self) -> tuple[slice, ...]:
        """The spans of K."""
        return self.digits[0].spans

    @cached_property
    def sums(self) -> Any:
        """Σ of the integers over each span, (R, G) float64, exact."""
        return sum(256.0**power * digit.totals for power, digit in enumerate(self.digits))


def layer(device: Device, x: AffineRows, w: PreparedWeights, epilogue: Epilogue, on: bool) -> Any:
    """The output of a layer, (M, N) of the epilogue's dtype.

    Args:
        device: where.
        x: (M, K), of the host or of the device.
        w: (N, K); its data are a `Side`, cut at its own spans.
        epilogue: what follows the product.
        on: whether the output stays on the device.
    """
    shape, spans = (x.shape[0], w.rows.shape[0]), w.spans(x)
    out = (device.xp if on else np).empty(shape, epilogue.dtype)
    weights = w.data
    if len(spans) != len(w.rows.spans):  # cut by the scales of x, which nobody prepared
        weights = Side.of(device, w.rows, spans, pad_rows=True)
    bias = None if epilogue.bias is None else device.upload(epilogue.bias)
    height = max(1, _TILE_ELEMENTS // max(1, *shape[1:], x.shape[1]))
    for first in range(0, shape[0] if shape[1] else 0, height):
        rows = slice(first, first + height)
        y = outputs(device, Side.of(device, x, spans, rows), weights, bias, epilogue.relu)
        if epilogue.requantize is not None:
            y = requantized(device, y, epilogue.requantize, first * shape[1])
        out[rows] = y if on else device.download(y)
    return out


def outputs(device: Device, x: Side, w: Side, bias: Any, relu: bool) -> Any:
    """relu(x̂ · ŵᵀ + bias), (M, N) float32."""
    xp, shape = device.xp, (x.rows, w.rows)
    if not x.spans:  # no inputs
        y = xp.zeros(shape) + (0.0 if bias is None else bias)
        return (xp.maximum(y, 0) if relu else y).astype(np.float32)
    y = xp.empty(shape, np.float32)
    passes = list(itertools.product(range(len(x.spans)), enumerate(x.digits), enumerate(w.digits)))
    total = xp.empty(shape, np.float64) if len(passes) > 1 else None
    shares = _shares(constants(device, x, w), len(passes))
    narrow = None
    for number, (span, (i, a), (j, b)) in enumerate(passes):
        pieces = [piece for piece in a.pieces if piece.span == span]
        if len(pieces) == 1:
            sums = narrow = piece_product(device, a, b, pieces[0], narrow)
            row_sums, column_sums = lacks(a, b, span)
        else:
            sums, row_sums, column_sums = span_product(device, a, b, span, _INT64), None, None
        fields = {
            "columns": shape[1],
            "row_sums": row_sums,
            "column_sums": column_sums,
            "power": 256.0 ** (i + j),
            "row_scale": _of_span(x.scale, span),
            "row_step": _step(x.scale),
            "column_scale": _of_span(w.scale, span),
            "column_step": _step(w.scale),
            "total": total,
            "adds": int(number > 0),
            "bias": bias,
            "relu": int(relu),
            "out": y if number == len(passes) - 1 else None,
        }
        told = Structure(LAYER, fields | shares[number])
        laid = Laid(sums, turned=False)
        device.launch(f"weigh_{sums.dtype}", laid.groups, laid.structure, told, sums)
    return y


def _shares(constants: tuple[Any, Any] | None, passes: int) -> list[dict[str, Any]]:
    """The constants, shared out among passes over the output: any order gives the same sum."""
    if constants is None:
        return [{}] * passes
    left, right = constants
    rank, columns = right.shape
    bounds = [rank * number // passes for number in range(passes + 1)]
    steps = {"left_step": rank, "right_step": columns}
    return [
        steps | {"left": left[:, start:], "right": right[start:], "terms": stop - start}
        if stop > start
        else {}
        for start, stop in itertools.pairwise(bounds)
    ]


def constants(device: Device, x: Side, w: Side) -> tuple[Any, Any] | None:
    """What the constants of both sides add to a product, as (M, r) and (r, N) float64.

    As `PreparedWeights.corrections`, on the device; None where nothing is added.
    """
    xp, spans = device.xp, len(x.spans)
    left: list[Any] = []
    right: list[Any] = []
    if x.constant is not None:
        folded = w.scale * w.sums
        if w.constant is not None:
            lengths = xp.asarray([float(span.stop - span.start) for span in x.spans])
            folded = folded + w.constant * lengths
        if x.constant.shape[1] == 1:
            folded = folded.sum(axis=1, keepdims=True)
        left.append(xp.broadcast_to(x.constant, (x.rows, x.constant.shape[1])))
        right.append(folded.T)
    if w.constant is not None:
        left.append(x.scale * x.sums)
        right.append(xp.broadcast_to(w.constant, (w.rows, spans)).T)
    return (device.upload(xp.hstack(left)), device.upload(xp.vstack(right))) if left else None


def requantized(device: Device, y: Any, requantize: Requantize, first: int) -> Any:
    """The codes of some outputs; `first` is where they begin among all of them, in C order.

    Raises:
        NonFiniteError: an output is not finite.
    """
    finite = int(device.xp.count_nonzero(device.xp.isfinite(y)))
    if finite < y.size:
        raise NonFiniteError(int(y.size) - finite, int(y.size))
    rounding = requantize.rounding
    if rounding.needs_positions and rule_of(rounding) is None:
        at = np.arange(first, first + y.size, dtype=np.uint64)
        rounding = rounding.at(at.reshape(1, -1))
    blocks = Laid(y.reshape(1, -1), turned=False)
    given = requantize.quantizer, blocks, requantize.params, rounding
    return codes_of(device, *given, first=first).reshape(y.shape)


_INT64 = np.dtype(np.int64)


def _of_span(scale: Any, span: int) -> Any:
    """The scales from a span's column on; from the only one, where there is but one."""
    return scale[:, span if scale.shape[1] > 1 else 0 :]


def _step(scale: Any) -> int:
    """From one row's scale to the next one's; 0 where all rows share it."""
    return int(scale.shape[1]) if scale.shape[0] > 1 else 0

"""A quantized linear layer: exact sums, then scales, constants and epilogue, strip by strip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcore import AffineRows, Epilogue, PreparedWeights
from qcore_int8.buffers import BUFFERS
from qcore_int8.exact import Factor, Spans, exact_sum, longest
from qcore_int8.pieces import long_strips, tiles

Corrections = tuple[NDArray[np.float64], NDArray[np.float64]] | None


class Term(NamedTuple):
    """One integer product of a layer: a digit of each side, over one group of K.

    Attributes:
        a: (M, k) int8 or uint8, the left digit.
        factor: the right digit, (k, N).
        columns: (N,) float64, what the sums of each column count for.
        rows: (M, 1) float64, what the sums of each row count for; None where all count as much.
    """

    a: NDArray[Any]
    factor: Factor
    columns: NDArray[np.float64]
    rows: NDArray[np.float64] | None

    @property
    def spans(self) -> Spans:
        """K in pieces that are exact."""
        return self.factor.spans[self.a.dtype]


def terms(x: AffineRows, w: PreparedWeights) -> list[Term]:
    """The products whose weighted sum is the layer's, but for constants."""
    found = []
    groups = len(w.rows.spans)
    x_scale, w_scale = (np.broadcast_to(s, (len(s), groups)) for s in (x.scale, w.rows.scale))
    for g, span in enumerate(w.rows.spans):
        for i, digit in enumerate(x.digits):
            for j, factors in enumerate(w.data):
                columns = np.broadcast_to(256.0 ** (i + j) * w_scale[:, g], w.rows.shape[:1])
                rows: NDArray[np.float64] | None = x_scale[:, g : g + 1]
                if len(x_scale) == 1:
                    columns, rows = columns * x_scale[0, g], None
                found.append(Term(digit[:, span], factors[g], columns, rows))
    return found


def apply(
    terms: Sequence[Term], corrections: Corrections, epilogue: Epilogue, out: NDArray[Any]
) -> None:
    """Write the layer's output, (M, N).

    Args:
        terms: its products; none for a layer without inputs.
        corrections: what constants add, as (M, r) and (r, N).
        epilogue: what follows.
        out: of the epilogue's dtype.
    """
    single = len(terms) == 1  # then each strip is finished while it is in cache
    deepest = max((longest(term.spans) for term in terms), default=0)
    for rows in tiles(len(out), max(out.shape[1], deepest)):
        shape = out[rows].shape
        total = np.zeros((0, 0)) if single else BUFFERS.array("weighted", shape, np.float64)
        total[...] = 0
        for term in terms:
            sums = exact_sum(term.a[rows], term.factor.matrix, term.spans)
            for strip in long_strips(*shape):
                at = slice(rows.start + strip.start, rows.start + strip.stop)
                values = _weighted(term, sums[strip], at)
                if single:
                    _finish(values, at, corrections, epilogue, out)
                else:
                    np.add(total[strip], values, out=total[strip])
        if not single:
            for strip in long_strips(*shape):
                at = slice(rows.start + strip.start, rows.start + strip.stop)
                _finish(total[strip], at, corrections, epilogue, out)


def _weighted(term: Term, sums: NDArray[Any], at: slice) -> NDArray[np.float64]:
    values = BUFFERS.array("values", sums.shape, np.float64)
    np.multiply(sums, term.columns, out=values)
    if term.rows is not None:
        np.multiply(values, term.rows[at], out=values)
    return values


def _finish(
    values: NDArray[np.float64],
    at: slice,
    corrections: Corrections,
    epilogue: Epilogue,
    out: NDArray[Any],
) -> None:
    if corrections is not None:
        left, right = corrections
        constant = BUFFERS.array("constant", values.shape, np.float64)
        if len(right) == 1:  # BLAS takes twice as long
            np.multiply(left[at], right, out=constant)
        else:
            np.matmul(left[at], right, out=constant)
        np.add(values, constant, out=values)
    epilogue.finish(values, out[at], at.start)

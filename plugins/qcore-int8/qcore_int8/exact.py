"""Where a float32 product of integers is exact, and the exact product made of such pieces.

float32 holds every integer up to 2²⁴. A sum of products is therefore exact, in whatever order and
with or without fused operations, where the sum of their magnitudes stays within that: K ≤ 1024 for
any int8, more for what is really in a matrix. Longer sums are cut there and added in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from qcore_int8.buffers import BUFFERS
from qcore_int8.pieces import strips

LARGEST = {np.dtype(np.int8): 128, np.dtype(np.uint8): 255}

_EXACT = 1 << 24

_STEP = 64
"""Ends of spans are sought at multiples of so many elements."""

_FEW_ROWS = 4
"""Fewer rows are multiplied one by one: for more, BLAS first packs all of the other matrix."""

Spans = Sequence[slice]


class Factor(NamedTuple):
    """A right operand, readied.

    Attributes:
        matrix: (K, N) float32, integers.
        spans: by dtype of the left operand, K in pieces that are exact.
    """

    matrix: NDArray[np.float32]
    spans: dict[np.dtype[Any], Spans]

    @classmethod
    def of(cls, b: NDArray[Any]) -> Self:
        """The factor of a (K, N) matrix of int8 or uint8."""
        matrix = np.ascontiguousarray(b, np.float32)
        spans = {dtype: spans_of_matrix(matrix, largest) for dtype, largest in LARGEST.items()}
        return cls(matrix, spans)


def spans_of_bound(depth: int, bound: int) -> Spans:
    """K cut so that each span is exact if no product exceeds `bound`."""
    length = _EXACT // bound
    return [slice(k, min(k + length, depth)) for k in range(0, depth, length)]


def spans_of_matrix(b: NDArray[np.float32], largest: int) -> Spans:
    """K cut so that each span is exact for this (K, N) matrix, and factors up to `largest`.

    No partial sum of a column exceeds `largest` · Σ|b|.
    """
    limit = _EXACT // largest
    spans, start = [], 0
    running = np.zeros(b.shape[1], np.float32)
    for k in range(0, len(b), _STEP):
        sums = np.abs(b[k : k + _STEP]).sum(axis=0)
        running += sums
        if running.max(initial=0) > limit:  # never by one step alone
            spans.append(slice(start, k))
            start, running = k, sums
    return [*spans, slice(start, len(b))] if len(b) else []


def longest(spans: Spans) -> int:
    """The length of the longest span."""
    return max((span.stop - span.start for span in spans), default=0)


def exact_sum(a: NDArray[Any], b: NDArray[np.float32], spans: Spans) -> NDArray[Any]:
    """A @ b, exactly.

    Args:
        a: (m, K) int8 or uint8.
        b: (K, N) float32, integers.
        spans: K in pieces that are exact.

    Returns:
        (m, N) float32 or float64, in a buffer that the next call uses again.
    """
    shape = (len(a), b.shape[1])
    product = BUFFERS.array("product", shape, np.float32)
    if not spans:
        product[...] = 0
    for span in spans:
        factor = BUFFERS.array("factor", (len(a), span.stop - span.start), np.float32)
        np.copyto(factor, a[:, span])
        _multiply(factor, b[span], product)
        if len(spans) == 1:
            break
        total = BUFFERS.array("total", shape, np.float64)
        for strip in strips(*shape):
            if span is spans[0]:
                np.copyto(total[strip], product[strip])
            else:
                np.add(total[strip], product[strip], out=total[strip])
    return total if len(spans) > 1 else product


def _multiply(a: NDArray[np.float32], b: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    if len(a) >= _FEW_ROWS:
        np.matmul(a, b, out=out)
        return
    for row, sums in zip(a, out, strict=True):
        np.matmul(row, b, out=sums)

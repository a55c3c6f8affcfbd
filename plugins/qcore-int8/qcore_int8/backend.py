"""The backend `int8-blas`: int8 products on the CPU's float32 BLAS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from qcore import AffineRows, Backend, Epilogue, PreparedMatrix, PreparedWeights
from qcore_int8.buffers import BUFFERS
from qcore_int8.exact import LARGEST, Factor, Spans, exact_sum, longest, spans_of_bound
from qcore_int8.layer import apply, terms
from qcore_int8.pieces import strips, tiles

_CAST_ELEMENTS = 1 << 22
"""Elements of a right operand that is not prepared that are held in float32 at a time."""


@dataclass(frozen=True)
class Int8Blas(Backend):
    """Exact int8 products from float32 BLAS, in pieces that float32 holds; no compiler needed."""

    id: ClassVar[str] = "int8-blas"

    def available(self) -> str | None:
        return None

    def load(self, b: NDArray[Any]) -> Factor:
        return Factor.of(b)

    def multiply(self, a: NDArray[Any], b: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
        out = np.empty((len(a), b.shape[1]), dtype)
        if isinstance(b, PreparedMatrix):
            _store(a, b.data.matrix, b.data.spans[a.dtype], out)
            return out
        depth, columns = b.shape
        spans = spans_of_bound(depth, LARGEST[a.dtype] * LARGEST[b.dtype])
        width = max(1, _CAST_ELEMENTS // max(1, depth))
        for start in range(0, columns, width):
            some = b[:, start : start + width]
            matrix = BUFFERS.array("cast", some.shape, np.float32)
            np.copyto(matrix, some)
            _store(a, matrix, spans, out[:, start : start + width])
        return out

    def prepare_weights(self, weights: AffineRows) -> PreparedWeights:
        factors = [[Factor.of(d[:, span].T) for span in weights.spans] for d in weights.digits]
        return PreparedWeights(self.id, weights, factors)

    def linear(self, x: AffineRows, w: PreparedWeights, epilogue: Epilogue) -> NDArray[Any]:
        self.check_weights(w)
        if len(w.spans(x)) != len(w.rows.spans):  # cut by the scales of x, which nobody prepared
            return super().linear(x, w, epilogue)
        out = np.empty((x.shape[0], w.rows.shape[0]), epilogue.dtype)
        apply(terms(x, w), w.corrections(x), epilogue, out)
        return out


def _store(a: NDArray[Any], b: NDArray[np.float32], spans: Spans, out: NDArray[Any]) -> None:
    for rows in tiles(len(out), max(out.shape[1], longest(spans))):
        sums, target = exact_sum(a[rows], b, spans), out[rows]
        for strip in strips(*target.shape):
            np.copyto(target[strip], sums[strip], casting="unsafe")

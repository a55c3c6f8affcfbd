"""Backends: where and how the kernels run. The defaults here are the reference."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from qcore.error_stats import ErrorStats, measure_errors
from qcore.errors import UsageError
from qcore.interfaces.boundary import check_codes, check_values
from qcore.interfaces.epilogue import Epilogue
from qcore.interfaces.products import (
    AffineRows,
    PreparedMatrix,
    PreparedWeights,
    check_matrix,
    check_product,
    sum_dtype,
)
from qcore.interfaces.quantizer import Quantizer
from qcore.interfaces.rounding import RoundingPolicy
from qcore.params import QuantParams
from qcore.spec import Configurable


class Backend(Configurable, ABC):
    """Runs a scheme on chunks of blocks, (n, b) float32 and finite, and multiplies integers.

    Whatever a backend overrides gives the same codes, values and integers as the defaults, to the
    bit; the floats of a layer agree but for the rounding of float64.
    """

    chunk_elements: ClassVar[int] = 3 << 16
    """How many elements the engine hands over at a time, unless one block is longer.

    They fit in a core's cache, as schemes that run as they are written go through them many times.
    """

    grid_chunk_elements: ClassVar[int] = 3 << 16
    """The same for schemes that are a grid."""

    @abstractmethod
    def available(self) -> str | None:
        """Why the backend cannot run here, in one line; None if it can."""

    def asarray(self, array: Any) -> Any:
        """`array` where this backend computes."""
        return np.asarray(array)

    def encode(
        self,
        quantizer: Quantizer,
        blocks: NDArray[np.float32],
        params: QuantParams,
        rounding: RoundingPolicy,
    ) -> NDArray[Any]:
        """The codes of `blocks`, (n, b) in the quantizer's code dtype."""
        return quantizer.encode(blocks, params, rounding)

    def decode(
        self, quantizer: Quantizer, codes: NDArray[Any], params: QuantParams
    ) -> NDArray[np.float32]:
        """The values of `codes`, (n, b) float32."""
        return quantizer.decode(codes, params)

    def measure(
        self,
        quantizer: Quantizer,
        blocks: NDArray[np.float32],
        params: QuantParams,
        rounding: RoundingPolicy,
        sums: Collection[str],
        extremes: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
    ) -> ErrorStats:
        """The error of decode(encode(blocks)), as the sums asked for.

        Args:
            quantizer: the scheme.
            blocks: (n, b) float32.
            params: n rows.
            rounding: the policy for these elements.
            sums: which sums and histograms, by the names in `qcore.error_stats.MEASURED`.
            extremes: each block's least and greatest element, (n, 1), where the caller knows them.
        """
        values = self.render(quantizer, blocks, params, rounding)
        stats = measure_errors(blocks, values, sums)
        return self.count_clipped(stats, quantizer, blocks, params, sums)

    def render(
        self,
        quantizer: Quantizer,
        blocks: NDArray[np.float32],
        params: QuantParams,
        rounding: RoundingPolicy,
    ) -> NDArray[np.float32]:
        """decode(encode(blocks)) as the quantizer is written, (n, b).

        Raises:
            SchemeError: codes or values are not what a scheme gives.
        """
        codes = quantizer.encode(blocks, params, rounding)
        check_codes(codes, blocks.shape, quantizer)
        values = quantizer.decode(codes, params)
        check_values(values, blocks.shape)
        return values

    def count_clipped(
        self,
        stats: ErrorStats,
        quantizer: Quantizer,
        blocks: NDArray[np.float32],
        params: QuantParams,
        sums: Collection[str],
    ) -> ErrorStats:
        """`stats` with the elements outside the quantizer's range counted, if asked for."""
        if "clipped" not in sums:
            return stats
        outside = quantizer.clipped(blocks, params)
        count = float("nan") if outside is None else float(np.count_nonzero(outside))
        return dataclasses.replace(stats, clipped=count)

    def prepare(self, b: Any) -> PreparedMatrix:
        """A constant right operand, readied once for many products.

        Args:
            b: (K, N) int8 or uint8, any strides.

        Raises:
            DtypeError: its elements are others.
            ShapeError: it is no matrix.
        """
        check_matrix("b", b)
        return PreparedMatrix(self.id, tuple(b.shape), np.dtype(b.dtype), self.load(b))

    def load(self, b: Any) -> Any:
        """The form in which `multiply` takes a constant right operand."""
        return b

    def gemm(self, a: Any, b: Any) -> Any:
        """A @ b, exactly.

        Args:
            a: (…, M, K) or (K,), int8 or uint8, any strides. Axes before the last that are not
                evenly spaced in memory are copied first.
            b: (K, N), int8 or uint8, or what `prepare` gave.

        Returns:
            (…, M, N): int32 where K is so short that no sum can overflow it, whatever is in the
            matrices (131,071 for int8 × int8); int64 beyond.

        Raises:
            DtypeError: an operand is neither int8 nor uint8.
            ShapeError: the shapes do not fit.
            UsageError: `b` was prepared by another backend.
        """
        if not isinstance(b, PreparedMatrix):
            b = b if hasattr(b, "dtype") else np.asarray(b)
        a = a if hasattr(a, "dtype") else np.asarray(a)
        check_product(self.id, a, b)
        depth, columns = b.shape
        rows = a.reshape(-1, depth) if depth else a.reshape(math.prod(a.shape[:-1]), 0)
        product = self.multiply(rows, b, sum_dtype(depth, a.dtype, b.dtype))
        return product.reshape(*a.shape[:-1], columns)

    def multiply(self, a: Any, b: Any, dtype: np.dtype[Any]) -> Any:
        """A @ b of matrices that were checked, as `dtype`, which holds every sum.

        Args:
            a: (M, K) int8 or uint8.
            b: (K, N) int8 or uint8, or a `PreparedMatrix` of this backend.
            dtype: int32 or int64.
        """
        matrix = b.data if isinstance(b, PreparedMatrix) else b
        # Every sum is below 2^53, so float64 holds it exactly, and its product is fast.
        return np.matmul(a.astype(np.float64), matrix.astype(np.float64)).astype(dtype)

    def prepare_weights(self, weights: AffineRows) -> PreparedWeights:
        """The weights of a layer, (N, K), readied once for many inputs."""
        return PreparedWeights(self.id, weights)

    def linear(self, x: AffineRows, w: PreparedWeights, epilogue: Epilogue) -> NDArray[Any]:
        """The layer y = x̂ · ŵᵀ, and what follows it: every integer sum exact, all else in float64.

        Args:
            x: (M, K).
            w: (N, K), by this backend's `prepare_weights`.
            epilogue: bias, ReLU and the output's format.

        Returns:
            (M, N) of the epilogue's dtype.

        Raises:
            ShapeError: the shapes do not fit.
            UsageError: `w` was prepared by another backend.
        """
        self.check_weights(w)
        y = np.zeros((x.shape[0], w.rows.shape[0]))
        for g, span in enumerate(w.spans(x)):
            y += (
                self.span_product(x, w.rows, span)
                * _column(x.scale, g)
                * _column(w.rows.scale, g).T
            )
        corrections = w.corrections(x)
        if corrections is not None:
            y += corrections[0] @ corrections[1]
        out = np.empty(y.shape, epilogue.dtype)
        epilogue.finish(y, out, 0)
        return out

    def span_product(self, x: AffineRows, w: AffineRows, span: slice) -> NDArray[np.float64]:
        """Σ u_x · u_w over one span of K, (M, N), digit by digit."""
        total = np.zeros((x.shape[0], w.shape[0]))
        for i, a in enumerate(x.digits):
            for j, b in enumerate(w.digits):
                dtype = sum_dtype(span.stop - span.start, a.dtype, b.dtype)
                total += 256.0 ** (i + j) * self.multiply(a[:, span], b.T[span], dtype)
        return total

    def check_weights(self, w: PreparedWeights) -> None:
        """Refuse weights that another backend prepared.

        Raises:
            UsageError: they are.
        """
        if w.backend != self.id:
            raise UsageError(
                f"the weights were prepared by '{w.backend}', not by '{self.id}'; "
                "prepare them there"
            )


def _column(per_group: NDArray[np.float64], g: int) -> NDArray[np.float64]:
    """A group's column, (R, 1); the only one where there is but one."""
    return per_group[:, [g if per_group.shape[1] > 1 else 0]]

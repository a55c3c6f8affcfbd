"""Integer matrices as operands: what may be multiplied, what it gives, and what it stands for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.errors import DtypeError, ShapeError, UsageError

LARGEST = {np.dtype(np.int8): 128, np.dtype(np.uint8): 255}
"""The dtypes that are multiplied, and their largest magnitudes."""

_INT32 = np.iinfo(np.int32).max


@dataclass(frozen=True, eq=False)
class PreparedMatrix:
    """A constant right operand in the form that one backend multiplies by.

    Attributes:
        backend: which one.
        shape: (K, N).
        dtype: int8 or uint8, as it was given.
        data: the backend's own.
    """

    backend: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    data: Any


@dataclass(frozen=True, eq=False)
class AffineRows:
    """A matrix as integers, and what turns them into values.

    x̂[r, k] = scale[r, g] · u[r, k] + constant[r, g], where u = Σ_j 256^j · digits[j] and g = k //
    group. The last group may be shorter.

    Attributes:
        digits: (R, K) int8 or uint8 each, the lowest first.
        scale: (R or 1, G) float64, value units per integer step.
        constant: (R or 1, G) float64, the value of integer zero; None where it is 0 throughout.
        group: how many neighbours along K share a scale.
    """

    digits: tuple[NDArray[Any], ...]
    scale: NDArray[np.float64]
    constant: NDArray[np.float64] | None
    group: int

    @property
    def shape(self) -> tuple[int, int]:
        rows, depth = self.digits[0].shape
        return rows, depth

    @property
    def spans(self) -> list[slice]:
        """The groups along K."""
        depth = self.shape[1]
        return [slice(k, min(k + self.group, depth)) for k in range(0, depth, self.group or 1)]

    def sums(self, spans: list[slice]) -> NDArray[np.float64]:
        """Σ u over each of some spans of K, (R, len(spans)); exact."""
        total = np.zeros((self.shape[0], len(spans)))
        for power, digit in enumerate(self.digits):
            for g, span in enumerate(spans):
                total[:, g] += 256.0**power * digit[:, span].sum(axis=1, dtype=np.int64)
        return total


@dataclass(frozen=True, eq=False)
class PreparedWeights:
    """The weights of a layer, (N, K), in the form that one backend multiplies by.

    Attributes:
        backend: which one.
        rows: the weights.
        data: the backend's own.
    """

    backend: str
    rows: AffineRows
    data: Any = None

    @cached_property
    def sums(self) -> NDArray[np.float64]:
        """Σ of the integers of each output over each group, (N, G)."""
        return self.rows.sums(self.rows.spans)

    def corrections(self, x: AffineRows) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """What the constants add to the product, as a matrix of low rank: (M, r) and (r, N).

        Per group, with the constants c and integers u of both sides, L elements long,

            Σ (s_x·u_x + c_x)(s_w·u_w + c_w)
                = s_x·s_w·Σ u_x·u_w + c_x·(s_w·Σ u_w + L·c_w) + s_x·Σ u_x · c_w

        so all that depends on the weights alone is computed once. None where nothing is added.
        """
        w, spans = self.rows, self.spans(x)
        groups, rows = len(spans), x.shape[0]
        left: list[NDArray[np.float64]] = []
        right: list[NDArray[np.float64]] = []
        if x.constant is not None:
            sums = self.sums if len(spans) == len(w.spans) else w.sums(spans)
            folded = w.scale * sums
            if w.constant is not None:
                folded = folded + w.constant * [span.stop - span.start for span in spans]
            if x.constant.shape[1] == 1:
                folded = folded.sum(axis=1, keepdims=True)
            left.append(np.broadcast_to(x.constant, (rows, x.constant.shape[1])))
            right.append(folded.T)
        if w.constant is not None:
            left.append(x.scale * x.sums(spans))
            right.append(np.broadcast_to(w.constant, (w.shape[0], groups)).T)
        return (np.hstack(left), np.vstack(right)) if left else None

    def spans(self, x: AffineRows) -> list[slice]:
        """The groups along K in which neither side's scale changes.

        Raises:
            ShapeError: both sides have groups, of different sizes, or differ in K.
        """
        if x.shape[1] != self.rows.shape[1]:
            raise ShapeError(
                f"x has {x.shape[1]} inputs a row, but the weights, {self.rows.shape}, take "
                f"{self.rows.shape[1]}"
            )
        if len(x.spans) > 1 and len(self.rows.spans) > 1 and x.group != self.rows.group:
            raise ShapeError(
                f"x has a scale for every {x.group} inputs, the weights for every "
                f"{self.rows.group}; give both the same group size"
            )
        return max(x.spans, self.rows.spans, key=len)


def sum_dtype(depth: int, a: np.dtype[Any], b: np.dtype[Any]) -> np.dtype[Any]:
    """int32 where no sum of `depth` products can overflow it, whatever is in them; else int64."""
    return np.dtype(np.int32 if depth * LARGEST[a] * LARGEST[b] <= _INT32 else np.int64)


def check_matrix(name: str, matrix: Any) -> None:
    """Refuse what is no matrix of int8 or uint8.

    Raises:
        DtypeError: its elements are others.
        ShapeError: it has not two axes.
    """
    if np.dtype(matrix.dtype) not in LARGEST:
        raise DtypeError(f"{name} is {matrix.dtype}; integer products take int8 and uint8")
    if len(matrix.shape) != 2:
        raise ShapeError(f"{name} has shape {tuple(matrix.shape)}; a matrix has two axes, (K, N)")


def check_product(backend: str, a: Any, b: Any) -> None:
    """Refuse operands that cannot be multiplied.

    Raises:
        DtypeError: an operand is neither int8 nor uint8.
        ShapeError: the shapes do not fit.
        UsageError: `b` was prepared by another backend.
    """
    if isinstance(b, PreparedMatrix) and b.backend != backend:
        raise UsageError(f"b was prepared by '{b.backend}', not by '{backend}'; prepare it there")
    check_matrix("b", b)
    if np.dtype(a.dtype) not in LARGEST:
        raise DtypeError(f"a is {a.dtype}, b {b.dtype}; integer products take int8 and uint8")
    if not a.shape or a.shape[-1] != b.shape[0]:
        raise ShapeError(
            f"a has shape {tuple(a.shape)} and b {tuple(b.shape)}; (…, K) @ (K, N) needs one K"
        )

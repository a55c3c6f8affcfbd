"""Random integer matrices of one shape, their products as contestants, and what is right."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.interfaces.backend import Backend
from qcore.interfaces.products import sum_dtype

Shape = tuple[int, int, int]
"""(M, K, N): (M, K) @ (K, N)."""

INTEGERS: dict[str, np.dtype[Any]] = {"s8": np.dtype(np.int8), "u8": np.dtype(np.uint8)}

_CHECKED = 1 << 34
"""Operations of a check: of a larger product, as many rows are checked as that allows."""


def dtype_names(dtypes: str) -> tuple[str, str]:
    """`u8s8` as (`u8`, `s8`): of A, and of B."""
    return dtypes[:2], dtypes[2:]


def moved_bytes(shape: Shape, dtypes: str) -> int:
    """A, B and C once each, as they are given and returned."""
    m, k, n = shape
    a, b = (INTEGERS[name] for name in dtype_names(dtypes))
    return m * k * a.itemsize + k * n * b.itemsize + m * n * sum_dtype(k, a, b).itemsize


class Operands:
    """The matrices of one shape, in every dtype, and what their products must be.

    Attributes:
        shape: (M, K, N).
        random: A and B by dtype, evenly distributed over all that the dtype holds.
        largest: the same of magnitudes within one of the largest, A with the checked rows alone:
            sums too long for an accumulator, or for float32, come out wrong here.
        checked: which rows of a product are checked; spread over all of them.
    """

    def __init__(self, shape: Shape, seed: int) -> None:
        self.shape = shape
        m, k, n = shape
        rows = min(m, max(1, _CHECKED // max(1, 2 * k * n)))
        self.checked = np.arange(rows) * (m - 1) // max(1, rows - 1)
        draw = np.random.default_rng(seed)
        self.random = (_matrices(draw, (m, k)), _matrices(draw, (k, n)))
        self.largest = (_matrices(draw, (rows, k), within=1), _matrices(draw, (k, n), within=1))
        # The products of one pair of dtypes are checked one after another: two answers are held.
        self.expected = functools.lru_cache(maxsize=2)(self._expected)
        self._readied: dict[tuple[Backend, str, bool], Any] = {}

    def _expected(self, dtypes: str, *, largest: bool) -> NDArray[np.int64]:
        """The checked rows of a product."""
        left, right = dtype_names(dtypes)
        a = self.largest[0][left] if largest else self.random[0][left][self.checked]
        b = (self.largest if largest else self.random)[1][right]
        # Every sum is below 2^53, so float64 holds it, and all before it, exactly.
        sums: NDArray[np.float64] = np.matmul(a.astype(np.float64), b.astype(np.float64))
        return sums.astype(np.int64)

    def readied(self, backend: Backend, name: str, prepared: bool) -> Any:
        """The random B where a backend computes; shared by all whose B it is."""
        key = (backend, name, prepared)
        if key not in self._readied:
            self._readied[key] = _ready(backend, self.random[1][name], prepared)
        return self._readied[key]


class Product:
    """One backend's product of the random matrices.

    Attributes:
        exact: whether every sum checked was right; None before the warm-up.
    """

    def __init__(self, operands: Operands, dtypes: str, backend: Backend, prepared: bool) -> None:
        self.exact: bool | None = None
        self._operands = operands
        self._dtypes = dtypes
        self._backend = backend
        self._prepared = prepared
        self._a: Any = None
        self._b: Any = None

    def warm_up(self) -> None:
        operands, backend = self._operands, self._backend
        left, right = dtype_names(self._dtypes)
        self._a = backend.asarray(operands.random[0][left])
        self._b = operands.readied(backend, right, self._prepared)
        exact = self._is_right(self.run(), largest=False)
        b = _ready(backend, operands.largest[1][right], self._prepared)
        product = _settled(backend.gemm(backend.asarray(operands.largest[0][left]), b))
        self.exact = self._is_right(product, largest=True) and exact

    def run(self) -> Any:
        return _settled(self._backend.gemm(self._a, self._b))

    def _is_right(self, product: Any, *, largest: bool) -> bool:
        operands = self._operands
        expected = operands.expected(self._dtypes, largest=largest)
        # An array of a device is fetched by get().
        found = np.asarray(product.get() if hasattr(product, "get") else product)
        rows = len(expected) if largest else operands.shape[0]
        if found.dtype.kind not in "iu" or found.shape != (rows, operands.shape[2]):
            return False
        return np.array_equal(found if largest else found[operands.checked], expected)


def memory(shape: Shape, prepared: int) -> int:
    """The bytes that the products of one shape take in all, roughly; `prepared` Bs are readied."""
    m, k, n = shape
    left, right, out = m * k, k * n, m * n
    integers = 4 * (left + right)  # two dtypes, random and largest
    copy = left + right + 8 * out
    sgemm = 4 * (left + right + out)
    readied = 4 * right * (prepared + 1)  # float32, the widest that is likely
    reference = 8 * (left + right) + 16 * out
    expected = 16 * out
    return integers + copy + sgemm + readied + reference + expected


def _matrices(
    draw: np.random.Generator, shape: tuple[int, int], within: int | None = None
) -> dict[str, NDArray[Any]]:
    """A random matrix of each dtype; only of the magnitudes `within` so many of the largest."""
    matrices = {}
    for name, dtype in INTEGERS.items():
        low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
        if within is not None:
            low, high = (low, low + within) if low < 0 else (high - within, high)
        matrices[name] = draw.integers(low, high, shape, dtype, endpoint=True)
    return matrices


def _ready(backend: Backend, b: NDArray[Any], prepared: bool) -> Any:
    placed = backend.asarray(b)
    return backend.prepare(placed) if prepared else placed


def _settled(product: Any) -> Any:
    """A product that is done: one of a device may only have been asked for."""
    wait = getattr(getattr(product, "device", None), "synchronize", None)
    if wait is not None:
        wait()
    return product

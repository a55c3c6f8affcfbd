"""A device: its arrays, its kernels and its int8 product; and the GPU as one."""

from __future__ import annotations

import functools
import importlib
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from qcore_cupy.arguments import by_value
from qcore_cupy.availability import library
from qcore_cupy.compiler import Kernels

THREADS = 256
"""The threads of a group; the kernels count on it."""


class Device(Protocol):
    """What the backend runs on. A GPU; in its tests, the same kernels compiled for the CPU."""

    @property
    def xp(self) -> Any:
        """The array module: CuPy, or NumPy."""

    @property
    def current(self) -> int:
        """Which of several GPUs is in use."""

    def __hash__(self) -> int: ...

    def holds(self, array: Any) -> bool:
        """Whether an array is in the device's memory."""

    def of(self, array: Any) -> AbstractContextManager[Any]:
        """Make the GPU current on which an array lies; nothing for an array of the host."""

    def upload(self, array: Any) -> Any:
        """A C-contiguous array in the device's memory; itself, if it is one."""

    def download(self, array: Any) -> NDArray[Any]:
        """An array of the device in the host's memory."""

    def address(self, array: Any) -> int:
        """Where the elements of an array of the device begin."""

    def finish(self) -> None:
        """Wait until what this thread started is done.

        What is kept for later calls waits so, as they may come from a thread that has a stream of
        its own.
        """

    def launch(self, kernel: str, groups: int, *arguments: Any) -> None:
        """Run a kernel in so many groups of `THREADS` threads.

        Args:
            kernel: its name.
            groups: > 0.
            arguments: arrays of the device, None for no array, structures, and integers, which
                are passed as int64.
        """

    def multiply(self, left: Any, right: Any, start: int, depth: int, out: Any) -> None:
        """Out = left · rightᵀ, over some of the elements of each row.

        Args:
            left: (M, K) int8, C-contiguous, K a multiple of 16.
            right: (N, K) int8, likewise; N a multiple of 16 too.
            start: the first element, a multiple of 16.
            depth: how many, a multiple of 16; no sum may overflow.
            out: (M, N) int32, C-contiguous.
        """


class BlasTerms(NamedTuple):
    """Out = left · rightᵀ as BLAS puts it: C = Aᵀ · B, all three by columns.

    BLAS has columns where these matrices have rows, so it is asked for outᵀ, with A the right
    factor and B the left one. Both then run along K in memory, the one layout for which every GPU
    has int8 matrix units.

    Attributes:
        m: the rows of C. n: its columns. k: the rows of A and of B.
        lda: from one column of A to the next one. ldb: of B. ldc: of C.
    """

    m: int
    n: int
    k: int
    lda: int
    ldb: int
    ldc: int

    @classmethod
    def of(cls, left: tuple[int, ...], right: tuple[int, ...], depth: int) -> Self:
        """The terms for factors of these shapes, multiplied over `depth` elements a row."""
        return cls(right[0], left[0], depth, right[1], left[1], right[0])


class Gpu:
    """The current GPU, through CuPy; work goes to the calling thread's current stream."""

    def __init__(self) -> None:
        self.xp: Any = importlib.import_module("cupy")
        self._kernels = Kernels()

    @property
    def current(self) -> int:
        return int(self.xp.cuda.runtime.getDevice())

    def holds(self, array: Any) -> bool:
        return isinstance(array, self.xp.ndarray)

    def of(self, array: Any) -> AbstractContextManager[Any]:
        place: AbstractContextManager[Any] = array.device if self.holds(array) else nullcontext()
        return place

    def upload(self, array: Any) -> Any:
        return self.xp.ascontiguousarray(self.xp.asarray(array))

    def download(self, array: Any) -> NDArray[Any]:
        host: NDArray[Any] = self.xp.asnumpy(array, order="A")
        return host

    def address(self, array: Any) -> int:
        return int(array.data.ptr)

    def finish(self) -> None:
        self.xp.cuda.get_current_stream().synchronize()

    def launch(self, kernel: str, groups: int, *arguments: Any) -> None:
        passed = tuple(by_value(argument, self.address) for argument in arguments)
        self._kernels.get(self.current, kernel)((groups,), (THREADS,), passed)

    def multiply(self, left: Any, right: Any, start: int, depth: int, out: Any) -> None:
        cublas = library("cublas")
        int8, int32, compute_int32 = 3, 10, 72
        one, zero = np.array(1, np.int32), np.array(0, np.int32)
        terms = BlasTerms.of(left.shape, right.shape, depth)
        handle = self.xp.cuda.device.get_cublas_handle()  # this thread's own
        mode = cublas.getPointerMode(handle)
        cublas.setPointerMode(handle, cublas.CUBLAS_POINTER_MODE_HOST)
        try:
            cublas.gemmEx(
                handle,
                *(cublas.CUBLAS_OP_T, cublas.CUBLAS_OP_N),
                *(terms.m, terms.n, terms.k),
                one.ctypes.data,
                *(right.data.ptr + start, int8, terms.lda),
                *(left.data.ptr + start, int8, terms.ldb),
                zero.ctypes.data,
                *(out.data.ptr, int32, terms.ldc),
                *(compute_int32, cublas.CUBLAS_GEMM_DEFAULT),
            )
        finally:
            cublas.setPointerMode(handle, mode)


@functools.cache
def gpu() -> Gpu:
    """The GPU of this process."""
    return Gpu()

"""The CPU as a device: NumPy's arrays, and the CUDA kernels compiled for it by g++.

The kernels are plain C++ but for a few words, which `cuda_on_cpu.cpp` defines. So all but CUDA's
own compiler, cuBLAS and the copying is tested where there is no GPU.
"""

from __future__ import annotations

import ctypes
import subprocess
import threading
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from qcore_cupy import arguments
from qcore_cupy.compiler import FOLDER
from qcore_cupy.device import BlasTerms

SOURCES = sorted(path.name for path in FOLDER.glob("*.cu"))
KERNELS = [
    *(f"encode_{code}" for code in ("int8", "uint8", "int16", "uint16")),
    *(f"decode_{code}" for code in ("int8", "uint8", "int16", "uint16")),
    *(f"decode_{code}" for code in ("int32", "uint32", "int64")),
    *(f"measure_{values}" for values in ("scheme", "float32", "float64")),
    *("restore_int32", "restore_int64", "weigh_int32", "weigh_int64"),
]
AT_ONCE = frozenset(name for name in KERNELS if name.startswith("measure"))

LAUNCHES = Path(__file__).with_suffix(".cpp")
COMMAND = (
    *("-std=c++17", "-O1", "-ffp-contract=off", "-shared", "-fPIC"),
    *("-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-Wno-unused-function"),
    "-U_FORTIFY_SOURCE",  # which takes a jump to another stack for a mistake
)


def compiled(compiler: str, folder: Path) -> ctypes.CDLL:
    """The kernels for the CPU, built in a folder."""
    includes = "".join(f'#include "{name}"\n' for name in SOURCES)
    each = " ".join(f"EACH({name})" for name in KERNELS)
    (folder / "kernels.h").write_text(f"{includes}#define KERNELS(EACH) {each}\n")
    command = [compiler, *COMMAND, f"-I{FOLDER}", f"-I{folder}", "-o", "kernels.so", str(LAUNCHES)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    library = ctypes.CDLL(str(folder / "kernels.so"))
    for size in ("blocks", "scheme", "layer"):
        getattr(library, f"size_of_{size}").restype = ctypes.c_size_t
    library.uniform_at.restype = ctypes.c_double
    return library


class OnDevice(np.ndarray[Any, Any]):
    """An array that counts as one of the device's."""


class OnDeviceNumpy:
    """NumPy, but what it makes counts as the device's."""

    def __getattr__(self, name: str) -> Any:
        function = getattr(np, name)

        def made(*given: Any, **options: Any) -> Any:
            result = function(*given, **options)
            return result.view(OnDevice) if isinstance(result, np.ndarray) else result

        return made


class Cpu:
    """The CPU as a `qcore_cupy.device.Device`."""

    xp: ClassVar[Any] = OnDeviceNumpy()
    current: ClassVar[int] = 0

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library
        self.turn = threading.Lock()  # the library runs one kernel at a time

    def holds(self, array: Any) -> bool:
        return isinstance(array, OnDevice)

    def of(self, array: Any) -> AbstractContextManager[Any]:
        return nullcontext()

    def upload(self, array: Any) -> Any:
        return np.ascontiguousarray(array).view(OnDevice)

    def download(self, array: Any) -> NDArray[Any]:
        assert self.holds(array)
        return np.array(array)

    def address(self, array: Any) -> int:
        assert self.holds(array)
        return int(array.ctypes.data)

    def finish(self) -> None:
        pass

    def launch(self, kernel: str, groups: int, *given: Any) -> None:
        assert 0 < groups < 2**31
        passed = [arguments.by_value(argument, self.address) for argument in given]
        passed = [self._stored(argument) for argument in passed]
        pointers = (ctypes.c_void_p * len(passed))(*(value.ctypes.data for value in passed))
        run = getattr(self.library, f"launch_{kernel}")
        with self.turn:
            run(pointers, ctypes.c_uint(groups), ctypes.c_bool(kernel in AT_ONCE))

    def _stored(self, argument: Any) -> NDArray[Any]:
        """As CuPy passes it: structures and scalars by value, arrays by their address."""
        if isinstance(argument, np.ndarray) and argument.dtype.names is None:
            assert argument.flags.c_contiguous
            return np.array([self.address(argument)], np.uint64)
        return np.asarray(argument)

    def multiply(self, left: Any, right: Any, start: int, depth: int, out: Any) -> None:
        """What cuBLAS asks for is checked here, as it would say no more than 'not supported'."""
        assert left.dtype == right.dtype == np.int8
        assert out.dtype == np.int32
        assert all(array.flags.c_contiguous for array in (left, right, out))
        assert all(self.holds(array) for array in (left, right, out))
        assert out.shape == (left.shape[0], right.shape[0])
        multiples = (start, depth, left.shape[1], right.shape[1], right.shape[0])
        assert all(number % 16 == 0 for number in multiples)
        assert 0 < depth <= left.shape[1] - start
        terms = BlasTerms.of(left.shape, right.shape, depth)
        a, b = _columns(right, start, terms.m, terms), _columns(left, start, terms.n, terms)
        exact = a.T @ b
        assert np.abs(exact).max(initial=0) < 2**31
        assert terms.ldc == out.shape[1] >= terms.m
        out[:, : terms.m] = exact.T  # column j of C begins at j · ldc


def _columns(matrix: Any, start: int, count: int, terms: BlasTerms) -> NDArray[np.float64]:
    """(k, count), column by column in memory from an address on, as BLAS reads it."""
    memory, step = matrix.reshape(-1)[start:], matrix.shape[1]
    assert step in (terms.lda, terms.ldb)
    shape, strides = (terms.k, count), (1, step)
    return np.lib.stride_tricks.as_strided(memory, shape, strides).astype(np.float64)

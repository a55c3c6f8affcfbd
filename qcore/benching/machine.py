"""The machine that a bench ran on: what it is, what it can do at best, and its free memory."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from qcore.benching.rounds import Times, in_turns
from qcore.errors import QcoreError, UsageError

_COPY_BYTES = 1 << 27
"""What the copy that measures the bandwidth moves: more than a cache holds."""

_SGEMM_SIZE = 1024
"""Rows, columns and depth of the product that measures the rate of arithmetic."""


class Copy:
    """A plain copy of an array in one thread: np.copyto."""

    def __init__(self, source: NDArray[Any]) -> None:
        self._source = source
        self._target = np.empty_like(source)

    @classmethod
    def moving(cls, count: int) -> Self:
        """A copy that moves so many bytes in all: half of them read, half written."""
        # Of ones: pages of zeros that nobody has written are one and the same, and always cached.
        return cls(np.ones(-(-count // 2), np.uint8))

    def warm_up(self) -> None:
        self.run()

    def run(self) -> None:
        np.copyto(self._target, self._source)


class Sgemm:
    """NumPy's float32 product; of a matrix and a vector where there is one row."""

    def __init__(self, a: Any, b: Any) -> None:
        single = a.shape[0] == 1
        self._a = (a[0] if single else a).astype(np.float32)
        self._b = b.astype(np.float32)

    def warm_up(self) -> None:
        self.run()

    def run(self) -> object:
        return np.matmul(self._a, self._b)


@dataclass(frozen=True)
class Limits:
    """What the machine did at best in one run.

    Attributes:
        copy_rate: bytes a second that a large copy moves, read and written, in one thread.
        sgemm_rate: operations a second of a float32 product, in as many threads as BLAS takes.
    """

    copy_rate: float
    sgemm_rate: float

    @classmethod
    def measured(cls, repeat: int, seed: int) -> Limits:
        """Measure them."""
        square = np.random.default_rng(seed).standard_normal((_SGEMM_SIZE, _SGEMM_SIZE))
        copied, multiplied = in_turns(
            [Copy.moving(_COPY_BYTES), Sgemm(square, square)], repeat, seed
        )
        return cls(_rate(_COPY_BYTES, copied), _rate(2 * _SGEMM_SIZE**3, multiplied))

    def bound(self, operations: int, moved: int) -> str:
        """What keeps a computation from being faster: the one of the two that would take longer."""
        by_memory = moved / self.copy_rate > operations / self.sgemm_rate
        return "memory" if by_memory else "arithmetic"


def _rate(amount: int, times: Times) -> float:
    if times.median is None:
        raise QcoreError(f"cannot measure what the machine can do: {times.error}")
    return amount / times.median


def machine() -> dict[str, Any]:
    """The processor, how many cores this process may use, and what NumPy is built on."""
    return {
        "cpu": _cpu(),
        "cores": _cores(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": _blas(),
    }


def _cpu() -> str:
    for key, value in _fields(Path("/proc/cpuinfo")):
        if key == "model name":
            return value
    return platform.processor() or platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _blas() -> str | None:
    config: Any = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {})
    return f"{blas['name']} {blas.get('version', '')}".strip() if blas.get("name") else None


def check_memory(what: str, needed: int) -> None:
    """Refuse, before any of it is taken, more memory than is free.

    Args:
        what: that needs it.
        needed: bytes, roughly.

    Raises:
        UsageError: there is less; nothing is refused where nobody knows.
    """
    free = _free_memory()
    if free is not None and needed > free:
        raise UsageError(
            f"{what} would take about {needed / 1e9:,.1f} GB of memory, and {free / 1e9:,.1f} GB "
            "is free; give a smaller shape"
        )


def _free_memory() -> int | None:
    for key, value in _fields(Path("/proc/meminfo")):
        if key == "MemAvailable":
            return int(value.split()[0]) * 1024  # in kB, which are KiB
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _fields(file: Path) -> Iterator[tuple[str, str]]:
    """The lines `key: value` of a file of the kernel's; none where there is no such file."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        key, _, value = line.partition(":")
        yield key.strip(), value.strip()

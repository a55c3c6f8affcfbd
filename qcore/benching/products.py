"""Integer matrix products: each backend beside float32 BLAS, a plain copy and exact sums."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from qcore.benching.lineup import Lineup, overrides
from qcore.benching.machine import Copy, Limits, Sgemm, check_memory, machine
from qcore.benching.matrices import INTEGERS, Operands, Product, Shape, memory, moved_bytes
from qcore.benching.rounds import Times, in_turns
from qcore.errors import UsageError, nearest
from qcore.interfaces.backend import Backend
from qcore.loading import versions

DTYPES = tuple(a + b for b, a in itertools.product(INTEGERS, repeat=2))
"""Pairs of dtypes, of A and of B."""


@dataclass(frozen=True)
class ProductRow:
    """One backend's product of one shape, C = A @ B.

    Attributes:
        backend: which one.
        shape: (M, K, N).
        dtypes: of A and of B, such as `u8s8`.
        prepared: whether B was readied before the clock started.
        times: of the product.
        sgemm: of NumPy's float32 product of the same shape, in the same rounds.
        copy: of a copy that moves as many bytes, in the same rounds.
        exact: whether every sum checked was right, on the matrices that were timed and on matrices
            of the largest magnitudes; None if the product failed.
        checked_rows: how many rows of C were checked, spread over all.
        bound: `memory` if moving A, B and C once at the speed of a large copy takes longer than
            the operations at the rate of sgemm, else `arithmetic`; None where there are none.
    """

    backend: str
    shape: Shape
    dtypes: str
    prepared: bool
    times: Times
    sgemm: Times
    copy: Times
    exact: bool | None
    checked_rows: int
    bound: str | None = None

    @property
    def operations(self) -> int:
        """2·M·K·N: each product of two elements is multiplied and added."""
        m, k, n = self.shape
        return 2 * m * k * n

    @property
    def bytes(self) -> int:
        """What must move: A, B and C once each, as they are given and returned.

        A backend that prepares B may store it in another form; its size is not known here.
        """
        return moved_bytes(self.shape, self.dtypes)

    @property
    def gops(self) -> float | None:
        """Billions of operations a second."""
        seconds = self.times.median
        return self.operations / seconds / 1e9 if seconds and self.operations else None

    @property
    def time_over_sgemm(self) -> float | None:
        """How many times as long as sgemm it takes."""
        return self.times.over(self.sgemm) if self.operations else None

    @property
    def time_over_copy(self) -> float | None:
        """How many times as long as the copy it takes."""
        return self.times.over(self.copy) if self.operations else None

    @property
    def intensity(self) -> float | None:
        """Operations for each byte that must move."""
        return self.operations / self.bytes if self.operations else None

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON holds it."""
        return {
            "backend": self.backend,
            "shape": list(self.shape),
            "dtypes": self.dtypes,
            "prepared": self.prepared,
            "seconds": self.times.median,
            "rounds": len(self.times.seconds),
            "spread": self.times.spread,
            "gops": self.gops,
            "sgemm_seconds": self.sgemm.median,
            "time_over_sgemm": self.time_over_sgemm,
            "copy_seconds": self.copy.median,
            "time_over_copy": self.time_over_copy,
            "exact": self.exact,
            "checked_rows": self.checked_rows,
            "operations": self.operations,
            "bytes": self.bytes,
            "intensity": self.intensity,
            "bound": self.bound,
            "error": self.times.error,
        }


@dataclass(frozen=True)
class ProductBench:
    """All the rows of a bench, in the order of shapes, dtypes, backends.

    Attributes:
        rows: one for each product.
        limits: what the machine did at best in this run.
        lineup: who took part, and who did not.
    """

    rows: list[ProductRow]
    limits: Limits
    lineup: Lineup

    def to_dict(self) -> dict[str, Any]:
        """Everything as one JSON object, without NaN or Infinity."""
        measured = {
            "copy_gb_per_s": self.limits.copy_rate / 1e9,
            "sgemm_gops": self.limits.sgemm_rate / 1e9,
        }
        return {
            "qcore": versions(),
            "machine": machine() | measured,
            "results": [row.to_dict() for row in self.rows],
            **self.lineup.absent(),
        }


class _Entry(NamedTuple):
    """One row to be: dtypes of A and B, backend, and whether B is prepared."""

    dtypes: str
    backend: Backend
    prepared: bool


def bench_gemm(
    shapes: Iterable[Shape],
    dtypes: Iterable[str] = ("s8s8",),
    *,
    backends: Iterable[str | Backend] | None = None,
    prepared: bool | None = None,
    repeat: int = 7,
    seed: int = 0,
    announce: Callable[[str], None] | None = None,
) -> ProductBench:
    """Time exact integer products of random matrices, and check them.

    Operands lie where the backend computes before the clock starts. Sgemm and the copies are
    NumPy's, on the host, wherever that is.

    Args:
        shapes: (M, K, N) each; a size may be 0.
        dtypes: names in `DTYPES`.
        backends: specs or objects; all that can run here and multiply in a way of their own, if
            None.
        prepared: whether B is readied before the clock starts; both ways if None, but for backends
            that make nothing of it.
        repeat: rounds.
        seed: of the matrices, and of the order within each round.
        announce: told what is measured next.

    Raises:
        UsageError: an option that cannot be, or more memory than is free.
        UnknownIdError: a backend is not installed.
        UnavailableError: a backend asked for cannot run here.
    """
    shapes, dtypes = list(dict.fromkeys(shapes)), list(dict.fromkeys(dtypes))
    for dtype in dtypes:
        if dtype not in DTYPES:
            close = nearest(dtype, DTYPES)
            raise UsageError(f"unknown dtypes '{dtype}'{close}; there are {', '.join(DTYPES)}")
    lineup = Lineup.of(backends, ("gemm", "multiply"))
    entries = [
        _Entry(dtype, backend, ready)
        for dtype in dtypes
        for backend in lineup.backends
        for ready in _ways(backend, prepared)
    ]
    for shape in shapes:
        check_memory(f"a product of {'x'.join(map(str, shape))}", _memory(shape, entries))
    limits = Limits.measured(repeat, seed)
    rows: list[ProductRow] = []
    for shape in shapes:
        if announce is not None:
            announce(f"{'x'.join(map(str, shape))}: {len(entries)} products")
        rows += _bout(shape, entries, repeat, seed)
    rates = [row.operations / row.sgemm.median for row in rows if row.sgemm.median]
    limits = Limits(limits.copy_rate, max([limits.sgemm_rate, *rates]))
    return ProductBench([_bounded(row, limits) for row in rows], limits, lineup)


def _ways(backend: Backend, prepared: bool | None) -> Sequence[bool]:
    """Whether to prepare B: as asked, or both ways where it makes a difference."""
    if prepared is not None:
        return [prepared]
    return [False, True] if overrides(backend, ("prepare", "load")) else [False]


def _memory(shape: Shape, entries: Sequence[_Entry]) -> int:
    return memory(shape, len({(e.backend, e.dtypes[2:]) for e in entries if e.prepared}))


def _bout(shape: Shape, entries: Sequence[_Entry], repeat: int, seed: int) -> list[ProductRow]:
    """The products of one shape, timed in turns with sgemm and copies."""
    operands = Operands(shape, seed)
    products = [Product(operands, *entry) for entry in entries]
    sgemm = Sgemm(operands.random[0]["s8"], operands.random[1]["s8"])
    moved = list(dict.fromkeys(moved_bytes(shape, entry.dtypes) for entry in entries))
    copies = [Copy.moving(count) for count in moved]
    of_sgemm, *times = in_turns([sgemm, *copies, *products], repeat, seed)
    of_copy = dict(zip(moved, times, strict=False))
    rows = []
    for entry, product, taken in zip(entries, products, times[len(copies) :], strict=True):
        copy = of_copy[moved_bytes(shape, entry.dtypes)]
        exact = None if taken.error else product.exact
        rows.append(
            ProductRow(
                backend=str(entry.backend),
                shape=shape,
                dtypes=entry.dtypes,
                prepared=entry.prepared,
                times=taken,
                sgemm=of_sgemm,
                copy=copy,
                exact=exact,
                checked_rows=len(operands.checked),
            )
        )
    return rows


def _bounded(row: ProductRow, limits: Limits) -> ProductRow:
    if not row.operations:
        return row
    return dataclasses.replace(row, bound=limits.bound(row.operations, row.bytes))

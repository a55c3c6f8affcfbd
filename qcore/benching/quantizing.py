"""Quantizing: each backend beside a plain copy, with the codes checked against the reference's."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from qcore.benching.lineup import Lineup
from qcore.benching.machine import Copy, check_memory, machine
from qcore.benching.rounds import Times, in_turns
from qcore.comparison import compare
from qcore.engine import quantize
from qcore.errors import QcoreError, UsageError, nearest
from qcore.interfaces.backend import Backend
from qcore.loading import versions
from qcore.qtensor import QuantizedTensor
from qcore.recipe import Recipe

FLOATS: dict[str, np.dtype[Any]] = {
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
}
"""The dtypes of input, by name."""


@dataclass(frozen=True)
class QuantizeRow:
    """One recipe on one backend, for an input of one shape and dtype.

    Attributes:
        recipe: what was applied.
        backend: what it ran on.
        shape: of the input.
        dtype: of the input.
        threads: how many the engine used.
        quantize: of `qcore.quantize`: input to codes and params.
        measure: of `qcore.compare`: the same, and back to values, and their error; no codes stored.
        copy: of np.copyto of the input, in the same rounds, in one thread.
        exact: whether the codes are the reference backend's; None if quantizing failed.
    """

    recipe: Recipe
    backend: str
    shape: tuple[int, ...]
    dtype: str
    threads: int
    quantize: Times
    measure: Times
    copy: Times
    exact: bool | None

    @property
    def bytes(self) -> int:
        """Of the input."""
        return math.prod(self.shape) * FLOATS[self.dtype].itemsize

    @property
    def error(self) -> str | None:
        """Why it failed, in one line, or None."""
        return self.quantize.error or self.measure.error

    def gb_per_s(self, times: Times) -> float | None:
        """Billions of bytes of input a second."""
        seconds = times.median
        return self.bytes / seconds / 1e9 if seconds and self.bytes else None

    def time_over_copy(self, times: Times) -> float | None:
        """How many times as long as the copy it takes."""
        return times.over(self.copy) if self.bytes else None

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON holds it."""
        return {
            "recipe": self.recipe.to_dict(),
            "backend": self.backend,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "threads": self.threads,
            "bytes": self.bytes,
            "quantize": self._task(self.quantize),
            "measure": self._task(self.measure),
            "copy_seconds": self.copy.median,
            "exact": self.exact,
            "error": self.error,
        }

    def _task(self, times: Times) -> dict[str, Any]:
        return {
            "seconds": times.median,
            "rounds": len(times.seconds),
            "spread": times.spread,
            "gb_per_s": self.gb_per_s(times),
            "time_over_copy": self.time_over_copy(times),
        }


@dataclass(frozen=True)
class QuantizeBench:
    """All the rows of a bench, in the order of shapes, dtypes, recipes, backends.

    Attributes:
        rows: one for each.
        lineup: who took part, and who did not.
    """

    rows: list[QuantizeRow]
    lineup: Lineup

    def to_dict(self) -> dict[str, Any]:
        """Everything as one JSON object, without NaN or Infinity."""
        return {
            "qcore": versions(),
            "machine": machine(),
            "results": [row.to_dict() for row in self.rows],
            **self.lineup.absent(),
        }


def bench_quantize(
    recipes: Iterable[Recipe],
    shapes: Iterable[tuple[int, ...]],
    dtypes: Iterable[str] = ("float32",),
    *,
    backends: Iterable[str | Backend] | None = None,
    threads: int = 1,
    repeat: int = 7,
    seed: int = 0,
    announce: Callable[[str], None] | None = None,
) -> QuantizeBench:
    """Time quantizing, and measuring the error, of normally distributed arrays; check the codes.

    Args:
        recipes: what to apply.
        shapes: of the arrays; a size may be 0.
        dtypes: of the arrays, names in `FLOATS`.
        backends: specs or objects; all that can run here and quantize in a way of their own, if
            None.
        threads: for the engine. Codes do not depend on it.
        repeat: rounds.
        seed: of the arrays, and of the order within each round.
        announce: told what is measured next.

    Raises:
        UsageError: an option that cannot be, or more memory than is free.
        UnknownIdError: a backend is not installed.
        UnavailableError: a backend asked for cannot run here.
    """
    shapes, dtypes = list(dict.fromkeys(shapes)), list(dict.fromkeys(dtypes))
    for dtype in dtypes:
        if dtype not in FLOATS:
            close = nearest(dtype, FLOATS)
            raise UsageError(f"unknown dtype '{dtype}'{close}; there are {', '.join(FLOATS)}")
    lineup = Lineup.of(backends, ("encode", "measure", "render"))
    entries = [(recipe, backend) for recipe in recipes for backend in lineup.backends]
    for shape in shapes:
        widest = max((FLOATS[dtype].itemsize for dtype in dtypes), default=0)
        # The array as drawn and as stored, its copy, and codes of two bytes: three of them.
        check_memory(f"quantizing {_text(shape)}", math.prod(shape) * (4 + 2 * widest + 6))
    rows: list[QuantizeRow] = []
    for shape in shapes:
        drawn = np.random.default_rng(seed).standard_normal(shape, np.float32)
        for dtype in dtypes:
            if announce is not None:
                announce(f"{_text(shape)} {dtype}: {len(entries)} recipes and backends")
            rows += _bout(drawn.astype(FLOATS[dtype]), dtype, entries, threads, repeat, seed)
    return QuantizeBench(rows, lineup)


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _bout(
    x: NDArray[Any],
    dtype: str,
    entries: Sequence[tuple[Recipe, Backend]],
    threads: int,
    repeat: int,
    seed: int,
) -> list[QuantizeRow]:
    """All the recipes on one array, timed in turns with its copy."""

    @functools.lru_cache(maxsize=1)  # the backends of one recipe warm up one after another
    def expected(recipe: Recipe) -> NDArray[Any]:
        return quantize(x, recipe, backend="reference", threads=threads).codes

    quantizing = [_Quantize(x, *entry, threads, expected) for entry in entries]
    measuring = [_Measure(x, *entry, threads) for entry in entries]
    copy, *times = in_turns([Copy(x), *quantizing, *measuring], repeat, seed)
    of_quantize, of_measure = times[: len(entries)], times[len(entries) :]
    return [
        QuantizeRow(recipe, str(backend), x.shape, dtype, threads, q, m, copy, contestant.exact)
        for (recipe, backend), contestant, q, m in zip(
            entries, quantizing, of_quantize, of_measure, strict=True
        )
    ]


class _Quantize:
    """`qcore.quantize` with one recipe on one backend; `exact` is known after the warm-up."""

    def __init__(
        self,
        x: NDArray[Any],
        recipe: Recipe,
        backend: Backend,
        threads: int,
        expected: Callable[[Recipe], NDArray[Any]],
    ) -> None:
        self.exact: bool | None = None
        self._x = x
        self._recipe = recipe
        self._options: dict[str, Any] = {"backend": backend, "threads": threads}
        self._expected = expected

    def warm_up(self) -> None:
        self.exact = np.array_equal(self.run().codes, self._expected(self._recipe))

    def run(self) -> QuantizedTensor:
        return quantize(self._x, self._recipe, **self._options)


class _Measure:
    """`qcore.compare` with one recipe on one backend."""

    def __init__(self, x: NDArray[Any], recipe: Recipe, backend: Backend, threads: int) -> None:
        self._x = x
        self._recipe = recipe
        self._options: dict[str, Any] = {"backend": backend, "threads": threads}

    def warm_up(self) -> None:
        self.run()

    def run(self) -> None:
        (row,) = compare({"x": self._x}, self._recipe, **self._options).rows
        if row.error is not None:
            raise QcoreError(row.error)

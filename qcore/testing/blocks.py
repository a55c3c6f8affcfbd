"""The blocks that checks are tried on: the same in every run, the smallest first."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.testing.laws import given, shown

Floats = NDArray[np.float32]

LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class Sample:
    """Some blocks, (n, b) read-only float32 and finite, and what is special about them."""

    name: str
    blocks: Floats

    @contextmanager
    def tried(self) -> Iterator[Floats]:
        """The blocks; they are named in whatever is raised inside."""
        shape = " × ".join(str(extent) for extent in self.blocks.shape)
        with given(f"{self.name} ({shape} blocks): {shown(self.blocks)}"):
            yield self.blocks


@functools.cache
def ordinary() -> tuple[Sample, ...]:
    """Blocks that every scheme can take: tails, ties, one sign, outliers, many and long ones."""
    random = np.random.default_rng(20)
    uneven = random.standard_normal((5, 33)) * 10.0 ** np.arange(-3, 2)[:, None]
    outlier = random.standard_normal((2, 32))
    outlier[:, 5] = 40, -40
    return (
        _sample("one element a block", [[1.5], [-0.25], [1000]]),
        _sample("a short tail", [[0.5, -1.25, 3, 0, 0.1, -0.1, 2]]),
        _sample("halves", np.arange(-8, 8).reshape(2, 8) / 2),
        _sample("no negative value", random.uniform(0, 3, (2, 9))),
        _sample("no positive value", random.uniform(-3, 0, (2, 9))),
        _sample("an outlier", outlier),
        _sample("blocks of different size", uneven),
        _sample("many short blocks", random.standard_normal((40, 4))),
        _sample("normal values", random.standard_normal((3, 400))),
    )


@functools.cache
def constants() -> tuple[Sample, ...]:
    """Blocks of one value each."""
    values = [1.0, -1.0, 0.7, -5.25, 1e-3, 12345.0]
    return tuple(_sample(f"a constant block of {v}", np.full((2, 7), v)) for v in values)


@functools.cache
def extremes() -> tuple[Sample, ...]:
    """Blocks at the ends of float32."""
    spread = np.array([1, -1, 0.5, -0.25, 0.01, 0, 1e-3])
    largest = np.array([[LARGEST, -LARGEST, 0, 1, -1e-30, LARGEST / 3]])
    return (
        _sample("the largest float32, both signs", largest),
        _sample("the largest float32", np.full((1, 5), LARGEST)),
        _sample("the least float32", np.full((1, 5), -LARGEST)),
        _sample("values to 3e38", [3e38 * spread]),
        _sample("values to 1e-37", [1e-37 * spread]),
        _sample("subnormal values", [2e-40 * spread]),
        _sample("the smallest subnormal", [[1e-45, 0, -1e-45]]),
        _sample("faint beside huge", [[3e38, 1e-45, 1e-38, -1e20], [1e-45, 0, 0, 0]]),
    )


def layouts(blocks: Floats) -> Iterator[tuple[str, Floats]]:
    """The same blocks elsewhere in memory: writable or not, in other orders, with others between.

    The first is in C order.
    """
    yield "C order", np.array(blocks, order="C")
    yield "Fortran order", np.array(blocks, order="F")
    n, b = blocks.shape
    room = np.full((2 * n, 3 * b), 7, np.float32)
    strided = room[::2, 1::3]
    strided[...] = blocks
    yield "every third element of every other row", strided
    backwards = np.array(blocks[::-1, ::-1])[::-1, ::-1]
    yield "negative strides", frozen(backwards)


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """The array, read-only."""
    array.flags.writeable = False
    return array


def positions(shape: tuple[int, ...]) -> NDArray[np.uint64]:
    """C-order positions for all elements of a tensor of this shape."""
    return np.arange(np.prod(shape, dtype=np.int64), dtype=np.uint64).reshape(shape)


def _sample(name: str, values: Any) -> Sample:
    return Sample(name, frozen(np.array(values, np.float32)))

"""The kernels of level grids: from a float32 to the index of its level, by counting or by table.

Both need only to know, for each level but the first, the least float32 that the rounding policy
sends there. That is found by bisection with the policy itself, so no policy is special here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore import LevelGrid, RoundingPolicy
from qcore_numpy.buffers import BUFFERS

_MOST_COUNTED = 16
"""So many thresholds are compared with one by one; more go through a table."""

_PREFIX_BITS = range(16, 21)
"""Upper bits of a float32 that index the table: as few as tell all the thresholds apart."""


LevelIndex = Callable[[NDArray[np.float32]], NDArray[Any]]
"""Gives the index of each element's level: flat float32 values over their scale → integers."""


@functools.lru_cache(maxsize=64)
def level_index(grid: LevelGrid, rounding: RoundingPolicy) -> LevelIndex | None:
    """The fastest way to the level, or None where only the reference can tell.

    Args:
        grid: the levels.
        rounding: a policy that does not go by position.
    """
    if grid.units[0] < 0 < grid.units[-1] and 0 not in grid.units:
        return None  # toward zero, both ends of the gap around it change sides
    firsts = first_values(grid, rounding)
    if len(firsts) <= _MOST_COUNTED:
        return functools.partial(_count, firsts)
    table = _prefix_table(firsts)
    return None if table is None else functools.partial(_look_up, *table)


def first_values(grid: LevelGrid, rounding: RoundingPolicy) -> NDArray[np.float32]:
    """The least float32 that goes to each level but the first, ascending."""
    low = _ordered(grid.units[:-1].astype(np.float32))
    high = _ordered(grid.units[1:].astype(np.float32)) + 1
    target = np.arange(1, len(grid.units)) + grid.code_range[0]
    while (low < high).any():
        middle = (low + high) // 2
        reached = grid.encode(_floats(middle), None, rounding) >= target
        high = np.where(reached, middle, high)
        low = np.where(reached, low, middle + 1)
    return _floats(high)


def _ordered(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Integers in the order of the floats."""
    bits = values.view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def _floats(order: NDArray[np.int64]) -> NDArray[np.float32]:
    bits = np.where(order < 0, -order | 0x80000000, order)
    return bits.astype(np.uint32).view(np.float32)


def _count(firsts: NDArray[np.float32], t: NDArray[np.float32]) -> NDArray[np.int8]:
    """How many thresholds each element has reached."""
    index = BUFFERS.flat("index", t.size, np.int8)
    reached = BUFFERS.flat("reached", t.size, np.bool_)
    np.greater_equal(t, firsts[0], out=index.view(np.bool_))
    for first in firsts[1:]:
        np.greater_equal(t, first, out=reached)
        np.add(index, reached.view(np.int8), out=index)
    return index


def _prefix_table(
    firsts: NDArray[np.float32],
) -> tuple[int, NDArray[np.float32], NDArray[np.int16]] | None:
    """For each prefix of a float32, where the level changes within it and what it is before.

    Returns:
        The shift that leaves the prefix, the thresholds and the level indices; None where even
        the longest prefix has two changes somewhere.
    """
    for bits in _PREFIX_BITS:
        shift = 32 - bits
        if len(np.unique(firsts.view(np.uint32) >> np.uint32(shift))) < len(firsts):
            continue  # two changes share a prefix
        head = np.arange(1 << bits, dtype=np.uint32) << np.uint32(shift)
        tail = head | np.uint32((1 << shift) - 1)
        negative = head >> np.uint32(31) == 1
        least = np.where(negative, tail, head).view(np.float32)
        greatest = np.where(negative, head, tail).view(np.float32)
        # A prefix of infinity holds NaNs too; t is never NaN, so its infinity stands for all.
        ends = np.where(negative, -np.inf, np.inf).astype(np.float32)
        before = np.searchsorted(firsts, np.where(np.isnan(least), ends, least), side="right")
        after = np.searchsorted(firsts, np.where(np.isnan(greatest), ends, greatest), side="right")
        if (after - before <= 1).all():
            # Nothing reaches NaN, not even an infinite quotient.
            change = np.where(after > before, np.append(firsts, np.nan)[before], np.nan)
            return shift, change.astype(np.float32), before.astype(np.int16)
    return None


def _look_up(
    shift: int, change: NDArray[np.float32], before: NDArray[np.int16], t: NDArray[np.float32]
) -> NDArray[np.int16]:
    prefix = BUFFERS.flat("prefix", t.size, np.intp)
    np.right_shift(t.view(np.uint32), np.uint32(shift), out=prefix, casting="unsafe")
    # Every prefix is a valid index; the mode only spares NumPy the check.
    cut = np.take(change, prefix, out=BUFFERS.flat("cut", t.size, np.float32), mode="wrap")
    index = np.take(before, prefix, out=BUFFERS.flat("index", t.size, np.int16), mode="wrap")
    reached = np.greater_equal(t, cut, out=BUFFERS.flat("reached", t.size, np.bool_))
    np.add(index, reached.view(np.int8), out=index)
    return index

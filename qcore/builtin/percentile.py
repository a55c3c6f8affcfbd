"""The percentile observer: exact, in bounded memory, however long the block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from qcore.errors import UsageError
from qcore.interfaces.observer import Observer, Range, State, Trial
from qcore.ranks import nearest_rank

_DIGIT_BITS = (11, 11, 10)
"""A float32 as a three-digit number; a pass finds one digit."""


@dataclass(frozen=True)
class Percentile(Observer):
    """The range that leaves out the extremes, by nearest rank, never interpolated.

    hi is the smallest element with at least p% of its block at or below it; lo is the largest with
    at least p% at or above it. So both are elements, and short blocks keep their extremes.

    A block in pieces takes three passes, each a histogram of the next digits of those elements
    that agree with the sought one so far: a radix selection, exact.

    Attributes:
        p: percent, above 50 and at most 100.
    """

    id: ClassVar[str] = "percentile"
    passes: ClassVar[int] = 3
    p: float = 99.9

    def __post_init__(self) -> None:
        if not 50 < self.p <= 100:
            raise UsageError(f"'{self}': p is above 50 and at most 100")

    def rank(self, count: int) -> int:
        """Which element is sought, counted from 1 in the direction of its end."""
        return nearest_rank(self.p, count)

    def observe(self, blocks: NDArray[np.float32], trial: Trial | None) -> Range:
        count = blocks.shape[1]
        rank = self.rank(count)
        ends = np.partition(blocks, [count - rank, rank - 1], axis=1)
        return _unsigned_zero(ends[:, count - rank, None]), _unsigned_zero(ends[:, rank - 1, None])

    def summarize(
        self, blocks: NDArray[np.float32], trial: Trial | None, previous: State | None
    ) -> State:
        keys = _ordered(blocks)
        if previous is None:
            start = np.zeros(len(blocks), np.uint32)
            found = {"lo": start, "hi": start, "digit": np.array([0])}
            total = np.full(len(blocks), blocks.shape[1], np.int64)
        else:
            found = self._advance(previous)
            total = previous["total"]
        digit = int(found["digit"][0])
        counts = {
            f"{end}_counts": _histogram(keys, found[end], digit, flip=end == "lo")
            for end in ("lo", "hi")
        }
        return {**found, **counts, "total": total}

    def merge(self, a: State, b: State) -> State:
        summed = {name: a[name] + b[name] for name in ("lo_counts", "hi_counts")}
        # Only the first pass counts elements; the others are handed the total.
        first = int(a["digit"][0]) == 0
        total = a["total"] + b["total"] if first else a["total"]
        before = {f"{end}_before": a[f"{end}_before"] for end in ("lo", "hi") if not first}
        return {
            "lo": a["lo"],
            "hi": a["hi"],
            "digit": a["digit"],
            "total": total,
            **before,
            **summed,
        }

    def range(self, state: State) -> Range:
        found = self._advance(state)
        lo, hi = _values(~found["lo"])[:, None], _values(found["hi"])[:, None]
        return _unsigned_zero(lo), _unsigned_zero(hi)

    def _advance(self, state: State) -> dict[str, NDArray[Any]]:
        """The digits known once the histograms of this pass are read."""
        digit = int(state["digit"][0])
        width = _DIGIT_BITS[digit]
        ranks = np.array([self.rank(int(total)) for total in state["total"]])
        known: dict[str, NDArray[Any]] = {"digit": np.array([digit + 1])}
        for end in ("lo", "hi"):
            before = state[f"{end}_before"] if digit else np.zeros(len(ranks), np.int64)
            reached = before[:, None] + np.cumsum(state[f"{end}_counts"], axis=1)
            bin_ = (reached < ranks[:, None]).sum(axis=1)
            counted = np.take_along_axis(state[f"{end}_counts"], bin_[:, None], axis=1)[:, 0]
            known[f"{end}_before"] = (
                np.take_along_axis(reached, bin_[:, None], axis=1)[:, 0] - counted
            )
            shifted = state[end].astype(np.uint64) << np.uint64(width)
            known[end] = (shifted + bin_.astype(np.uint64)).astype(np.uint32)
        return known


def _unsigned_zero(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """−0 as +0: the two are equal, so sorting tells nothing of which comes first."""
    return values + np.float32(0)


def _ordered(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Integers in the order of the values; −0 comes right before +0."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    negative = bits >> np.uint32(31) == 1
    return np.where(negative, ~bits, bits | np.uint32(0x80000000))


def _values(keys: NDArray[Any]) -> NDArray[np.float32]:
    """The inverse of `_ordered`."""
    order = keys.astype(np.uint32)
    positive = order >> np.uint32(31) == 1
    return np.where(positive, order & np.uint32(0x7FFFFFFF), ~order).view(np.float32)


def _histogram(
    keys: NDArray[np.uint32], prefix: NDArray[Any], digit: int, *, flip: bool
) -> NDArray[np.int64]:
    """How many elements with this prefix have each value of the next digit, (n, bins).

    With `flip` the order is turned round, so that the lower end is sought as the upper one is.
    """
    ordered = ~keys if flip else keys
    below = sum(_DIGIT_BITS[digit + 1 :])
    bins = 1 << _DIGIT_BITS[digit]
    value = (ordered >> np.uint32(below)) & np.uint32(bins - 1)
    row = np.broadcast_to(np.arange(len(keys))[:, None], keys.shape)
    flat = row * bins + value
    if digit:
        known = ordered >> np.uint32(below + _DIGIT_BITS[digit])
        flat = flat[known == prefix.astype(np.uint32)[:, None]]
    counts = np.bincount(flat.ravel(), minlength=len(keys) * bins)
    return counts.reshape(len(keys), bins).astype(np.int64)

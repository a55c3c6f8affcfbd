"""The observers that need one look: minmax and fixed; and mse, which needs two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from qcore.errors import UsageError
from qcore.interfaces.observer import Observer, Range, State, Trial

_IN_CACHE = 1 << 17


@dataclass(frozen=True)
class MinMax(Observer):
    """From the least element to the greatest."""

    id: ClassVar[str] = "minmax"

    def summarize(
        self, blocks: NDArray[np.float32], trial: Trial | None, previous: State | None
    ) -> State:
        if not blocks.flags.c_contiguous:
            return {"lo": blocks.min(axis=1), "hi": blocks.max(axis=1)}
        # A few rows at a time, so that the second look finds them in cache.
        step = max(1, _IN_CACHE // blocks.shape[1])
        some = [blocks[start : start + step] for start in range(0, len(blocks), step)]
        ends = [(_row_extremes(rows, np.uint32), _row_extremes(rows, np.int32)) for rows in some]
        lo, hi = zip(*ends, strict=True)
        return {"lo": np.concatenate(lo), "hi": np.concatenate(hi)}

    def merge(self, a: State, b: State) -> State:
        return {"lo": np.minimum(a["lo"], b["lo"]), "hi": np.maximum(a["hi"], b["hi"])}

    def range(self, state: State) -> Range:
        return state["lo"][:, None], state["hi"][:, None]


def _row_extremes(
    blocks: NDArray[np.float32], integer: type[np.int32 | np.uint32]
) -> NDArray[np.float32]:
    """The greatest element of each row by way of int32, the least by way of uint32.

    NumPy is several times as fast at the maximum of integers, along rows. As int32 the bits of the
    greatest float are the greatest, if it is not negative; as uint32 those of the least, if it is.
    NaN is beyond infinity either way. Rows without such an element are looked at again.
    """
    found: NDArray[np.float32] = blocks.view(integer).max(axis=1).view(np.float32)
    greatest = integer is np.int32
    elsewhere = np.flatnonzero(np.signbit(found) == greatest)
    if elsewhere.size:
        rest = blocks[elsewhere]
        found[elsewhere] = rest.max(axis=1) if greatest else rest.min(axis=1)
    return found


@dataclass(frozen=True)
class Fixed(Observer):
    """A range that is known beforehand, the same for every block.

    Attributes:
        lo: the lower end, value units.
        hi: the upper end, not below the lower.
    """

    id: ClassVar[str] = "fixed"
    lo: float
    hi: float

    def __post_init__(self) -> None:
        finite = np.isfinite(np.array([self.lo, self.hi], np.float32)).all()
        if not (finite and self.lo <= self.hi):
            raise UsageError(f"'{self}' needs two float32 numbers, the lower one first")

    def summarize(
        self, blocks: NDArray[np.float32], trial: Trial | None, previous: State | None
    ) -> State:
        return {
            "lo": np.full(len(blocks), self.lo, np.float32),
            "hi": np.full(len(blocks), self.hi, np.float32),
        }

    def merge(self, a: State, b: State) -> State:
        return a

    def range(self, state: State) -> Range:
        return state["lo"][:, None], state["hi"][:, None]


@dataclass(frozen=True)
class Mse(Observer):
    """The range with the least squared error, searched among shrinkages of the full range.

    Tried are f·lo and f·hi for f = 1, 0.975, 0.95, …, 0.025, with the recipe's own scheme, rounding
    and scale format. Of equal errors the widest range wins.
    """

    id: ClassVar[str] = "mse"
    passes: ClassVar[int] = 2
    needs_trial: ClassVar[bool] = True
    shrinkages: ClassVar[tuple[float, ...]] = tuple(1 - step / 40 for step in range(40))

    def summarize(
        self, blocks: NDArray[np.float32], trial: Trial | None, previous: State | None
    ) -> State:
        if previous is None or trial is None:
            return MinMax().summarize(blocks, trial, previous)
        lo, hi = previous["lo"][:, None], previous["hi"][:, None]
        errors = [
            trial.errors(blocks, lo * np.float32(f), hi * np.float32(f)) for f in self.shrinkages
        ]
        return {"lo": previous["lo"], "hi": previous["hi"], "errors": np.hstack(errors)}

    def merge(self, a: State, b: State) -> State:
        if "errors" in a:
            return {**a, "errors": a["errors"] + b["errors"]}
        return MinMax().merge(a, b)

    def range(self, state: State) -> Range:
        best = np.argmin(state["errors"], axis=1)
        factor = np.array(self.shrinkages, np.float32)[best]
        return (state["lo"] * factor)[:, None], (state["hi"] * factor)[:, None]

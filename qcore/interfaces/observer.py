"""Observers: how the range of a block is estimated."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from qcore.interfaces.quantizer import FitContext, Quantizer
from qcore.interfaces.rounding import RoundingPolicy
from qcore.interfaces.scale_format import ScaleFormat
from qcore.spec import Configurable

State = Mapping[str, NDArray[Any]]
"""What an observer has seen: named arrays, one row a block."""

Range = tuple[NDArray[np.float32], NDArray[np.float32]]
"""The lower and the upper end of each block's range, (n, 1) each."""


@dataclass(frozen=True, eq=False)
class Trial:
    """The rest of the recipe, so that an observer can try a range before it settles on it."""

    quantizer: Quantizer
    scale_format: ScaleFormat
    rounding: RoundingPolicy
    tensor_range: tuple[float, float] | None = None

    def errors(self, blocks: NDArray[np.float32], lo: Any, hi: Any) -> NDArray[np.float64]:
        """Σe² of each block, (n, 1), if its range were [lo, hi]."""
        context = FitContext(lo, hi, self.scale_format.snap, self.tensor_range)
        params = self.quantizer.fit(blocks, context)
        codes = self.quantizer.encode(blocks, params, self.rounding)
        error = self.quantizer.decode(codes, params) - blocks.astype(np.float64)
        squares: NDArray[np.float64] = np.einsum("ij,ij->i", error, error)
        return squares[:, None]


class Observer(Configurable, ABC):
    """Looks at a block, in one piece or in many, and gives its range.

    A block may come in pieces, from several chunks, batches or workers. Each piece is summarized
    by itself, and the states are merged.
    """

    passes: ClassVar[int] = 1
    """How often the data must be gone through."""

    needs_trial: ClassVar[bool] = False
    """Whether the range depends on the recipe's other axes; if so, `summarize` gets a trial."""

    @abstractmethod
    def summarize(
        self, blocks: NDArray[np.float32], trial: Trial | None, previous: State | None
    ) -> State:
        """The state of these pieces of blocks.

        Args:
            blocks: (n, b) float32, finite.
            trial: the recipe, for an observer that sets `needs_trial`; otherwise None.
            previous: the merged state of the pass before; None in the first.
        """

    @abstractmethod
    def merge(self, a: State, b: State) -> State:
        """The state of the pieces of `a` and `b` together; the same in any order."""

    @abstractmethod
    def range(self, state: State) -> Range:
        """The range of each block, from the merged state of the last pass."""

    def observe(self, blocks: NDArray[np.float32], trial: Trial | None) -> Range:
        """The range of whole blocks at once; the same as in pieces, if perhaps faster."""
        state: State | None = None
        for _ in range(self.passes):
            state = self.summarize(blocks, trial, state)
        assert state is not None  # passes ≥ 1
        return self.range(state)

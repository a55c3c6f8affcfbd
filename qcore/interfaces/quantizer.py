"""Quantizers: how a block becomes codes, and how codes become values again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from qcore.errors import UsageError
from qcore.interfaces.rounding import Mask, RoundingPolicy
from qcore.packing import code_dtype
from qcore.params import QuantParams
from qcore.spec import Configurable


@dataclass(frozen=True, eq=False)
class FitContext:
    """What a scheme may know about its blocks besides their elements.

    Attributes:
        lo: (n, 1) float32, the lower end of each block's range, from the observer.
        hi: (n, 1) float32, the upper end.
        snap: gives the stored number for each scale; what derives from a scale derives from it.
        tensor_range: the least and greatest element of the whole tensor, for a scheme that sets
            `needs_tensor_range`; otherwise None.
        weights: reserved for the importance of each element.
    """

    lo: NDArray[np.float32]
    hi: NDArray[np.float32]
    snap: Callable[[NDArray[Any]], NDArray[np.float32]]
    tensor_range: tuple[float, float] | None = None
    weights: NDArray[np.float32] | None = None

    def largest(self, *, signed: bool) -> NDArray[np.float32]:
        """The largest magnitude in range, (n, 1); if not `signed`, the largest positive value."""
        positive = np.maximum(self.hi, np.float32(0))
        return np.maximum(positive, -self.lo) if signed else positive


class Quantizer(Configurable, ABC):
    """A scheme. It sees only blocks: (n, b) read-only float32, n blocks of b elements.

    It is called on many chunks of blocks, from several threads.
    """

    outside_spec = frozenset({"bits"})
    needs_tensor_range: ClassVar[bool] = False
    needs_whole_blocks: ClassVar[bool] = True
    """Whether a block must reach the scheme whole, however long it is."""

    if TYPE_CHECKING:  # a dataclass field, or a class constant where the width is fixed

        @property
        def bits(self) -> int:
            """The nominal width of a code."""

    @property
    def code_bits(self) -> int:
        """The bits that a stored code takes."""
        return self.bits

    @property
    def code_range(self) -> tuple[int, int]:
        """The lowest code and the highest; signed, in two's complement, unless overridden."""
        half = 1 << (self.code_bits - 1)
        return -half, half - 1

    @property
    def code_dtype(self) -> np.dtype[Any]:
        """The smallest integer dtype that holds the codes."""
        return code_dtype(self.code_bits, self.code_range[0] < 0)

    @property
    def formula(self) -> str:
        """The equation of x̂ in one line, for people; empty where none is given."""
        return ""

    @abstractmethod
    def fit(self, blocks: NDArray[np.float32], context: FitContext) -> QuantParams:
        """The params of each block: (n, b) → n rows."""

    @abstractmethod
    def encode(
        self, blocks: NDArray[np.float32], params: QuantParams, rounding: RoundingPolicy
    ) -> NDArray[Any]:
        """The codes: (n, b) → (n, b) integers."""

    @abstractmethod
    def decode(self, codes: NDArray[Any], params: QuantParams) -> NDArray[np.float32]:
        """The values that the codes stand for: (n, b) → (n, b)."""

    def field_bits(self, params: QuantParams) -> dict[str, int]:
        """The stored bits a block of every field of `params` but the scale."""
        return {
            name: array.dtype.itemsize * 8 * array.shape[1]
            for name, array in params.fields().items()
            if name != "scale"
        }

    def clipped(self, blocks: NDArray[np.float32], params: QuantParams) -> Mask | None:
        """Which elements lie outside what the codes cover; None where it cannot be told."""
        return None


def even_step(lo: NDArray[Any], hi: NDArray[Any], intervals: int) -> NDArray[np.float64]:
    """(hi − lo) / intervals, each step rounded to float32; 1 where lo = hi.

    Where hi − lo overflows float32 it is kept in float64.
    """
    width = hi.astype(np.float64) - lo
    rounded = width.astype(np.float32)
    kept = np.where(np.isfinite(rounded), rounded, width)
    return np.where(kept > 0, kept / intervals, 1.0)


def check_bits(quantizer: Quantizer, least: int, most: int) -> None:
    """Refuse a width that a scheme does not have.

    Raises:
        UsageError: `quantizer.bits` is not from `least` to `most`.
    """
    if not least <= quantizer.bits <= most:
        raise UsageError(f"'{quantizer.id}' has {least} to {most} bits, not {quantizer.bits}")

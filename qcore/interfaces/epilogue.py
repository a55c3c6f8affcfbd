"""What follows the product of a layer, block by block: bias, ReLU, and the output's format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.errors import NonFiniteError
from qcore.interfaces.boundary import check_codes
from qcore.interfaces.quantizer import Quantizer
from qcore.interfaces.rounding import RoundingPolicy
from qcore.params import QuantParams

Encode = Callable[[Quantizer, NDArray[np.float32], QuantParams, RoundingPolicy], NDArray[Any]]


def _as_written(
    quantizer: Quantizer,
    blocks: NDArray[np.float32],
    params: QuantParams,
    rounding: RoundingPolicy,
) -> NDArray[Any]:
    return quantizer.encode(blocks, params, rounding)


@dataclass(frozen=True, eq=False)
class Requantize:
    """How a layer's output becomes codes.

    Attributes:
        quantizer: the scheme.
        params: one row, for all of the output.
        rounding: the policy.
        encode: gives the codes of blocks, as `Backend.encode` does; the scheme's own by default.
    """

    quantizer: Quantizer
    params: QuantParams
    rounding: RoundingPolicy
    encode: Encode = _as_written

    def codes(self, values: NDArray[np.float32], first_row: int) -> NDArray[Any]:
        """The codes of some rows of the output, (m, N); the first of them is row `first_row`.

        Raises:
            NonFiniteError: a value is not finite.
            SchemeError: the scheme gives no codes.
        """
        finite = np.isfinite(values)
        if not finite.all():
            raise NonFiniteError(values.size - int(np.count_nonzero(finite)), values.size)
        rounding = self.rounding
        if rounding.needs_positions:
            start = first_row * values.shape[1]
            at = np.arange(start, start + values.size, dtype=np.uint64)
            rounding = rounding.at(at.reshape(1, -1))
        blocks = values.reshape(1, -1)
        codes = self.encode(self.quantizer, blocks, self.params, rounding)
        check_codes(codes, blocks.shape, self.quantizer)
        return codes.reshape(values.shape)


@dataclass(frozen=True, eq=False)
class Epilogue:
    """What comes after the product.

    Attributes:
        bias: (N,) float64, or None.
        relu: whether negative values become 0.
        requantize: how values become codes; None leaves float32.
    """

    bias: NDArray[np.float64] | None = None
    relu: bool = False
    requantize: Requantize | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """What it gives."""
        return (
            np.dtype(np.float32)
            if self.requantize is None
            else self.requantize.quantizer.code_dtype
        )

    def finish(self, values: NDArray[np.float64], out: NDArray[Any], first_row: int) -> None:
        """Write some rows of the output.

        Args:
            values: (m, N), the products; used as scratch.
            out: (m, N) of `dtype`.
            first_row: where they are in the output.

        Raises:
            NonFiniteError: what is to become codes is not finite.
        """
        if self.bias is not None:
            np.add(values, self.bias, out=values)
        single = out if self.requantize is None else np.empty(values.shape, np.float32)
        np.copyto(single, values, casting="same_kind")
        if self.relu:
            np.maximum(single, 0, out=single)
        if self.requantize is not None:
            out[...] = self.requantize.codes(single, first_row)

"""Backends: where and how the kernels run. The defaults here are the reference."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from qcore.error_stats import ErrorStats, measure_errors
from qcore.errors import SchemeError
from qcore.interfaces.quantizer import Quantizer
from qcore.interfaces.rounding import RoundingPolicy
from qcore.params import QuantParams
from qcore.spec import Configurable


class Backend(Configurable, ABC):
    """Runs a scheme on chunks of blocks, (n, b) float32 and finite.

    Whatever a backend overrides gives the same codes and values as the defaults, to the bit.
    """

    chunk_elements: ClassVar[int] = 3 << 16
    """How many elements the engine hands over at a time, unless one block is longer.

    They fit in a core's cache, as schemes that run as they are written go through them many times.
    """

    grid_chunk_elements: ClassVar[int] = 3 << 16
    """The same for schemes that are a grid."""

    @abstractmethod
    def available(self) -> str | None:
        """Why the backend cannot run here, in one line; None if it can."""

    def encode(
        self,
        quantizer: Quantizer,
        blocks: NDArray[np.float32],
        params: QuantParams,
        rounding: RoundingPolicy,
    ) -> NDArray[Any]:
        """The codes of `blocks`, (n, b) in the quantizer's code dtype."""
        return quantizer.encode(blocks, params, rounding)

    def decode(
        self, quantizer: Quantizer, codes: NDArray[Any], params: QuantParams
    ) -> NDArray[np.float32]:
        """The values of `codes`, (n, b) float32."""
        return quantizer.decode(codes, params)

    def measure(
        self,
        quantizer: Quantizer,
        blocks: NDArray[np.float32],
        params: QuantParams,
        rounding: RoundingPolicy,
        sums: Collection[str],
        extremes: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
    ) -> ErrorStats:
        """The error of decode(encode(blocks)), as the sums asked for.

        Args:
            quantizer: the scheme.
            blocks: (n, b) float32.
            params: n rows.
            rounding: the policy for these elements.
            sums: which sums, by the names in `qcore.error_stats.SUMS`.
            extremes: each block's least and greatest element, (n, 1), where the caller knows them.
        """
        values = self.render(quantizer, blocks, params, rounding)
        stats = measure_errors(blocks, values, sums)
        return self.count_clipped(stats, quantizer, blocks, params, sums)

    def render(
        self,
        quantizer: Quantizer,
        blocks: NDArray[np.float32],
        params: QuantParams,
        rounding: RoundingPolicy,
    ) -> NDArray[np.float32]:
        """decode(encode(blocks)) as the quantizer is written, (n, b).

        Raises:
            SchemeError: the codes are no integers, or the values not in the shape of the blocks.
        """
        codes = quantizer.encode(blocks, params, rounding)
        if codes.dtype.kind not in "iu":
            raise SchemeError(f"gave codes of dtype {codes.dtype}; codes are integers")
        values = quantizer.decode(codes, params)
        if np.shape(values) != blocks.shape:
            raise SchemeError(f"gave values of shape {np.shape(values)} for {blocks.shape} blocks")
        return values

    def count_clipped(
        self,
        stats: ErrorStats,
        quantizer: Quantizer,
        blocks: NDArray[np.float32],
        params: QuantParams,
        sums: Collection[str],
    ) -> ErrorStats:
        """`stats` with the elements outside the quantizer's range counted, if asked for."""
        if "clipped" not in sums:
            return stats
        outside = quantizer.clipped(blocks, params)
        count = float("nan") if outside is None else float(np.count_nonzero(outside))
        return dataclasses.replace(stats, clipped=count)

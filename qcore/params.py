"""The numbers that turn codes back into values, one row a block."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class QuantParams:
    """x̂ = (code − zero_point) · scale + offset, for a scheme that is a grid.

    Attributes:
        scale: (n, 1) float32, > 0, value units per step of the grid.
        zero_point: (n, 1) int32, or None for zero.
        offset: (n, 1) float32, value units, or None for zero.
        extra: named (n, m) arrays, for a scheme that stores more.
    """

    scale: Array
    zero_point: Array | None = None
    offset: Array | None = None
    extra: Mapping[str, Array] = field(default_factory=dict)

    def fields(self) -> dict[str, Array]:
        """Every array that is present, by name."""
        named = {"scale": self.scale, "zero_point": self.zero_point, "offset": self.offset}
        return {k: v for k, v in named.items() if v is not None} | dict(self.extra)

    def rows(self, index: slice | Array) -> Self:
        """The params of some of the blocks."""
        return self._map(lambda array: array[index])

    def _map(self, change: Any) -> Self:
        return dataclasses.replace(
            self,
            scale=change(self.scale),
            zero_point=None if self.zero_point is None else change(self.zero_point),
            offset=None if self.offset is None else change(self.offset),
            extra={name: change(array) for name, array in self.extra.items()},
        )

    def like(self, n_blocks: int) -> Self:
        """Room for `n_blocks` rows of the same fields, to be filled with `put`."""
        return self._map(lambda array: np.zeros((n_blocks, *array.shape[1:]), array.dtype))

    def put(self, index: slice | Sequence[int] | Array, rows: QuantParams) -> None:
        """Write `rows` into these params at `index`."""
        target = self.fields()
        for name, array in rows.fields().items():
            target[name][index] = array

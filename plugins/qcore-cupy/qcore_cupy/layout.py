"""Blocks as they lie in the device's memory, and how threads share them out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from qcore_cupy.arguments import BLOCKS, Structure
from qcore_cupy.device import Device

TILE = 4096
"""The elements that a group of threads takes at a time; the kernels count on it."""

_MOST_GROUPS = 2048
"""Enough to fill any GPU. It does not depend on which: so sums come out the same on all."""


@dataclass(frozen=True, eq=False)
class Laid:
    """Blocks (n, b) in the device's memory, one after the other or side by side.

    Attributes:
        flat: C-contiguous, (n, b), or (b, n) if turned.
        turned: whether element i of every block is next to element i of the next one.
    """

    flat: Any
    turned: bool

    @classmethod
    def of(cls, device: Device, array: Any, dtype: type[np.generic] | None = None) -> Self:
        """An array of two axes, of the host or of the device, in the order that it has.

        Args:
            device: where it goes.
            array: any strides.
            dtype: what to make it, if it is anything else; None leaves it.
        """
        if dtype is not None:
            array = array.astype(dtype, copy=False)
        turned = bool(array.flags.f_contiguous and not array.flags.c_contiguous)
        return cls(device.upload(array.T if turned else array), turned)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, b)."""
        outer, inner = self.flat.shape
        return (inner, outer) if self.turned else (outer, inner)

    @property
    def structure(self) -> Structure:
        """What the kernels are told."""
        outer, inner = self.flat.shape
        fields = {"size": outer * inner, "outer": outer, "inner": inner, "turned": int(self.turned)}
        return Structure(BLOCKS, fields)

    @property
    def groups(self) -> int:
        """How many groups of threads go through it; 0 where there is nothing."""
        tiles = -(-int(self.flat.size) // TILE)
        return min(tiles, _MOST_GROUPS)

    def alike(self, device: Device, array: Any) -> Any:
        """An array that broadcasts to (n, b), laid out as these blocks, on the device."""
        xp = device.xp if device.holds(array) else np
        whole = xp.broadcast_to(array, self.shape)
        return device.upload(whole.T if self.turned else whole)

    def shaped(self, flat: Any) -> Any:
        """An array that lies as these blocks do, as (n, b)."""
        return flat.T if self.turned else flat

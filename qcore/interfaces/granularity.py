"""Granularities: which elements share one scale."""

from __future__ import annotations

from abc import ABC, abstractmethod

from qcore.spec import Configurable


class Granularity(Configurable, ABC):
    """A rule that cuts every tensor into rectangular blocks of one shape.

    The tile is all there is to say: blocks are numbered in C order of their place in the tensor,
    and elements in C order within their block.
    """

    @abstractmethod
    def tile(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The extent of a block along each axis of a tensor of this shape.

        Where a tile does not divide its axis, the last block along it is shorter.

        Raises:
            ShapeError: the shape cannot be cut so.
        """

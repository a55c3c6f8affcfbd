"""The granularities: tensor, channel, group, block and token, each a rule for its tile."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

from qcore.errors import ShapeError, UsageError
from qcore.interfaces.granularity import Granularity

Tail = Literal["error", "short"]


@dataclass(frozen=True)
class Tensor(Granularity):
    """One scale for the whole tensor."""

    id: ClassVar[str] = "tensor"

    def tile(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape


@dataclass(frozen=True)
class Channel(Granularity):
    """One scale for each index along an axis, or for each of G groups of them.

    Attributes:
        axis: the channels' axis; negative counts from the last.
        groups: how many groups of neighbouring channels share a scale; 0 for one each.
    """

    id: ClassVar[str] = "channel"
    axis: int
    _: KW_ONLY
    groups: int = 0

    def __post_init__(self) -> None:
        if self.groups < 0:
            raise UsageError(f"'{self}': groups is a positive number, or 0 for one each")

    def tile(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        axis = resolve_axis(self, self.axis, shape)
        channels = shape[axis]
        groups = self.groups or max(channels, 1)
        if channels % groups:
            fits = [g for g in range(1, channels + 1) if channels % g == 0]
            raise ShapeError(
                f"'{self}' cannot split {channels} channels (axis {axis} of shape {shape}) "
                f"evenly; groups that do: {_listed(fits)}"
            )
        return _replaced(shape, axis, channels // groups)


@dataclass(frozen=True)
class Group(Granularity):
    """One scale for each run of `size` elements along an axis.

    Attributes:
        size: elements a group.
        axis: the axis that groups run along; negative counts from the last.
        tail: what happens where the size does not divide the axis: an `error`, or a `short`
            last group with a scale of its own.
    """

    id: ClassVar[str] = "group"
    size: int
    axis: int = -1
    _: KW_ONLY
    tail: Tail = "error"

    def __post_init__(self) -> None:
        _check_size(self, self.size)

    def tile(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        axis = resolve_axis(self, self.axis, shape)
        size = fitted(self, self.size, shape, axis, self.tail)
        return tuple(size if i == axis else min(1, extent) for i, extent in enumerate(shape))


@dataclass(frozen=True)
class Block(Granularity):
    """One scale for each rectangle of the last two axes.

    Attributes:
        rows: extent along the last axis but one.
        columns: extent along the last axis.
        tail: as for `group`.
    """

    id: ClassVar[str] = "block"
    rows: int
    columns: int
    _: KW_ONLY
    tail: Tail = "error"

    def __post_init__(self) -> None:
        _check_size(self, self.rows)
        _check_size(self, self.columns)

    def tile(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) < 2:
            raise ShapeError(f"'{self}' needs two axes or more; shape {shape} has {len(shape)}")
        last = len(shape) - 1
        rows = fitted(self, self.rows, shape, last - 1, self.tail)
        columns = fitted(self, self.columns, shape, last, self.tail)
        return (*(min(1, extent) for extent in shape[:-2]), rows, columns)


@dataclass(frozen=True)
class Token(Granularity):
    """One scale for each vector along the last axis."""

    id: ClassVar[str] = "token"

    def tile(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*(min(1, extent) for extent in shape[:-1]), *shape[-1:])


def resolve_axis(granularity: Granularity, axis: int, shape: tuple[int, ...]) -> int:
    """`axis` counted from the first.

    Raises:
        ShapeError: the shape has no such axis.
    """
    if not -len(shape) <= axis < len(shape):
        raise ShapeError(f"'{granularity}': axis {axis} is out of range for shape {shape}")
    return axis % len(shape)


def fitted(
    granularity: Granularity, size: int, shape: tuple[int, ...], axis: int, tail: Tail
) -> int:
    """The tile's extent along an axis that is to be cut in pieces of `size`.

    Raises:
        ShapeError: the size does not divide the axis, and the tail may not be short.
    """
    extent = shape[axis]
    if extent % size and tail == "error":
        fits = [d for d in range(1, extent + 1) if extent % d == 0]
        raise ShapeError(
            f"'{granularity}': {size} does not divide axis {axis} of shape {shape}; "
            f"sizes that do: {_listed(fits)}; or add tail=short"
        )
    return min(size, extent)


def _check_size(granularity: Granularity, size: int) -> None:
    if size < 1:
        raise UsageError(f"'{granularity}': a size is at least 1, not {size}")


def _replaced(shape: tuple[int, ...], axis: int, extent: int) -> tuple[int, ...]:
    return (*shape[:axis], extent, *shape[axis + 1 :])


def _listed(numbers: list[int]) -> str:
    shown = numbers if len(numbers) <= 12 else [*numbers[:6], "…", *numbers[-6:]]
    return ", ".join(str(n) for n in shown)

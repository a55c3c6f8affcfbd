"""Checks of granularities: every tensor is cut into blocks that cover it, or refused."""

from __future__ import annotations

import contextlib
import math

import numpy as np

from qcore.blocking import Layout
from qcore.builtin.backends import Reference
from qcore.engine import quantize
from qcore.errors import ShapeError
from qcore.interfaces.granularity import Granularity
from qcore.recipe import Recipe
from qcore.testing.laws import given, law, require, require_same
from qcore.testing.stand_ins import Steps

SHAPES: tuple[tuple[int, ...], ...] = (
    (1,), (7,), (64,), (1, 1), (4, 6), (8, 128), (5, 1), (3, 5, 7), (4, 4, 4), (2, 3, 4, 5),
    (2, 1, 3, 1, 2), (0,), (0, 4), (4, 0), (2, 0, 3),
)  # fmt: skip


def _cut(granularity: Granularity) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The shapes that a granularity cuts, with their tiles; the others must be a ShapeError."""
    found = []
    for shape in SHAPES:
        with given(f"shape {shape}"), contextlib.suppress(ShapeError):
            found.append((shape, granularity.tile(shape)))
    return found


@law
def check_granularity_tile(granularity: Granularity) -> None:
    """A tile has an extent for each axis, from 1 to the axis's; else there is a ShapeError."""
    for shape, tile in _cut(granularity):
        with given(f"shape {shape}"):
            require(isinstance(tile, tuple), f"gave {tile!r}, no tuple")
            require(len(tile) == len(shape), f"gave {tile}, which is not an extent for each axis")
            for extent, length in zip(tile, shape, strict=True):
                whole = isinstance(extent, int) and min(1, length) <= extent <= length
                require(whole, f"gave {tile}; {extent!r} is not from 1 to {length}")


@law
def check_granularity_cuts_something(granularity: Granularity) -> None:
    """Some tensor of 64 elements or fewer can be cut."""
    some = [shape for shape, _ in _cut(granularity) if 0 < math.prod(shape) <= 64]
    require(some, f"refuses each of {', '.join(map(str, SHAPES))}")


@law
def check_granularity_goes_by_the_shape_alone(granularity: Granularity) -> None:
    """The same shape is cut in the same way, however often."""
    for (shape, tile), (_, again) in zip(_cut(granularity), _cut(granularity), strict=True):
        with given(f"shape {shape}"):
            require(again == tile, f"gave {tile}, then {again}")


@law
def check_granularity_covers_the_tensor(granularity: Granularity) -> None:
    """Every element is in one block and no other, and there is a scale for each block."""
    for shape, _ in _cut(granularity):
        with given(f"shape {shape}"):
            layout = Layout.of(granularity, shape)
            count = np.zeros(shape, int)
            blocks = np.zeros(layout.n_blocks, int)
            for chunk in layout.chunks(16, whole=True):
                np.add.at(count.reshape(-1), chunk.positions(shape).astype(np.intp).ravel(), 1)
                blocks[layout.rows(chunk)] += 1
            require_same("the blocks that hold an element", count, np.ones(shape))
            require_same("how often a block came", blocks, np.ones_like(blocks))


@law
def check_granularity_scales_are_of_their_blocks(granularity: Granularity) -> None:
    """Quantized, a tensor keeps its shape and values, and has one scale a block along each axis."""
    for shape, _ in _cut(granularity):
        x = np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)
        with given(f"shape {shape}"):
            recipe = Recipe(Steps(16), granularity=granularity)  # type: ignore[arg-type]
            q = quantize(x, recipe, backend=Reference(), threads=1)
            require(q.codes.shape == shape, f"codes have shape {q.codes.shape}")
            require(q.scale.ndim == x.ndim, f"scales have shape {q.scale.shape}")
            error = np.abs(q.dequantize() - x)
            wide = q.scale
            for axis, extent in enumerate(q.layout.tile):
                wide = wide.repeat(extent, axis=axis).take(range(shape[axis]), axis=axis)
            require((error <= wide).all(), "an element errs by more than the scale of its block")


CHECKS = (
    check_granularity_tile,
    check_granularity_cuts_something,
    check_granularity_goes_by_the_shape_alone,
    check_granularity_covers_the_tensor,
    check_granularity_scales_are_of_their_blocks,
)

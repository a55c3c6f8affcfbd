"""Checks of rounding policies: to a neighbour, element by element, on every grid alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.grids import IntegerGrid, LevelGrid
from qcore.interfaces.rounding import Gap, RoundingPolicy
from qcore.testing.blocks import frozen, layouts, positions
from qcore.testing.laws import (
    CheckSkipped,
    given,
    law,
    require,
    require_same,
    require_unchanged,
)


def _values() -> Iterator[NDArray[Any]]:
    """Ties, their neighbours, integers, tiny and huge numbers, in float32 and float64."""
    random = np.random.default_rng(11)
    halves = np.arange(-9, 9.5, 0.5)
    for dtype in (np.float32, np.float64):
        exact = halves.astype(dtype)
        near = [np.nextafter(exact, dtype(np.inf)), np.nextafter(exact, dtype(-np.inf))]
        odd = [8388609, 8388607.5, 16777215, -8388609, 0.49999997, 1e-45, -1e-45, 3e38, -3e38, -0.0]
        spread = random.standard_normal(64) * 20
        x = np.concatenate([exact, *near, np.array(odd, dtype), spread.astype(dtype)])
        yield frozen(x.reshape(-1, 5))


def _named(x: NDArray[Any]) -> str:
    return f"{x.dtype} ties, numbers beside them, integers, huge and random ones"


def _placed(policy: RoundingPolicy, x: NDArray[Any]) -> RoundingPolicy:
    return policy.at(positions(x.shape))


@law
def check_rounding_goes_to_a_neighbour(policy: RoundingPolicy) -> None:
    """A value is rounded to one of its two neighbours: round(x) is ⌊x⌋ or ⌊x⌋ + 1."""
    for x in _values():
        with given(_named(x)):
            rounded = _placed(policy, x).round(x)
            down = np.floor(x)
            nearest_of = np.where(rounded == down, down, down + 1)
            require_same("rounded", rounded, nearest_of, x=x)


@law
def check_rounding_keeps_the_grid(policy: RoundingPolicy) -> None:
    """What is on the grid stays: integers, zeros, infinities, and the levels of a level grid."""
    for dtype in (np.float32, np.float64):
        whole = np.array([0, 1, -1, 2, 7, -8, 8388609, 16777216, 1e30, -3e38], dtype)
        ends = np.array([np.inf, -np.inf], dtype)
        for x in (whole, ends):
            with given(f"{dtype.__name__} {x.tolist()}"):
                require_same("rounded", _placed(policy, x).round(x), x)
    grid = LevelGrid([-9, -4, -1.5, 0, 0.25, 1, 10])
    levels = grid.units.astype(np.float32)
    codes = grid.encode(levels, None, _placed(policy, levels))
    require_same("levels", grid.decode(codes, None), levels)


@law
def check_rounding_is_monotone(policy: RoundingPolicy) -> None:
    """A larger value is never rounded to a smaller one."""
    if policy.needs_positions:
        raise CheckSkipped(f"'{policy}' goes by position too")
    for x in _values():
        ordered = np.sort(x, axis=None)
        rounded = policy.round(ordered)
        highest = np.maximum.accumulate(rounded)
        with given(_named(x)):
            require_same("rounded, in ascending order", rounded, highest, x=ordered)


@law
def check_rounding_keeps_shape_and_dtype(policy: RoundingPolicy) -> None:
    """Shape and dtype stay as they are, empty or not, and so does x itself."""
    for dtype in (np.float32, np.float64):
        for shape in ((), (1,), (3, 5), (0, 4), (4, 0), (2, 3, 2)):
            with given(f"{dtype.__name__} of shape {shape}"):
                x = frozen(np.full(shape, 2.5, dtype))
                before = x.copy()
                rounded = _placed(policy, x).round(x)
                require(np.shape(rounded) == shape, f"rounded has shape {np.shape(rounded)}")
                require(rounded.dtype == dtype, f"rounded is {rounded.dtype}")
                require_unchanged("x", before, x)


@law
def check_rounding_into_a_buffer(policy: RoundingPolicy) -> None:
    """With round(x, out=…) out is filled and given back; it may be x itself."""
    for x in _values():
        with given(_named(x)):
            placed = _placed(policy, x)
            expected = placed.round(x)
            for name, out in (("another array", np.full_like(x, 99)), ("x itself", x.copy())):
                source = out if name == "x itself" else x
                returned = placed.round(source, out=out)
                require(returned is out, f"round(x, out={name}) gave another array back")
                require_same(f"out, {name},", out, expected, x=x)


@law
def check_rounding_by_element(policy: RoundingPolicy) -> None:
    """An element is rounded as it is alone, wherever its neighbours are and in any memory order."""
    for x in _values():
        with given(_named(x)):
            at = positions(x.shape)
            whole = policy.at(at).round(x)
            for name, laid_out in layouts(x.astype(np.float32)):
                with given(name):
                    found = policy.at(at).round(laid_out.astype(x.dtype, order="K"))
                    expected = policy.at(at).round(x.astype(np.float32).astype(x.dtype))
                    require_same("rounded", found, expected, x=x)
            for part in (np.s_[3:7], np.s_[::-1], np.s_[:, 1::2], np.s_[4:5, 2:3]):
                found = policy.at(at[part]).round(x[part])
                require_same(f"elements {part} by themselves", found, whole[part], x=x[part])


@law
def check_rounding_is_deterministic(policy: RoundingPolicy) -> None:
    """The same values in the same places are rounded alike, however often."""
    for x in _values():
        with given(_named(x)):
            first, second = (_placed(policy, x).round(x) for _ in range(2))
            require_same("rounded again", second, first, x=x)


@law
def check_rounding_is_one_rule(policy: RoundingPolicy) -> None:
    """What round does goes_up says, and says alike on a grid of quarters."""
    for x in _values():
        with given(_named(x)):
            placed = _placed(policy, x)
            expected = RoundingPolicy.round(placed, x)
            require_same("round, beside what goes_up says", placed.round(x), expected, x=x)
            down = np.floor(x)
            gap = Gap(x, down, down + 1, down + x.dtype.type(0.5), down)
            coarse = Gap(x / 4, gap.lower / 4, gap.upper / 4, gap.threshold / 4, down)
            up, coarser = placed.goes_up(gap), placed.goes_up(coarse)
            require(up.dtype == np.bool_, f"goes_up gives {up.dtype}, not bool")
            between = (x != down) & (np.abs(x) > 1e-30)
            require_same(
                "goes_up on a grid of quarters", coarser[between], up[between], x=x[between]
            )


@law
def check_rounding_on_level_grids(policy: RoundingPolicy) -> None:
    """A level grid whose levels are the integers gives the codes of the integer grid."""
    integers, levels = IntegerGrid(-8, 7), LevelGrid(range(-8, 8))
    for x in _values():
        inside = x.astype(np.float32)
        inside = inside[(inside >= -8) & (inside <= 7)]
        with given(_named(x)):
            placed = _placed(policy, inside)
            expected = integers.encode(inside, None, placed)
            require_same("codes", levels.encode(inside, None, placed), expected, x=inside)


CHECKS = (
    check_rounding_goes_to_a_neighbour,
    check_rounding_keeps_the_grid,
    check_rounding_is_monotone,
    check_rounding_keeps_shape_and_dtype,
    check_rounding_into_a_buffer,
    check_rounding_by_element,
    check_rounding_is_deterministic,
    check_rounding_is_one_rule,
    check_rounding_on_level_grids,
)

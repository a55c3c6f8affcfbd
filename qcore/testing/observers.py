"""Checks of observers: a range for each block, the same in one piece or in many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from qcore.errors import RangeError
from qcore.interfaces.boundary import check_range
from qcore.interfaces.observer import Observer, Range, State, Trial
from qcore.testing.blocks import Floats, constants, extremes, frozen, layouts, ordinary
from qcore.testing.laws import (
    CheckFailure,
    CheckSkipped,
    given,
    law,
    require,
    require_same,
    require_unchanged,
)
from qcore.testing.scheme_runs import FLOAT32, HALF_EVEN
from qcore.testing.stand_ins import Steps

Merged = Callable[[Observer, Sequence[State]], State]


def _trial(observer: Observer) -> Trial | None:
    return Trial(Steps(4), FLOAT32, HALF_EVEN) if observer.needs_trial else None


def _observed(observer: Observer, blocks: Floats) -> Range:
    lo, hi = observer.observe(blocks, _trial(observer))
    check_range(lo, hi, len(blocks))
    return lo, hi


def _left(observer: Observer, states: Sequence[State]) -> State:
    return reduce(observer.merge, states)


def _right(observer: Observer, states: Sequence[State]) -> State:
    return reduce(lambda later, earlier: observer.merge(earlier, later), reversed(states))


def _reversed(observer: Observer, states: Sequence[State]) -> State:
    return reduce(observer.merge, reversed(states))


def _paired(observer: Observer, states: Sequence[State]) -> State:
    half = len(states) // 2
    if not half:
        return states[0]
    return observer.merge(_paired(observer, states[half:]), _paired(observer, states[:half]))


def _in_pieces(observer: Observer, pieces: Sequence[Floats], merged: Merged) -> Range:
    """The range of blocks that come in pieces, all passes gone through."""
    state: State | None = None
    for _ in range(observer.passes):
        states = [observer.summarize(piece, _trial(observer), state) for piece in pieces]
        state = merged(observer, states)
    if state is None:
        raise CheckFailure(f"passes is {observer.passes}; it is at least 1")
    return observer.range(state)


def _require_same_range(what: str, found: Range, expected: Range) -> None:
    for name, end, wanted in zip(("lo", "hi"), found, expected, strict=True):
        require_same(f"{name}, {what},", end, wanted)


@law
def check_observer_range(observer: Observer) -> None:
    """The range is two (n, 1) float32 arrays, finite, lo not above hi."""
    for sample in (*ordinary(), *constants()):
        with sample.tried() as blocks:
            for end in _observed(observer, blocks):
                require(end.dtype == np.float32, f"an end is {end.dtype}")


@law
def check_observer_passes(observer: Observer) -> None:
    """After so many passes, each handed the state of the last, the range is what observe gives.

    States are mappings of arrays.
    """
    passes = observer.passes
    require(isinstance(passes, int) and passes >= 1, f"passes is {passes!r}")
    for sample in ordinary():
        with sample.tried() as blocks:
            state = observer.summarize(blocks, _trial(observer), None)
            for name, array in state.items():
                known = isinstance(name, str) and isinstance(array, np.ndarray)
                require(known, f"the state has {name!r}: {type(array).__name__}, no array")
            found = _in_pieces(observer, [blocks], _left)
            _require_same_range("in one piece", found, _observed(observer, blocks))


@law
def check_observer_merges_in_any_order(observer: Observer) -> None:
    """A block cut into pieces has the range of the whole, in whatever order they are merged."""
    for sample in ordinary():
        with sample.tried() as blocks:
            expected = _observed(observer, blocks)
            columns = blocks.shape[1]
            for cuts in ([columns // 2], [1, columns // 3, columns - 1]):
                inside = sorted({cut for cut in cuts if 0 < cut < columns})
                pieces = [frozen(p.copy()) for p in np.split(blocks, inside, axis=1)]
                for merged in (_left, _right, _reversed, _paired):
                    with given(f"cut at {inside}, merged {merged.__name__[1:]}"):
                        found = _in_pieces(observer, pieces, merged)
                        _require_same_range("in pieces", found, expected)


@law
def check_observer_merge_keeps_its_arguments(observer: Observer) -> None:
    """No state and no block is written to, by merge or by summarize."""
    for sample in ordinary():
        with sample.tried() as blocks:
            pieces = [blocks[:, ::2].copy(), blocks[:, 1::2].copy()]
            if not pieces[1].size:
                continue
            previous: State | None = None
            for _ in range(observer.passes):
                before = [piece.copy() for piece in pieces]
                kept = {} if previous is None else _copied(previous)
                states = [observer.summarize(p, _trial(observer), previous) for p in pieces]
                for old, now in zip(before, pieces, strict=True):
                    require_unchanged("a block, by summarize,", old, now)
                for name, array in kept.items():
                    now = (previous or {})[name]
                    require_unchanged(f"previous['{name}'], by summarize,", array, now)
                copies = [_copied(state) for state in states]
                previous = observer.merge(*states)
                for old_state, state in zip(copies, states, strict=True):
                    for name, array in old_state.items():
                        require_unchanged(f"a state's '{name}', by merge,", array, state[name])
            _observed(observer, frozen(blocks.copy()))


@law
def check_observer_blocks_are_independent(observer: Observer) -> None:
    """A block has the range alone that it has among others, and in any memory order."""
    for sample in ordinary():
        with sample.tried() as blocks:
            together = _observed(observer, blocks)
            for i in range(min(len(blocks), 6)):
                lo, hi = _observed(observer, blocks[i : i + 1])
                _require_same_range(f"block {i}", (lo, hi), tuple(e[i : i + 1] for e in together))  # type: ignore[arg-type]
            for name, laid_out in layouts(blocks):
                _require_same_range(name, _observed(observer, laid_out), together)


@law
def check_observer_stays_near_the_data(observer: Observer) -> None:
    """No end is farther from zero than the block's largest magnitude."""
    ranges = [_observed(observer, s.blocks * np.float32(k))
              for s in (ordinary()[-1],) for k in (1, 100)]  # fmt: skip
    if all(np.array_equal(a, b) for a, b in zip(*ranges, strict=True)):
        raise CheckSkipped(f"'{observer}' gives one range, whatever the data")
    for sample in (*ordinary(), *constants()):
        with sample.tried() as blocks:
            largest = np.abs(blocks).max(axis=1, keepdims=True)
            for name, end in zip(("lo", "hi"), _observed(observer, blocks), strict=True):
                require_same(name, np.clip(end, -largest, largest), end)


@law
def check_observer_is_deterministic(observer: Observer) -> None:
    """The same blocks have the same range, however often."""
    for sample in ordinary():
        with sample.tried() as blocks:
            first = tuple(end.copy() for end in _observed(observer, blocks))
            _require_same_range("again", _observed(observer, blocks), first)  # type: ignore[arg-type]


@law
def check_observer_extreme_values(observer: Observer) -> None:
    """At the ends of float32, and for zeros, the range is finite, or there is a RangeError."""
    zeros = np.zeros((2, 5), np.float32)
    with given("blocks of zeros"):
        _observed(observer, zeros)
    for sample in extremes():
        with sample.tried() as blocks:
            try:
                _observed(observer, blocks)
            except RangeError:
                continue


def _copied(state: State) -> dict[str, NDArray[np.generic]]:
    return {name: array.copy() for name, array in state.items()}


CHECKS = (
    check_observer_range,
    check_observer_passes,
    check_observer_merges_in_any_order,
    check_observer_merge_keeps_its_arguments,
    check_observer_blocks_are_independent,
    check_observer_stays_near_the_data,
    check_observer_is_deterministic,
    check_observer_extreme_values,
)

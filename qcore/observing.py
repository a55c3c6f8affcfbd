"""Ranges: what the observers of some recipes find in a tensor, in one piece or in many."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from qcore.arithmetic import chunk_arithmetic
from qcore.blame import contained
from qcore.blocking import Layout
from qcore.builtin.observers import MinMax
from qcore.chunk import Chunk
from qcore.errors import NonFiniteError, UsageError
from qcore.interfaces.observer import Observer, Range, State, Trial
from qcore.interfaces.rounding import RoundingPolicy
from qcore.recipe import Recipe
from qcore.scheduling import Job

MINMAX = MinMax()

NonFinite = Literal["error", "clip"]


def check_nonfinite(nonfinite: str) -> None:
    """Refuse what is no way to treat NaN and infinities.

    Raises:
        UsageError: it is neither `error` nor `clip`.
    """
    if nonfinite not in get_args(NonFinite):
        raise UsageError(f"nonfinite='{nonfinite}' is not one of {', '.join(get_args(NonFinite))}")


class Loaded(NamedTuple):
    """A chunk, read.

    Attributes:
        blocks: (n, b) float32, finite, read-only.
        extremes: the least and the greatest element of each block.
        replaced: how many elements were not finite.
    """

    blocks: NDArray[np.float32]
    extremes: Range
    replaced: int = 0


@dataclass(frozen=True)
class Source:
    """A tensor as its chunks are taken from it.

    Attributes:
        tensor: floating, in the layout's shape.
        layout: how it is cut into blocks.
        nonfinite: `error`, or `clip` to take NaN as 0 and saturate infinities.
        origin: gives the tensor again in another process, where this is sent without it.
    """

    tensor: NDArray[Any]
    layout: Layout
    nonfinite: NonFinite = "error"
    origin: Callable[[], NDArray[Any]] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        if self.origin is None:
            return Source, (self.tensor, self.layout, self.nonfinite)
        return _source_again, (self.origin, self.layout, self.nonfinite)

    def blocks(self, chunk: Chunk) -> Loaded:
        """A chunk as finite blocks.

        Raises:
            NonFiniteError: it is not finite; the count is the chunk's.
        """
        # With NumPy's own buffers, in which reductions along rows are at their best.
        with np.errstate(all="ignore"):
            blocks = chunk.blocks(self.tensor, np.dtype(np.float32))
            lo, hi = MINMAX.observe(blocks, None)
        if np.isfinite(lo).all() and np.isfinite(hi).all():  # so is all between
            return Loaded(blocks, (lo, hi))
        count = int(np.count_nonzero(~np.isfinite(blocks)))
        if self.nonfinite == "error":
            raise NonFiniteError(count, blocks.size)
        clipped = np.nan_to_num(blocks)
        clipped.flags.writeable = False
        return Loaded(clipped, MINMAX.observe(clipped, None), count)

    def count_nonfinite(self, chunk: Chunk) -> int:
        """How many elements of a chunk are NaN or infinite, or become so in float32."""
        with chunk_arithmetic():
            blocks = chunk.blocks(self.tensor, np.dtype(np.float32))
        return int(np.count_nonzero(~np.isfinite(blocks)))

    def rounding(self, recipe: Recipe, chunk: Chunk) -> RoundingPolicy:
        """The recipe's policy for the elements of a chunk."""
        policy = recipe.parts.rounding
        if not policy.needs_positions:
            return policy
        return policy.at(chunk.positions(self.layout.shape))

    def trial(
        self, recipe: Recipe, chunk: Chunk, tensor_range: tuple[float, float] | None
    ) -> Trial | None:
        """What the recipe's observer needs to try ranges on a chunk, if it does."""
        parts = recipe.parts
        if not parts.observer.needs_trial:
            return None
        rounding = self.rounding(recipe, chunk)
        return Trial(parts.quantizer, parts.scale_format, rounding, tensor_range)


def _source_again(
    origin: Callable[[], NDArray[Any]], layout: Layout, nonfinite: NonFinite
) -> Source:
    return Source(origin().reshape(layout.shape), layout, nonfinite, origin)


def observer_key(recipe: Recipe) -> Hashable:
    """Recipes with equal keys, on one layout, have equal ranges."""
    observer = recipe.parts.observer
    return recipe if observer.needs_trial else observer


@dataclass(frozen=True)
class Ranges:
    """What was observed beforehand.

    Attributes:
        blocks: by observer key, the ends of every block's range, in block order; or what the
            observer raised.
        tensor: the least and the greatest element of the tensor, if a scheme needs them.
        seconds: by observer key, the processor time it took.
    """

    blocks: Mapping[Hashable, Range | Exception]
    tensor: tuple[float, float] | None = None
    seconds: Mapping[Hashable, float] = field(default_factory=dict)


def observe(source: Source, chunks: Sequence[Chunk], recipes: Sequence[Recipe]) -> Job[Ranges]:
    """Observe what cannot be observed while the chunks are quantized, as a job.

    That is the ranges of blocks that no chunk holds whole, and the range of the tensor.
    """
    tensor_range = None
    if any(recipe.parts.quantizer.needs_tensor_range for recipe in recipes):
        ends = yield [partial(_ends, source, chunk) for chunk in chunks]
        tensor_range = (min(lo for lo, _ in ends), max(hi for _, hi in ends))
    if all(chunk.whole for chunk in chunks):
        return Ranges({}, tensor_range)
    observed = {observer_key(recipe): recipe for recipe in recipes}
    ranges: dict[Hashable, Range | Exception] = {}
    seconds: dict[Hashable, float] = {}
    for key, recipe in observed.items():
        try:
            with contained():
                found = yield from _in_pieces(source, chunks, recipe, tensor_range)
            ranges[key], seconds[key] = found
        except NonFiniteError:
            raise
        except Exception as error:  # one recipe's failure, not the others'
            ranges[key] = error
    return Ranges(ranges, tensor_range, seconds)


def _ends(source: Source, chunk: Chunk) -> tuple[float, float]:
    lo, hi = source.blocks(chunk).extremes
    return float(lo.min()), float(hi.max())


def _in_pieces(
    source: Source,
    chunks: Sequence[Chunk],
    recipe: Recipe,
    tensor_range: tuple[float, float] | None,
) -> Job[tuple[Range, float]]:
    """Summarize every chunk, merge the states of equal blocks in order; once for each pass."""
    observer = recipe.parts.observer
    states: dict[Hashable, State] = {}
    seconds = 0.0
    for _ in range(observer.passes):
        stage = [
            partial(_summarize, source, chunk, recipe, tensor_range, states.get(_block_set(chunk)))
            for chunk in chunks
        ]
        summaries = yield stage
        states = _merged(observer, chunks, [state for state, _ in summaries])
        seconds += sum(taken for _, taken in summaries)
    n_blocks = source.layout.n_blocks
    lo, hi = np.empty((n_blocks, 1), np.float32), np.empty((n_blocks, 1), np.float32)
    for chunk in chunks:
        rows = source.layout.rows(chunk)
        lo[rows], hi[rows] = observer.range(states[_block_set(chunk)])
    return (lo, hi), seconds


def _merged(
    observer: Observer, chunks: Sequence[Chunk], summaries: Sequence[State]
) -> dict[Hashable, State]:
    merged: dict[Hashable, State] = {}
    for chunk, state in zip(chunks, summaries, strict=True):
        key = _block_set(chunk)
        merged[key] = observer.merge(merged[key], state) if key in merged else state
    return merged


def _block_set(chunk: Chunk) -> Hashable:
    """Which blocks a chunk holds pieces of; two chunks share all of theirs or none."""
    return chunk.first_block, tuple(count for count, _ in chunk.counts)


def _summarize(
    source: Source,
    chunk: Chunk,
    recipe: Recipe,
    tensor_range: tuple[float, float] | None,
    previous: State | None,
) -> tuple[State, float]:
    blocks = source.blocks(chunk).blocks
    with chunk_arithmetic(), contained():
        start = time.thread_time()
        trial = source.trial(recipe, chunk, tensor_range)
        state = recipe.parts.observer.summarize(blocks, trial, previous)
        return state, time.thread_time() - start

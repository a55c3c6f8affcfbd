"""One activation of a calibration: gone through batch by batch, as a job."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from qcore.arithmetic import chunk_arithmetic
from qcore.blocking import Layout, float_tensor
from qcore.calibrated_ranges import CalibratedRange, with_observer
from qcore.chunk import Chunk
from qcore.errors import (
    NonFiniteError,
    QcoreError,
    ReadError,
    SchemeError,
    UsageError,
    located,
)
from qcore.fitting import as_own, count_nonfinite
from qcore.interfaces.backend import Backend
from qcore.interfaces.observer import State
from qcore.observing import MINMAX, NonFinite, Source
from qcore.recipe import Recipe
from qcore.scheduling import Job
from qcore.sources import TensorRef

_AT_ONCE = 64
"""Chunks whose states are held until they are merged: one may be a histogram."""

Batches = Sequence[TensorRef]
"""An activation each time it was met: one name, any shapes."""


@dataclass(frozen=True, eq=False)
class Task:
    """What is done to every activation.

    Attributes:
        recipe: what is calibrated for.
        nonfinite: what becomes of NaN and infinities.
        integers: whether integers are taken as numbers.
        tick: told of every few chunks done: their elements, once a pass.
    """

    recipe: Recipe
    nonfinite: NonFinite
    integers: bool
    tick: Callable[[int], None]

    @property
    def passes(self) -> int:
        """How often every batch is gone through."""
        return self.recipe.parts.observer.passes + self.tries_with_extremes

    @property
    def tries_with_extremes(self) -> bool:
        """Whether the least and the greatest element must be known before the observer begins."""
        parts = self.recipe.parts
        return parts.observer.needs_trial and parts.quantizer.needs_tensor_range


def count_elements(batches: Batches) -> int:
    """How many elements the batches hold in all."""
    return sum(math.prod(ref.shape) for ref in batches)


def calibrate_activation(batches: Batches, task: Task) -> Job[CalibratedRange | QcoreError]:
    """The range of an activation; or why it has none, with the batch that is to blame."""
    elements = count_elements(batches)
    extremes = None
    try:
        if elements == 0:
            source = batches[0].source and f"{batches[0].source}: "
            raise UsageError(f"{source}'{batches[0].name}' has no elements, and so no range")
        if task.tries_with_extremes:
            minmax = with_observer(task.recipe, MINMAX)
            least, greatest, _ = yield from _observe(batches, task, minmax, None)
            extremes = (least, greatest)
        lo, hi, clipped = yield from _observe(batches, task, task.recipe, extremes)
        return CalibratedRange(lo, hi, len(batches), elements, clipped)
    except QcoreError as error:
        return error


def _observe(
    batches: Batches, task: Task, recipe: Recipe, extremes: tuple[float, float] | None
) -> Job[tuple[float, float, int]]:
    """What the recipe's observer finds: lo and hi; and how many elements were clipped.

    One batch is open at a time, each anew in every pass, so that they may be many.
    """
    observer = recipe.parts.observer
    state: State | None = None
    clipped = 0
    for _ in range(observer.passes):
        previous, state, clipped = state, None, 0
        for number, ref in enumerate(batches, 1):
            try:
                look = partial(_summarize, recipe, extremes, previous)
                state, count = yield from _gone_through(ref, task, recipe, look, state)
            except Exception as error:
                own = as_own(error, recipe)
                batch = f", batch {number}" if len(batches) > 1 else ""
                raise _placed(own, ref, batch) from own.__cause__
            clipped += count
    try:
        assert state is not None  # there are elements, and passes ≥ 1
        lo, hi = (end.item() for end in observer.range(state))
        if not -math.inf < lo <= hi < math.inf:
            raise SchemeError(f"'{observer}' gave the range {lo} … {hi}")
        return lo, hi, clipped
    except Exception as error:
        own = as_own(error, recipe)
        raise located(own, f"'{batches[0].name}'") from own.__cause__


def _gone_through(
    ref: TensorRef,
    task: Task,
    recipe: Recipe,
    look: Callable[[Source, Chunk], tuple[State, int]],
    state: State | None,
) -> Job[tuple[State | None, int]]:
    """The state of what came before and of one batch; and how many of its elements were clipped."""
    source = yield from _opened(ref, task)
    observer, clipped = recipe.parts.observer, 0
    whole = observer.needs_trial and recipe.parts.quantizer.needs_whole_blocks
    chunks = source.layout.chunks(Backend.chunk_elements, whole=whole)
    for start in range(0, len(chunks), _AT_ONCE):
        some = chunks[start : start + _AT_ONCE]
        try:
            found = yield [partial(look, source, chunk) for chunk in some]
        except NonFiniteError as error:
            raise (yield from count_nonfinite(source, chunks)) from error
        for one, count in found:
            state = one if state is None else observer.merge(state, one)
            clipped += count
        task.tick(sum(chunk.n_blocks * chunk.block_len for chunk in some))
    return state, clipped


def _opened(ref: TensorRef, task: Task) -> Job[Source]:
    try:
        (loaded,) = yield [ref.load]
    except QcoreError:
        raise
    except Exception as error:
        raise ReadError(f"{type(error).__name__}: {error}") from error
    tensor = float_tensor(loaded, ref.name, integers=task.integers)
    layout = Layout.of(task.recipe.parts.granularity, tensor.shape)
    return Source(tensor.reshape(layout.shape), layout, task.nonfinite)


def _summarize(
    recipe: Recipe,
    extremes: tuple[float, float] | None,
    previous: State | None,
    source: Source,
    chunk: Chunk,
) -> tuple[State, int]:
    blocks, _, clipped = source.blocks(chunk)
    with chunk_arithmetic():
        trial = source.trial(recipe, chunk, extremes)
        return recipe.parts.observer.summarize(blocks, trial, previous), clipped


def _placed(error: QcoreError, ref: TensorRef, batch: str) -> QcoreError:
    """The error, led by the file and the tensor, or by the tensor and its batch."""
    if ref.source and ref.source in str(error):  # a reader names its file itself
        return error
    error.args = (str(error).removeprefix(f"'{ref.name}' "),)  # not twice
    return located(error, f"{ref.source}: '{ref.name}'" if ref.source else f"'{ref.name}'{batch}")

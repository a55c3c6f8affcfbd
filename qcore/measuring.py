"""Measures what recipes do to a tensor: observe → fit → encode → decode → sums, chunk by chunk."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from functools import partial

from qcore.arithmetic import chunk_arithmetic
from qcore.blame import contained
from qcore.chunk import Chunk
from qcore.error_stats import ErrorStats
from qcore.errors import NonFiniteError, QcoreError, SchemeError
from qcore.fitting import Cut, as_own, count_nonfinite, fit_chunk
from qcore.interfaces.backend import Backend
from qcore.interfaces.observer import Range
from qcore.observing import MINMAX, Ranges, Source, observe, observer_key
from qcore.params import QuantParams
from qcore.qtensor import stored_bits
from qcore.recipe import Recipe
from qcore.scheduling import Job


@dataclass(frozen=True)
class Measurement:
    """What one recipe did to one tensor.

    Attributes:
        stats: the error sums.
        seconds: processor time spent on this recipe, on its own observer too; reading the tensor,
            and the extremes of its blocks, are every recipe's and are left out.
    """

    stats: ErrorStats
    seconds: float


Outcome = Measurement | QcoreError


def measure(
    source: Source,
    recipes: Sequence[Recipe],
    backend: Backend,
    sums: Collection[str],
    tick: Callable[[int], None] | None = None,
) -> Job[list[Outcome]]:
    """Measure recipes that cut a tensor in the same way, as a job.

    A recipe that fails gives its error; the others go on. `tick` is told of every chunk done:
    its elements × recipes.

    Raises:
        NonFiniteError: the tensor is not finite.
    """
    chunks = Cut.of(recipes[0], backend).chunks(source.layout)
    try:
        ranges = yield from observe(source, chunks, recipes)
        pieces = yield [
            partial(_measure_chunk, source, chunk, recipes, backend, ranges, sums, tick)
            for chunk in chunks
        ]
    except NonFiniteError as error:
        raise (yield from count_nonfinite(source, chunks)) from error
    merged = [
        _merge(outcomes, ranges.seconds.get(observer_key(recipe), 0.0))
        for recipe, outcomes in zip(recipes, zip(*pieces, strict=True), strict=False)
    ]
    return merged or [Measurement(ErrorStats(), 0.0) for _ in recipes]


def _measure_chunk(
    source: Source,
    chunk: Chunk,
    recipes: Sequence[Recipe],
    backend: Backend,
    ranges: Ranges,
    sums: Collection[str],
    tick: Callable[[int], None] | None,
) -> list[Outcome]:
    outcomes: list[Outcome] = []
    blocks, extremes, replaced = source.blocks(chunk)
    with chunk_arithmetic():
        observed: dict[Hashable, Range] = {MINMAX: extremes}
        for recipe in recipes:
            start = time.thread_time()
            try:
                with contained():
                    params = fit_chunk(source, chunk, blocks, recipe, ranges, observed)
                    rounding = source.rounding(recipe, chunk)
                    quantizer = recipe.parts.quantizer
                    stats = backend.measure(quantizer, blocks, params, rounding, sums, extremes)
                    bits = _chunk_bits(chunk, recipe, params)
                if not isinstance(stats, ErrorStats):
                    raise SchemeError(f"backend '{backend}' measured {type(stats).__name__}")
                if "e2" in sums and not math.isfinite(stats.e2):
                    raise SchemeError("its values are not finite")
                stats = stats.merge(ErrorStats(stored_bits=bits, nonfinite=replaced))
            except Exception as error:
                outcomes.append(as_own(error, recipe))
            else:
                outcomes.append(Measurement(stats, time.thread_time() - start))
    if tick is not None:
        tick(blocks.size * len(recipes))
    return outcomes


def _chunk_bits(chunk: Chunk, recipe: Recipe, params: QuantParams) -> int:
    """What a chunk stores; a block's params count with its first piece."""
    blocks = chunk.n_blocks if chunk.is_first_piece else 0
    return stored_bits(recipe, params, chunk.n_blocks * chunk.block_len, blocks)


def _merge(outcomes: Sequence[Outcome], seconds: float) -> Outcome:
    """The chunks of one recipe together, in their order; the first error, if there is one."""
    stats = ErrorStats()
    for outcome in outcomes:
        if isinstance(outcome, QcoreError):
            return outcome
        stats, seconds = stats.merge(outcome.stats), seconds + outcome.seconds
    return Measurement(stats, seconds)

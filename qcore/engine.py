"""The engine: observe → fit → encode → decode → measure, over chunks and threads."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.blocking import Chunk, Layout, float_tensor
from qcore.error_stats import ErrorStats
from qcore.errors import NonFiniteError, QcoreError, SchemeError, UnavailableError, UsageError
from qcore.interfaces.backend import Backend
from qcore.interfaces.observer import Range
from qcore.interfaces.quantizer import FitContext
from qcore.loading import create
from qcore.observing import MINMAX, NonFinite, Ranges, Source, observe, observer_key
from qcore.params import QuantParams
from qcore.qtensor import QuantizedTensor, fitted_params, stored_bits
from qcore.recipe import Recipe
from qcore.scheduling import Job, run


@dataclass(frozen=True)
class Measurement:
    """What one recipe did to one tensor.

    Attributes:
        stats: the error sums.
        seconds: processor time spent on this recipe.
    """

    stats: ErrorStats
    seconds: float


Outcome = Measurement | QcoreError


def quantize(
    x: Any,
    recipe: Recipe | str | None = None,
    *,
    params: QuantParams | None = None,
    backend: str | Backend = "numpy",
    nonfinite: NonFinite = "error",
    integers: bool = False,
    threads: int | None = None,
    **axes: Any,
) -> QuantizedTensor:
    """Quantize an array.

    Args:
        x: floating, any shape, layout, width and byte order; rounded to float32 as it is read.
        recipe: a `Recipe` or its text; or give its fields as `axes`.
        params: the params to use as they are, instead of observed ones; each field has one
            entry, or one a block.
        backend: what to run on.
        nonfinite: `error`, or `clip` to take NaN as 0 and infinities as the largest float32.
        integers: whether `x` may hold integers, taken as the numbers they are.
        threads: all processors if None. Codes do not depend on it.
        axes: fields of `Recipe`, if none is given.

    Returns:
        Codes in the shape of `x`, with their params.

    Raises:
        ShapeError: the granularity or the params do not fit the shape.
        DtypeError: `x` cannot be quantized.
        NonFiniteError: `x` holds NaN or infinities.
        UsageError: a recipe that cannot be.
    """
    chosen = _recipe(recipe, axes)
    tensor = float_tensor(x, integers=integers)
    layout = Layout.of(chosen.parts.granularity, tensor.shape)
    source = Source(tensor.reshape(layout.shape), layout, nonfinite)
    given = None if params is None else fitted_params(params, layout)
    quantized = run(_quantize(source, chosen, usable_backend(backend), given), threads)
    return dataclasses.replace(quantized, codes=quantized.codes.reshape(tensor.shape))


def fake_quantize(x: Any, recipe: Recipe | str | None = None, **options: Any) -> NDArray[Any]:
    """`quantize(x, …).dequantize()`: float32, in the shape of `x`."""
    return quantize(x, recipe, **options).dequantize()


def usable_backend(backend: str | Backend) -> Backend:
    """The backend, made from its spec.

    Raises:
        UnavailableError: it cannot run here.
    """
    made = create("backend", backend)
    assert isinstance(made, Backend)  # the registry checked its class
    reason = made.available()
    if reason is not None:
        raise UnavailableError(f"backend '{made}' cannot run here: {reason}")
    return made


def measure(
    source: Source,
    recipes: Sequence[Recipe],
    backend: Backend,
    sums: Collection[str],
    tick: Callable[[int], None] | None = None,
) -> Job[list[Outcome]]:
    """Measure recipes that share a layout on one tensor, as a job.

    A recipe that fails gives its error; the others go on. `tick` is told of every chunk done:
    its elements × recipes.

    Raises:
        NonFiniteError: the tensor is not finite.
    """
    chunks = _chunks(source, backend, recipes)
    try:
        ranges = yield from observe(source, chunks, recipes)
        pieces = yield [
            partial(_measure_chunk, source, chunk, recipes, backend, ranges, sums, tick)
            for chunk in chunks
        ]
    except NonFiniteError as error:
        raise (yield from _counted(source, chunks)) from error
    merged = [_merge(outcomes) for outcomes in zip(*pieces, strict=True)]
    return merged or [Measurement(ErrorStats(), 0.0) for _ in recipes]


def _chunks(source: Source, backend: Backend, recipes: Sequence[Recipe]) -> list[Chunk]:
    whole = any(recipe.parts.quantizer.needs_whole_blocks for recipe in recipes)
    elements = backend.chunk_elements if whole else backend.grid_chunk_elements
    return source.layout.chunks(elements, whole=whole)


def _counted(source: Source, chunks: Sequence[Chunk]) -> Job[NonFiniteError]:
    """The error that counts what is not finite in all of the tensor."""
    counts = yield [partial(source.count_nonfinite, chunk) for chunk in chunks]
    return NonFiniteError(sum(counts), source.layout.size)


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
    with np.errstate(all="ignore"):
        blocks, extremes = source.blocks(chunk)
        observed: dict[Hashable, Range] = {MINMAX: extremes}
        for recipe in recipes:
            start = time.thread_time()
            try:
                params = _fit(source, chunk, blocks, recipe, ranges, observed)
                rounding = source.rounding(recipe, chunk)
                stats = backend.measure(recipe.parts.quantizer, blocks, params, rounding, sums)
                if "e2" in sums and math.isnan(stats.e2):
                    raise SchemeError("its values are not finite")
                stats = stats.merge(ErrorStats(stored_bits=_chunk_bits(chunk, recipe, params)))
            except Exception as error:
                outcomes.append(_as_own(error, recipe))
            else:
                outcomes.append(Measurement(stats, time.thread_time() - start))
    if tick is not None:
        tick(blocks.size * len(recipes))
    return outcomes


def _chunk_bits(chunk: Chunk, recipe: Recipe, params: QuantParams) -> int:
    """What a chunk stores; a block's params count with its first piece."""
    blocks = chunk.n_blocks if chunk.is_first_piece else 0
    return stored_bits(recipe, params, chunk.n_blocks * chunk.block_len, blocks)


def _fit(
    source: Source,
    chunk: Chunk,
    blocks: NDArray[np.float32],
    recipe: Recipe,
    ranges: Ranges,
    observed: dict[Hashable, Range],
) -> QuantParams:
    """The params of a chunk; ranges observed here are kept in `observed` for the next recipe."""
    quantizer, _, _, observer, scale_format = recipe.parts
    key = observer_key(recipe)
    before = ranges.blocks.get(key)
    if isinstance(before, Exception):
        raise before
    if before is not None:
        rows = source.layout.rows(chunk)
        lo, hi = before[0][rows], before[1][rows]
    else:
        if key not in observed:
            observed[key] = observer.observe(blocks, source.trial(recipe, chunk))
        lo, hi = observed[key]
    return quantizer.fit(blocks, FitContext(lo, hi, scale_format.snap, ranges.tensor))


def _as_own(error: Exception, recipe: Recipe) -> QcoreError:
    """A plugin's exception as one of qcore's."""
    if isinstance(error, QcoreError) and not isinstance(error, SchemeError):
        return error
    cause = str(error).partition("\n")[0]
    kind = "" if isinstance(error, SchemeError) else f"{type(error).__name__}: "
    own = SchemeError(f"'{recipe}' failed: {kind}{cause}")
    own.__cause__ = error
    return own


def _merge(outcomes: Sequence[Outcome]) -> Outcome:
    """The chunks of one recipe together, in their order; the first error, if there is one."""
    stats, seconds = ErrorStats(), 0.0
    for outcome in outcomes:
        if isinstance(outcome, QcoreError):
            return outcome
        stats, seconds = stats.merge(outcome.stats), seconds + outcome.seconds
    return Measurement(stats, seconds)


def _quantize(
    source: Source, recipe: Recipe, backend: Backend, given: QuantParams | None
) -> Job[QuantizedTensor]:
    chunks = _chunks(source, backend, [recipe])
    codes = np.empty(source.layout.shape, recipe.parts.quantizer.code_dtype)
    try:
        ranges = Ranges({})
        if given is None:
            ranges = yield from observe(source, chunks, [recipe])
        fitted = yield [
            partial(_quantize_chunk, source, chunk, recipe, backend, ranges, given, codes)
            for chunk in chunks
        ]
    except NonFiniteError as error:
        raise (yield from _counted(source, chunks)) from error
    if given is None:
        given = _no_params(recipe) if not fitted else fitted[0].like(source.layout.n_blocks)
        for chunk, params in zip(chunks, fitted, strict=True):
            given.put(source.layout.rows(chunk), params)
    return QuantizedTensor(codes, given, recipe, source.layout)


def _quantize_chunk(
    source: Source,
    chunk: Chunk,
    recipe: Recipe,
    backend: Backend,
    ranges: Ranges,
    given: QuantParams | None,
    codes: NDArray[Any],
) -> QuantParams:
    with np.errstate(all="ignore"):
        blocks, extremes = source.blocks(chunk)
        try:
            if given is None:
                params = _fit(source, chunk, blocks, recipe, ranges, {MINMAX: extremes})
            else:
                params = given.rows(source.layout.rows(chunk))
            rounding = source.rounding(recipe, chunk)
            chunk.scatter(backend.encode(recipe.parts.quantizer, blocks, params, rounding), codes)
        except Exception as error:
            raise _as_own(error, recipe) from error
        return params


def _no_params(recipe: Recipe) -> QuantParams:
    """The params of an empty tensor: the fields that any block would have, and no rows."""
    nothing = np.zeros((1, 1), np.float32)
    context = FitContext(nothing, nothing, recipe.parts.scale_format.snap, (0.0, 0.0))
    return recipe.parts.quantizer.fit(nothing, context).rows(slice(0, 0))


def _recipe(recipe: Recipe | str | None, axes: dict[str, Any]) -> Recipe:
    if recipe is None:
        if "scheme" not in axes:
            raise UsageError("give a recipe, or at least scheme=")
        return Recipe(**axes)
    if axes:
        raise UsageError(f"{', '.join(axes)} given beside a recipe; put it into the recipe")
    return Recipe.parse(recipe) if isinstance(recipe, str) else recipe

"""The engine's front: arrays to quantized tensors, over chunks and threads."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arithmetic import chunk_arithmetic
from qcore.blame import contained
from qcore.blocking import Layout, float_tensor
from qcore.chunk import Chunk
from qcore.errors import NonFiniteError, UnavailableError, UsageError
from qcore.fitting import FLOAT32, Cut, as_own, count_nonfinite, fit_chunk
from qcore.interfaces.backend import Backend
from qcore.interfaces.boundary import check_codes
from qcore.interfaces.quantizer import FitContext
from qcore.loading import create, default_backend
from qcore.observing import MINMAX, NonFinite, Ranges, Source, check_nonfinite, observe
from qcore.params import QuantParams
from qcore.qtensor import QuantizedTensor, fitted_params
from qcore.recipe import Recipe
from qcore.scheduling import Job, run


def quantize(
    x: Any,
    recipe: Recipe | str | None = None,
    *,
    params: QuantParams | None = None,
    backend: str | Backend | None = None,
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
        backend: what to run on; `numpy` where it is installed, if None.
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
    check_nonfinite(nonfinite)
    tensor = float_tensor(x, integers=integers)
    layout = Layout.of(chosen.parts.granularity, tensor.shape)
    source = Source(tensor.reshape(layout.shape), layout, nonfinite)
    given = None if params is None else fitted_params(params, layout)
    if given is not None and chosen.parts.scale_format != FLOAT32:
        snapped = chosen.parts.scale_format.snap(given.scale)
        if not (snapped == given.scale).all():
            raise UsageError(
                f"a scale of params is one that {chosen.scale_format} does not store; "
                f"give qcore.create('scale_format', '{chosen.scale_format}').snap(scale)"
            )
    quantized = run(_quantize(source, chosen, usable_backend(backend), given), threads)
    return dataclasses.replace(quantized, codes=quantized.codes.reshape(tensor.shape))


def fake_quantize(x: Any, recipe: Recipe | str | None = None, **options: Any) -> NDArray[Any]:
    """`quantize(x, …).dequantize()`: float32, in the shape of `x`."""
    return quantize(x, recipe, **options).dequantize()


def usable_backend(backend: str | Backend | None) -> Backend:
    """The backend, made from its spec; the default one if None.

    Raises:
        UnavailableError: it cannot run here.
    """
    made = create("backend", default_backend() if backend is None else backend)
    assert isinstance(made, Backend)  # the registry checked its class
    reason = made.available()
    if reason is not None:
        raise UnavailableError(f"backend '{made}' cannot run here: {reason}")
    return made


def _quantize(
    source: Source, recipe: Recipe, backend: Backend, given: QuantParams | None
) -> Job[QuantizedTensor]:
    chunks = Cut.of(recipe, backend).chunks(source.layout)
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
        raise (yield from count_nonfinite(source, chunks)) from error
    if given is None:
        given = empty_params(recipe) if not fitted else fitted[0].like(source.layout.n_blocks)
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
    blocks, extremes, _ = source.blocks(chunk)
    with chunk_arithmetic():
        try:
            with contained():
                if given is None:
                    params = fit_chunk(source, chunk, blocks, recipe, ranges, {MINMAX: extremes})
                else:
                    params = given.rows(source.layout.rows(chunk))
                rounding = source.rounding(recipe, chunk)
                encoded = backend.encode(recipe.parts.quantizer, blocks, params, rounding)
            check_codes(encoded, blocks.shape, recipe.parts.quantizer)
            chunk.scatter(encoded, codes)
        except Exception as error:
            own = as_own(error, recipe)
            raise own from own.__cause__
        return params


def empty_params(recipe: Recipe) -> QuantParams:
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

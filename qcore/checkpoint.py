"""Whole checkpoints, quantized and dequantized."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.blocking import float_tensor
from qcore.builtin.readers.dtypes import dtype_named
from qcore.builtin.readers.quantized import QuantizedReader
from qcore.conversion import (
    Conversion,
    Paths,
    Progress,
    Written,
    convert,
    kept,
    loaded,
    placed,
    references,
)
from qcore.engine import empty_params, quantize
from qcore.errors import QcoreError, UsageError
from qcore.fitting import as_own
from qcore.observing import NonFinite, check_nonfinite
from qcore.params import QuantParams
from qcore.qtensor import QuantizedTensor
from qcore.quantized_file import QuantizedFile
from qcore.recipe import Recipe
from qcore.rules import Rule, first_match
from qcore.safetensors_file import Entry, Writer
from qcore.sources import Selection, TensorRef
from qcore.stored_tensor import StoredTensor


def quantize_file(
    source: Paths,
    output: str | os.PathLike[str],
    rules: Sequence[Rule | str] | Recipe | str,
    *,
    include: str | None = None,
    exclude: str | None = None,
    min_ndim: int = 2,
    nonfinite: NonFinite = "error",
    threads: int | None = None,
    progress: Progress | None = None,
) -> list[Written]:
    """Quantize the tensors of a checkpoint into one safetensors file, as `qcore.save` lays it out.

    Floating tensors of `min_ndim` dimensions and more are quantized by the first rule that matches
    their name; all others stay as they are.

    Args:
        source: a file or folder, or several.
        output: where to; replaced once all is written, and never one of the sources.
        rules: `PATTERN=RECIPE` each, or a single recipe for all.
        include: a regular expression that the name of what is quantized must match somewhere.
        exclude: one that it must not.
        min_ndim: the fewest dimensions of what is quantized.
        nonfinite: `error`, or `clip` to take NaN as 0 and infinities as the largest float32.
        threads: all processors if None.
        progress: called with (elements done, elements in all).

    Returns:
        What became of each tensor, in the order of the source.

    Raises:
        UsageError: an option is wrong, or no rule matches anything.
        ReadError: a source cannot be read.
        QcoreError: a tensor cannot be quantized, or the disk is full; nothing was written then.
    """
    chosen = _rules(rules)
    check_nonfinite(nonfinite)
    output = Path(output)
    refs = references(source, output)
    eligible, _ = Selection(include, exclude, min_ndim).apply(refs)
    matched = {ref.name: first_match(chosen, ref.name) for ref in eligible if ref.is_float}
    recipes = {name: rule.recipe for name, rule in matched.items() if rule and rule.recipe}
    if not recipes:
        raise UsageError("no rule matches any floating tensor; see qcore inspect for their names")
    opened = cache(QuantizedFile)
    conversions = [
        _quantized(ref, recipes[ref.name], nonfinite, threads)
        if ref.name in recipes
        else _unchanged(ref, opened)
        for ref in refs
    ]
    return convert(conversions, output, progress)


def dequantize_file(
    source: Paths,
    output: str | os.PathLike[str],
    *,
    dtype: str = "float32",
    progress: Progress | None = None,
) -> list[Written]:
    """Write a checkpoint with every encoded tensor decoded; all others stay as they are.

    Args:
        source: a file or folder, or several: of `quantize_file`, GGUF, …
        output: where to; replaced once all is written, and never one of the sources.
        dtype: what decoded tensors become: `float32`, which is exact, `float16` or `bfloat16`.
        progress: called with (elements done, elements in all).

    Returns:
        What became of each tensor, in the order of the source.

    Raises:
        UsageError: an option is wrong.
        ReadError: a source cannot be read.
        QcoreError: a value is beyond `dtype`, or the disk is full; nothing was written then.
    """
    if dtype not in ("float32", "float16", "bfloat16"):
        raise UsageError(f"dtype='{dtype}' is not one of float32, float16, bfloat16")
    output = Path(output)
    refs = references(source, output)
    conversions = [_decoded(ref, dtype) if ref.encoding else kept(ref) for ref in refs]
    return convert(conversions, output, progress)


def _rules(given: Sequence[Rule | str] | Recipe | str) -> list[Rule]:
    if isinstance(given, Recipe | str):
        return [Rule("", Recipe.parse(given) if isinstance(given, str) else given)]
    return [Rule.parse(rule) if isinstance(rule, str) else rule for rule in given]


def _quantized(
    ref: TensorRef, recipe: Recipe, nonfinite: NonFinite, threads: int | None
) -> Conversion:
    """A tensor that is quantized.

    Raises:
        QcoreError: the recipe does not fit it, or cannot be stored.
    """
    try:
        stored = StoredTensor.of(ref.name, recipe, ref.shape, ref.dtype, _fields(recipe))
    except QcoreError as error:
        raise placed(error, ref) from error.__cause__

    def put(writer: Writer) -> None:
        tensor = float_tensor(loaded(ref), ref.name)
        stored.put(quantize(tensor, recipe, nonfinite=nonfinite, threads=threads), writer)

    return Conversion(ref, str(recipe), stored, put)


def _unchanged(ref: TensorRef, opened: Callable[[Path], QuantizedFile]) -> Conversion:
    """A tensor that stays as it is: one that is quantized already, with its codes."""
    if not (isinstance(ref.reader, QuantizedReader) and ref.info and ref.encoding):
        return kept(ref)
    file = opened(ref.info.path)
    stored = file.quantized[ref.name]

    def put(writer: Writer) -> None:
        tensor = file[ref.name]
        assert isinstance(tensor, QuantizedTensor)
        stored.put(tensor, writer)

    return Conversion(ref, "kept", stored, put)


def _decoded(ref: TensorRef, dtype: str) -> Conversion:
    def put(writer: Writer) -> None:
        writer.put(ref.name, _cast(loaded(ref), dtype))

    return Conversion(ref, dtype, Entry(ref.name, dtype, ref.shape), put)


def _fields(recipe: Recipe) -> QuantParams:
    """Params that have the fields of a recipe's."""
    try:
        return empty_params(recipe)
    except Exception as error:
        raise as_own(error, recipe) from error


def _cast(array: NDArray[Any], dtype: str) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        cast = array.astype(dtype_named(dtype, "dtype"), copy=False)
    if (np.isfinite(array) & ~np.isfinite(cast)).any():
        raise QcoreError(f"a value is beyond {dtype}; take float32")
    return cast

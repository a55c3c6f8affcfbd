"""What quantizing does to the output of a layer: weights and activations together."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.blocking import float_tensor
from qcore.case import ActivationRecipe
from qcore.engine import quantize
from qcore.error_stats import ErrorStats, measure_errors
from qcore.errors import NonFiniteError, QcoreError, ReadError, UsageError
from qcore.fitting import as_own
from qcore.interfaces.backend import Backend
from qcore.layers import Linear
from qcore.observing import NonFinite
from qcore.qtensor import QuantizedTensor
from qcore.recipe import Recipe
from qcore.sources import TensorRef, from_arrays, from_paths

SYNTHETIC = "synthetic:normal"
"""What stands for activations drawn from a normal distribution."""

SUMS = frozenset({"x2", "e2"})
_ROWS = 256
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Layer:
    """What one case did to the output of a layer.

    Attributes:
        stats: the sums over the outputs, the exact ones as x.
        path: how the product was computed, as `Linear.path` says.
    """

    stats: ErrorStats
    path: str


@dataclass(frozen=True)
class Activations:
    """Where the inputs of layers come from.

    Attributes:
        refs: stored tensors; None for synthetic ones.
    """

    refs: Sequence[TensorRef] | None

    @classmethod
    def of(cls, source: Any) -> Activations:
        """Activations from arrays by name, from files, or `synthetic:normal`.

        Raises:
            UsageError: there are none.
            ReadError: a file cannot be read.
        """
        if isinstance(source, str) and source.startswith("synthetic:"):
            if source != SYNTHETIC:
                raise UsageError(f"activations '{source}' are not known; there is {SYNTHETIC}")
            return cls(None)
        if isinstance(source, Mapping):
            return cls(from_arrays(source))
        paths: Iterable[Any] = [source] if isinstance(source, str | os.PathLike) else source
        refs, unreadable = from_paths(paths)
        if unreadable:
            raise ReadError(unreadable[0].error)
        return cls(refs)

    def find(self, weight: TensorRef) -> TensorRef | None:
        """The input of the layer that has this weight, (…, K) for (N, K); None if there is none.

        It is the tensor `fc1.input` for the weight `fc1.weight`, or the one with the weight's own
        name in another file; otherwise the only tensor that has K columns.
        """
        if len(weight.shape) != 2:
            return None
        depth = weight.shape[1]
        if self.refs is None:
            load = partial(_normal, depth)
            return TensorRef("normal", SYNTHETIC, (_ROWS, depth), "float32", load)
        same = (weight.name, weight.source)
        fits = [
            ref
            for ref in self.refs
            if ref.shape[-1:] == (depth,) and ref.is_float and (ref.name, ref.source) != same
        ]
        for name in (f"{weight.name.removesuffix('.weight')}.input", weight.name):
            named = [ref for ref in fits if ref.name == name]
            if named:
                return named[0]
        return fits[0] if len(fits) == 1 else None


def _normal(depth: int) -> NDArray[np.float32]:
    generator = np.random.Generator(np.random.PCG64(0))
    return generator.standard_normal((_ROWS, depth), np.float32)


def inputs(ref: TensorRef, nonfinite: NonFinite) -> NDArray[np.float32]:
    """Activations (…, K) as (M, K) float32, finite.

    Raises:
        NonFiniteError: they are not.
    """
    tensor = float_tensor(ref.load(), ref.name)
    return _finite(tensor.reshape(-1, tensor.shape[-1]), nonfinite)


def exact_output(
    x: NDArray[np.float32], weight: NDArray[Any], nonfinite: NonFinite
) -> NDArray[np.float64]:
    """The output without quantization, x · weightᵀ in float64, (M, N), in blocks of columns."""
    rows = x.astype(np.float64)
    out = np.empty((len(rows), len(weight)))
    step = max(1, _BLOCK // max(1, weight.shape[1]))
    for start in range(0, len(weight), step):
        block = _finite(weight[start : start + step], nonfinite).astype(np.float64)
        np.matmul(rows, block.T, out=out[:, start : start + step])
    return out


def _finite(tensor: NDArray[Any], nonfinite: NonFinite) -> NDArray[np.float32]:
    values = tensor.astype(np.float32, copy=False)
    count = values.size - int(np.count_nonzero(np.isfinite(values)))
    if count and nonfinite == "error":
        raise NonFiniteError(count, values.size)
    return np.nan_to_num(values) if count else values


def quantized_inputs(
    x: NDArray[np.float32], recipe: ActivationRecipe, backend: Backend
) -> QuantizedTensor | NDArray[np.float32] | QcoreError:
    """The activations under a recipe; or why they cannot be."""
    if not isinstance(recipe, Recipe):
        return x
    try:
        return quantize(x, recipe, backend=backend, threads=1)
    except Exception as error:
        return as_own(error, recipe)


def measure_layers(
    weight: NDArray[Any],
    recipe: Recipe,
    inputs: Mapping[ActivationRecipe, QuantizedTensor | NDArray[Any] | QcoreError],
    exact: NDArray[np.float64],
    backend: Backend,
    product_backend: Backend,
    nonfinite: NonFinite,
) -> dict[ActivationRecipe, Layer | QcoreError]:
    """The error of the layer's output for one recipe of the weight and every one of its input.

    Args:
        weight: (N, K) floating.
        recipe: for the weight.
        inputs: (M, K) by recipe.
        exact: (M, N), the output without quantization.
        backend: what quantizes.
        product_backend: what multiplies.
        nonfinite: what to do with NaN and infinities.
    """
    found: dict[ActivationRecipe, Layer | QcoreError] = {}
    try:
        quantized = quantize(weight, recipe, backend=backend, nonfinite=nonfinite, threads=1)
        layer = Linear(quantized, backend=product_backend)
    except Exception as error:
        return dict.fromkeys(inputs, as_own(error, recipe))
    for activations, x in inputs.items():
        if isinstance(x, QcoreError):
            found[activations] = x
            continue
        try:
            output = layer(x)
            assert isinstance(output, np.ndarray)  # it has no recipe of its own
            found[activations] = Layer(measure_errors(exact, output, SUMS), layer.path(x))
        except Exception as error:
            found[activations] = as_own(error, recipe)
    return found

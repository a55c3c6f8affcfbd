"""What quantizing does to the output of a layer: weights and activations together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.activations import Activations, finite, load
from qcore.case import ActivationRecipe, Case
from qcore.engine import quantize
from qcore.error_stats import ErrorStats, measure_errors
from qcore.errors import QcoreError, SchemeError
from qcore.fitting import as_own
from qcore.interfaces.backend import Backend
from qcore.layers import Linear
from qcore.observing import NonFinite
from qcore.qtensor import QuantizedTensor
from qcore.recipe import Recipe
from qcore.scheduling import Job
from qcore.sources import TensorRef

SUMS = frozenset({"x2", "e2"})
_BLOCK = 1 << 22

Input = QuantizedTensor | NDArray[np.float32]


@dataclass(frozen=True)
class OutputError:
    """What one case did to the output of a layer.

    Attributes:
        stats: the sums over the outputs, the exact ones as x.
        input: the name of what the layer received.
        source: the file that holds it; `synthetic:normal`, or empty for an array.
        path: how the product was computed, as `Linear.path` says.
        backend: what it ran on.
    """

    stats: ErrorStats
    input: str
    source: str
    path: str
    backend: str

    def to_dict(self) -> dict[str, Any]:
        """All but the sums, as JSON holds it."""
        return {
            "input": self.input,
            "source": self.source,
            "path": self.path,
            "backend": self.backend,
        }


@dataclass(frozen=True)
class OutputTask:
    """What is done to the layers of a comparison.

    Attributes:
        activations: where their inputs come from.
        recipes: what is applied to those.
        quantizing: the backend that quantizes.
        multiplying: the backend that multiplies.
        nonfinite: what becomes of NaN and infinities.
        integers: whether integer weights are taken as numbers.
    """

    activations: Activations
    recipes: Sequence[ActivationRecipe]
    quantizing: Backend
    multiplying: Backend
    nonfinite: NonFinite
    integers: bool


def measure_outputs(
    ref: TensorRef, weight: NDArray[Any], recipes: Sequence[Recipe], task: OutputTask
) -> Job[dict[Case, OutputError | QcoreError]]:
    """Apply every case to the layer whose weight the tensor is; nothing where it has no input."""
    fed = task.activations.find(ref)
    if fed is None:
        return {}
    try:
        (x,) = yield [partial(load, fed, task.nonfinite)]
        exact, *quantized = yield [
            partial(_exact_output, x, weight, task.nonfinite),
            *(partial(_quantized_input, x, recipe, task) for recipe in task.recipes),
        ]
    except QcoreError as error:
        return {Case(recipe, other): error for recipe in recipes for other in task.recipes}
    inputs: dict[ActivationRecipe, Input | QcoreError] = dict(
        zip(task.recipes, quantized, strict=True)
    )
    found = yield [
        partial(_measure_recipe, weight, recipe, fed, inputs, exact, task) for recipe in recipes
    ]
    return {
        Case(recipe, other): result
        for recipe, by_activation in zip(recipes, found, strict=True)
        for other, result in by_activation.items()
    }


def _exact_output(
    x: NDArray[np.float32], weight: NDArray[Any], nonfinite: NonFinite
) -> NDArray[np.float64]:
    """The output without quantization, x · weightᵀ in float64, (M, N), in blocks of columns."""
    rows = x.astype(np.float64)
    out = np.empty((len(rows), len(weight)))
    step = max(1, _BLOCK // max(1, weight.shape[1]))
    for start in range(0, len(weight), step):
        block = finite(weight[start : start + step], nonfinite).astype(np.float64)
        np.matmul(rows, block.T, out=out[:, start : start + step])
    return out


def _quantized_input(
    x: NDArray[np.float32], recipe: ActivationRecipe, task: OutputTask
) -> Input | QcoreError:
    """The activations under a recipe; or why they cannot be."""
    if not isinstance(recipe, Recipe):
        return x
    try:
        return quantize(x, recipe, backend=task.quantizing, threads=1)
    except Exception as error:
        return as_own(error, recipe)


def _measure_recipe(
    weight: NDArray[Any],
    recipe: Recipe,
    fed: TensorRef,
    inputs: Mapping[ActivationRecipe, Input | QcoreError],
    exact: NDArray[np.float64],
    task: OutputTask,
) -> dict[ActivationRecipe, OutputError | QcoreError]:
    """One recipe of the weight with every one of its input."""
    try:
        quantized = quantize(
            weight,
            recipe,
            backend=task.quantizing,
            nonfinite=task.nonfinite,
            integers=task.integers,
            threads=1,
        )
        layer = Linear(quantized, backend=task.multiplying)
    except Exception as error:
        return dict.fromkeys(inputs, as_own(error, recipe))
    found: dict[ActivationRecipe, OutputError | QcoreError] = {}
    for activations, x in inputs.items():
        if isinstance(x, QcoreError):
            found[activations] = x
            continue
        try:
            output = layer(x)
            assert isinstance(output, np.ndarray)  # it has no recipe of its own
            if not np.isfinite(output).all():
                raise SchemeError("the layer's output is beyond float32")
            stats = measure_errors(exact, output, SUMS)
            backend = str(task.multiplying)
            found[activations] = OutputError(stats, fed.name, fed.source, layer.path(x), backend)
        except Exception as error:
            found[activations] = as_own(error, recipe)
    return found

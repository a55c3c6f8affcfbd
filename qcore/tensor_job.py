"""One tensor of a comparison: read once, and measured under every case, as a job."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from numpy.typing import NDArray

from qcore.blocking import Layout, float_tensor
from qcore.case import ActivationRecipe, Case
from qcore.errors import QcoreError, ReadError
from qcore.fitting import Cut, as_own
from qcore.interfaces.backend import Backend
from qcore.measuring import Outcome, measure
from qcore.observing import NonFinite, Source
from qcore.outputs import Activations, Layer, exact_output, inputs, measure_layers, quantized_inputs
from qcore.recipe import Recipe
from qcore.scheduling import Job
from qcore.sources import TensorRef


@dataclass(frozen=True)
class LayerTask:
    """What is done to the layers.

    Attributes:
        activations: where their inputs come from.
        recipes: what is applied to those.
        backend: what multiplies.
    """

    activations: Activations
    recipes: Sequence[ActivationRecipe]
    backend: Backend


@dataclass(frozen=True)
class Task:
    """What is done to every tensor.

    Attributes:
        recipes: what is applied.
        backend: what it runs on.
        sums: which sums are computed.
        nonfinite: what becomes of NaN and infinities.
        integers: whether integers are taken as numbers.
        tick: told of every chunk done: its elements × recipes.
        layers: what is done to the layers that the tensors belong to, if anything.
    """

    recipes: Sequence[Recipe]
    backend: Backend
    sums: Collection[str]
    nonfinite: NonFinite
    integers: bool
    tick: Callable[[int], None] | None
    layers: LayerTask | None

    @property
    def cases(self) -> list[Case]:
        """Every recipe with every one for the activations."""
        activations = [None] if self.layers is None else self.layers.recipes
        return [Case(recipe, other) for recipe in self.recipes for other in activations]


Found = tuple[Outcome, Layer | None]
"""What a case did to the tensor, and to the output of its layer."""


def measure_tensor(ref: TensorRef, task: Task) -> Job[list[Found]]:
    """Read a tensor once and apply every case to it; what fails has its error in place."""
    cases = task.cases
    try:
        (loaded,) = yield [ref.load]
        tensor = float_tensor(loaded, ref.name, integers=task.integers)
        outcomes = yield from _measure(tensor, task)
        layers = yield from _layers(ref, tensor, task)
    except QcoreError as error:
        return [(error, None)] * len(cases)
    except Exception as error:  # the tensor's failure, not the run's
        return [(ReadError(f"{type(error).__name__}: {error}"), None)] * len(cases)
    found: list[Found] = []
    for case in cases:
        outcome, layer = outcomes[case.recipe], layers.get(case)
        failed = layer if isinstance(layer, QcoreError) else None
        found.append((outcome, layer) if failed is None else (failed, None))  # type: ignore[arg-type]
    return found


def _measure(tensor: NDArray[Any], task: Task) -> Job[dict[Recipe, Outcome]]:
    """Apply the recipes to the tensor itself, those of one layout together."""
    outcomes: dict[Recipe, Outcome] = {}
    for same in _by_cut(task.recipes, task.backend):
        try:
            layout = Layout.of(same[0].parts.granularity, tensor.shape)
        except Exception as error:
            outcomes |= {recipe: as_own(error, recipe) for recipe in same}
            continue
        source = Source(tensor.reshape(layout.shape), layout, task.nonfinite)
        found = yield from measure(source, same, task.backend, task.sums, task.tick)
        outcomes |= dict(zip(same, found, strict=True))
    return outcomes


def _by_cut(recipes: Sequence[Recipe], backend: Backend) -> list[list[Recipe]]:
    """Recipes that cut a tensor in the same way."""
    groups: dict[Cut, list[Recipe]] = {}
    for recipe in recipes:
        groups.setdefault(Cut.of(recipe, backend), []).append(recipe)
    return list(groups.values())


def _layers(
    ref: TensorRef, weight: NDArray[Any], task: Task
) -> Job[dict[Case, Layer | QcoreError]]:
    """Apply every case to the layer whose weight the tensor is; nothing where it has no input."""
    layers = task.layers
    fed = None if layers is None else layers.activations.find(ref)
    if layers is None or fed is None:
        return {}
    (x,) = yield [partial(inputs, fed, task.nonfinite)]
    exact, *quantized = yield [
        partial(exact_output, x, weight, task.nonfinite),
        *(partial(quantized_inputs, x, recipe, task.backend) for recipe in layers.recipes),
    ]
    by_recipe = dict(zip(layers.recipes, quantized, strict=True))
    found = yield [
        partial(
            measure_layers,
            weight,
            recipe,
            by_recipe,
            exact,
            task.backend,
            layers.backend,
            task.nonfinite,
        )
        for recipe in task.recipes
    ]
    return {
        Case(recipe, other): layer
        for recipe, by_activation in zip(task.recipes, found, strict=True)
        for other, layer in by_activation.items()
    }

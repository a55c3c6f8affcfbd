"""One tensor of a comparison: read once, and measured under every case, as a job."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from numpy.typing import NDArray

from qcore.blocking import Layout, float_tensor
from qcore.case import Case
from qcore.errors import QcoreError, ReadError
from qcore.fitting import Cut, as_own
from qcore.interfaces.backend import Backend
from qcore.measuring import Outcome, measure
from qcore.observing import NonFinite, Source
from qcore.outputs import OutputError, OutputTask, measure_outputs
from qcore.recipe import Recipe
from qcore.scheduling import Job
from qcore.sources import TensorRef


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
        outputs: what is done to the layers that the tensors belong to, if anything.
    """

    recipes: Sequence[Recipe]
    backend: Backend
    sums: Collection[str]
    nonfinite: NonFinite
    integers: bool
    tick: Callable[[int], None] | None
    outputs: OutputTask | None

    @property
    def cases(self) -> list[Case]:
        """Every recipe with every one for the activations."""
        activations = [None] if self.outputs is None else self.outputs.recipes
        return [Case(recipe, other) for recipe in self.recipes for other in activations]


class Found(NamedTuple):
    """What a case did to a tensor, and to the output of its layer, if that was looked at."""

    tensor: Outcome
    output: OutputError | QcoreError | None = None


def measure_tensor(ref: TensorRef, task: Task) -> Job[list[Found]]:
    """Read a tensor once and apply every case to it; what fails has its error in place."""
    outputs: dict[Case, OutputError | QcoreError] = {}
    try:
        (loaded,) = yield [ref.load]
        tensor = float_tensor(loaded, ref.name, integers=task.integers)
        outcomes = yield from _measure(tensor, task)
        if task.outputs is not None:
            outputs = yield from measure_outputs(ref, tensor, task.recipes, task.outputs)
    except QcoreError as error:
        return [Found(error)] * len(task.cases)
    except Exception as error:  # the tensor's failure, not the run's
        return [Found(ReadError(f"{type(error).__name__}: {error}"))] * len(task.cases)
    return [Found(outcomes[case.recipe], outputs.get(case)) for case in task.cases]


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

"""One tensor of a comparison: read once, and measured under every case, as a job."""

from __future__ import annotations

import dataclasses
import functools
import math
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcore.against import Against, measure_against
from qcore.blame import contained, keep_traceback, told
from qcore.blocking import Layout, float_tensor
from qcore.builtin.readers.dtypes import BITS, dtype_named
from qcore.case import Case, Stored
from qcore.error_stats import EXPECTED
from qcore.errors import NonFiniteError, QcoreError, ReadError, WorkerError
from qcore.fitting import Cut, as_own
from qcore.interfaces.backend import Backend
from qcore.interfaces.reader import TensorInfo, TensorReader
from qcore.measuring import Measurement, Outcome, measure
from qcore.observing import NonFinite, Source
from qcore.outputs import OutputError, OutputTask, measure_outputs
from qcore.recipe import Recipe
from qcore.scheduling import Job, in_batches, run_here
from qcore.sources import TensorRef, read_tensor
from qcore.spec import Configurable


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
        against: what holds the same tensors, in place of a last recipe, if anything.
    """

    recipes: Sequence[Recipe]
    backend: Backend
    sums: Collection[str]
    nonfinite: NonFinite
    integers: bool
    tick: Callable[[int], None] | None
    outputs: OutputTask | None
    against: Against | None = None

    @property
    def cases(self) -> list[Case]:
        """Every recipe with every one for the activations."""
        activations = [None] if self.outputs is None else self.outputs.recipes
        cases = [Case(recipe, other) for recipe in self.recipes for other in activations]
        return cases if self.against is None else [*cases, Case(Stored(self.against.label))]

    def parts(self) -> list[tuple[str, Configurable]]:
        """What plugins have given of it, each with its kind."""
        own = [*self.recipes]
        parts: list[tuple[str, Configurable]] = [("backend", self.backend)]
        if self.outputs is not None:
            own += [recipe for recipe in self.outputs.recipes if isinstance(recipe, Recipe)]
            parts.append(("backend", self.outputs.multiplying))
        kinds = ("scheme", "granularity", "rounding", "observer", "scale_format")
        return parts + [pair for recipe in own for pair in zip(kinds, recipe.parts, strict=True)]

    def options(self) -> dict[str, Any]:
        """What the results depend on beside the recipes, as JSON holds it."""
        return {
            "backend": str(self.backend),
            "sums": sorted(self.sums),
            "nonfinite": self.nonfinite,
            "integers": self.integers,
            "synthetic": self.outputs is not None and self.outputs.activations.refs is None,
            "against": None if self.against is None else self.against.label,
        }

    @property
    def measured(self) -> Collection[str]:
        """The sums that are of the errors themselves."""
        return [name for name in self.sums if name != EXPECTED]

    def further_refs(self) -> list[TensorRef]:
        """The stored tensors that it uses beside those it is done to."""
        fed = None if self.outputs is None else self.outputs.activations.refs
        other = {} if self.against is None else self.against.tensors
        return [*(fed or ()), *other.values()]

    def tell(self, amount: int) -> None:
        """Tell who looks on that so many elements × recipes are done."""
        if self.tick is not None:
            self.tick(amount)

    def alone(self) -> Task:
        """The recipes alone, with nobody told."""
        return dataclasses.replace(self, tick=None, against=None, outputs=None)

    def away(self, refs: Sequence[TensorRef]) -> Task:
        """The task as it travels with some tensors: what they need and no more."""
        against = None if self.against is None else self.against.of_tensors(refs)
        return dataclasses.replace(self, tick=None, against=against)


class Found(NamedTuple):
    """What a case did to a tensor, and to the output of its layer, if that was looked at."""

    tensor: Outcome
    output: OutputError | QcoreError | None = None


def measure_tensor(ref: TensorRef, task: Task) -> Job[list[Found]]:
    """Read a tensor once and apply every case to it; what fails has its error in place."""

    def whole() -> Job[list[Found]]:
        (loaded,) = yield [ref.load]
        tensor = float_tensor(loaded, ref.name, integers=task.integers)
        outcomes = yield from _measure(tensor, task)
        further = yield from _measure_further(ref, tensor, task)
        return further.beside(outcomes, task.cases)

    return _guarded(whole(), task)


def measure_in_pieces(ref: TensorRef, task: Task, pieces: int) -> Job[list[Found]]:
    """The same for a large tensor and workers elsewhere: nothing of it is read here, and each stage
    is cut into so many tasks that travel without it.
    """

    def cut() -> Job[list[Found]]:
        tensor = float_tensor(_stand_in(ref), ref.name, integers=task.integers)
        origin = partial(_again, ref, task.integers, uuid.uuid4().hex)
        outcomes = yield from in_batches(_measure(tensor, task, origin), pieces)
        further: Further
        (further,) = yield [partial(_further, ref, task, origin)]
        return further.beside(outcomes, task.cases)

    return _guarded(cut(), task)


def _guarded(job: Job[list[Found]], task: Task) -> Job[list[Found]]:
    """A failure of a tensor is none of the run."""
    try:
        return (yield from job)
    except WorkerError:
        raise
    except QcoreError as error:
        return [Found(error)] * len(task.cases)
    except Exception as error:
        keep_traceback(error)
        return [Found(ReadError(told(error)))] * len(task.cases)


@dataclass
class Further:
    """What is found of a tensor beside its errors.

    Attributes:
        stored: what another checkpoint made of it.
        outputs: what became of its layer's output.
        expected: the Σe² that theory expects.
    """

    stored: dict[Recipe | Stored, Outcome]
    outputs: dict[Case, OutputError | QcoreError]
    expected: dict[Recipe, float]

    def beside(
        self, outcomes: dict[Recipe | Stored, Outcome], cases: Sequence[Case]
    ) -> list[Found]:
        """All of it, by case."""
        every = outcomes | self.stored
        for recipe, outcome in every.items():
            if isinstance(outcome, Measurement):
                e2 = self.expected.get(recipe, math.nan) if isinstance(recipe, Recipe) else math.nan
                stats = dataclasses.replace(outcome.stats, expected_e2=e2)
                every[recipe] = Measurement(stats, outcome.seconds)
        return [Found(every[case.recipe], self.outputs.get(case)) for case in cases]


def _measure_further(ref: TensorRef, tensor: NDArray[Any], task: Task) -> Job[Further]:
    further = Further({}, {}, {})
    if task.against is not None:
        stored = yield from _measure_against(ref, tensor, task)
        further.stored[Stored(task.against.label)] = stored
    if task.outputs is not None:
        outputs = yield from measure_outputs(ref, tensor, task.recipes, task.outputs)
        further.outputs.update(outputs)
    if EXPECTED in task.sums:
        from qcore.expected_errors import expected_errors  # and with it SciPy

        further.expected.update((yield from expected_errors(tensor, task.recipes)))
    return further


def _further(ref: TensorRef, task: Task, origin: Callable[[], NDArray[Any]]) -> Further:
    return run_here(_measure_further(ref, origin(), task))


def _stand_in(ref: TensorRef) -> NDArray[Any]:
    """An array of the tensor's shape and dtype that takes no memory; what it holds is not asked."""
    if ref.dtype not in BITS:
        return ref.load()
    return np.broadcast_to(np.zeros((), dtype_named(ref.dtype, ref.source)), ref.shape)


def _again(ref: TensorRef, integers: bool, run: str) -> NDArray[Any]:
    """A tensor, on a worker: read once for the tasks of a run that follow one another."""
    if ref.reader is None or ref.info is None:
        return float_tensor(ref.load(), ref.name, integers=integers)
    return _read_once(ref.reader, ref.info, integers, run)


@functools.lru_cache(maxsize=2)
def _read_once(reader: TensorReader, info: TensorInfo, integers: bool, run: str) -> NDArray[Any]:
    return float_tensor(read_tensor(reader, info), info.name, integers=integers)


def _measure_against(ref: TensorRef, tensor: NDArray[Any], task: Task) -> Job[Outcome]:
    """What the other checkpoint made of the tensor, or why that is not known."""
    assert task.against is not None
    other = task.against.tensors[ref.name]
    try:
        return (yield from measure_against(tensor, other, task.nonfinite, task.measured))
    except NonFiniteError:
        raise
    except QcoreError as error:
        return error


def _measure(
    tensor: NDArray[Any], task: Task, origin: Callable[[], NDArray[Any]] | None = None
) -> Job[dict[Recipe | Stored, Outcome]]:
    """Apply the recipes to the tensor itself, those of one layout together."""
    outcomes: dict[Recipe | Stored, Outcome] = {}
    for same in _by_cut(task.recipes, task.backend):
        try:
            with contained():
                layout = Layout.of(same[0].parts.granularity, tensor.shape)
        except Exception as error:
            outcomes |= {recipe: as_own(error, recipe) for recipe in same}
            continue
        source = Source(tensor.reshape(layout.shape), layout, task.nonfinite, origin)
        found = yield from measure(source, same, task.backend, task.measured, task.tick)
        outcomes |= dict(zip(same, found, strict=True))
    return outcomes


def _by_cut(recipes: Sequence[Recipe], backend: Backend) -> list[list[Recipe]]:
    """Recipes that cut a tensor in the same way."""
    groups: dict[Cut, list[Recipe]] = {}
    for recipe in recipes:
        groups.setdefault(Cut.of(recipe, backend), []).append(recipe)
    return list(groups.values())

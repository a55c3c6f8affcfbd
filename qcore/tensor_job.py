"""One tensor of a comparison: read once, and measured under every case, as a job."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.blame import contained, keep_traceback, told
from qcore.blocking import Layout, float_tensor
from qcore.builtin.readers.dtypes import BITS, dtype_named
from qcore.case import Stored
from qcore.errors import QcoreError, ReadError, WorkerError
from qcore.fitting import Cut, as_own
from qcore.further_findings import Further, measure_further
from qcore.interfaces.backend import Backend
from qcore.interfaces.reader import TensorInfo, TensorReader
from qcore.measuring import Outcome, measure
from qcore.observing import Source
from qcore.recipe import Recipe
from qcore.scheduling import Job, in_batches, run_here
from qcore.sources import TensorRef, read_tensor
from qcore.tensor_task import Found, Task


def measure_tensor(ref: TensorRef, task: Task) -> Job[list[Found]]:
    """Read a tensor once and apply every case to it; what fails has its error in place."""

    def whole() -> Job[list[Found]]:
        (loaded,) = yield [ref.load]
        tensor = float_tensor(loaded, ref.name, integers=task.integers)
        outcomes = yield from _measure(tensor, task)
        further = yield from measure_further(ref, tensor, task)
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


def _further(ref: TensorRef, task: Task, origin: Callable[[], NDArray[Any]]) -> Further:
    """What is found of a tensor beside its errors, by a worker that reads it itself."""
    return run_here(measure_further(ref, origin(), task))


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

"""What a comparison will take, told from a short trial on some of its tensors."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from qcore.distribution import plan
from qcore.preparing import Run
from qcore.running import measure_all
from qcore.scheduling import default_threads
from qcore.sources import TensorRef, from_arrays
from qcore.tensor_task import Task

_ENOUGH = 0.3
"""Seconds of a trial; before that, more elements are tried."""

_FIRST, _MOST, _MORE = 1 << 14, 1 << 26, 4
"""Elements of the first trial and of the last, and how many times as many each next one has."""

_PLACES = 8
_BASE = 90_000_000  # bytes: the interpreter, NumPy and qcore
_CHUNK_BYTES = 40  # an element of a chunk: blocks, codes, values, errors, in float32 and float64


@dataclass(frozen=True)
class Estimate:
    """What a comparison will take.

    Attributes:
        tensors: how many.
        elements: how many in all.
        recipes: how many, of the weights.
        tasks: into how many tasks it is cut for workers elsewhere.
        bytes: what is read.
        memory: bytes of memory that each process needs, beside the mapped files.
        seconds: of this machine; of a cluster, if its workers are as fast.
        workers: how many were reckoned with.
    """

    tensors: int
    elements: int
    recipes: int
    tasks: int
    bytes: int
    memory: int
    seconds: float
    workers: int


def estimate(run: Run, *, threads: int | None = None, workers: int | None = None) -> Estimate:
    """Measure a part of a comparison and reckon the rest from it.

    Args:
        run: the comparison.
        threads: how many threads of this process; all processors if None.
        workers: how many workers elsewhere; None for threads.
    """
    refs, task = run.refs, run.task
    elements = sum(ref.size for ref in refs)
    seconds = _an_element(refs, task, threads if workers is None else 1) * elements
    recipes = max(1, len(task.recipes))
    units = plan(refs, recipes, workers or 1)
    runners = (threads or default_threads()) if workers is None else 1
    whole = max((4 * ref.size for ref in refs if ref.encoding), default=0)  # decoded at once
    return Estimate(
        tensors=len(refs),
        elements=elements,
        recipes=recipes,
        tasks=sum(unit.pieces for unit in units),
        bytes=sum(ref.nbytes for ref in refs) + sum(ref.nbytes for ref in task.further_refs()),
        memory=_BASE + runners * (_CHUNK_BYTES * task.backend.grid_chunk_elements + whole),
        seconds=seconds / (workers or 1),
        workers=workers or runners,
    )


def _an_element(refs: Sequence[TensorRef], task: Task, threads: int | None) -> float:
    """Seconds for an element under every recipe, told from ever more of them."""
    wanted = _FIRST
    while True:
        sample = _sample(refs, wanted)
        tried = sum(ref.size for ref in sample)
        if not tried:
            return 0.0
        _timed(sample[:1], task, threads)  # what is only once slow
        seconds = _timed(sample, task, threads)
        if seconds >= _ENOUGH or wanted >= _MOST or tried < wanted:
            return seconds / tried
        wanted *= _MORE


def _sample(refs: Sequence[TensorRef], wanted: int) -> list[TensorRef]:
    """Some rows of tensors from everywhere in the run."""
    arrays: dict[str, NDArray[Any]] = {}
    taken = 0
    for ref in refs[:: max(1, len(refs) // _PLACES)]:
        if taken >= wanted or ref.encoding or not ref.size or not ref.shape:
            continue
        array = ref.load()
        some = max(1, min(len(array), (wanted - taken) * len(array) // array.size))
        arrays[f"{len(arrays)}"] = array[:some]
        taken += array[:some].size
    return from_arrays(arrays)


def _timed(refs: Sequence[TensorRef], task: Task, threads: int | None) -> float:
    own = task.alone()
    start = time.perf_counter()
    for _ in measure_all(refs, own, None, threads):
        pass
    return time.perf_counter() - start

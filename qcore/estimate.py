"""What a comparison will take, told from a short trial on some of its tensors."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from qcore.distribution import plan
from qcore.preparing import Run
from qcore.running import measure_all
from qcore.scheduling import default_threads
from qcore.sources import TensorRef, from_arrays
from qcore.tensor_job import Task

_TRIED = 1 << 22
"""Elements of the trial: a fraction of a second a recipe."""

_TRIALS = 3
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
    sample = _sample(refs)
    side_by_side = threads if workers is None else 1
    tried = min(_timed(sample, task, side_by_side) for _ in range(_TRIALS))
    share = elements / max(1, sum(ref.size for ref in sample))
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
        seconds=tried * share / (workers or 1),
        workers=workers or runners,
    )


def _sample(refs: Sequence[TensorRef]) -> list[TensorRef]:
    """Some rows of tensors from everywhere in the run."""
    arrays = {}
    taken = 0
    step = max(1, len(refs) // 8)
    for ref in refs[::step]:
        if taken >= _TRIED or ref.encoding:
            continue
        array = ref.load()
        rows = len(array) if array.ndim else 0
        if not rows or not array.size:
            continue
        some = max(1, min(rows, (_TRIED - taken) * rows // array.size))
        arrays[ref.name] = array[:some]
        taken += arrays[ref.name].size
    return from_arrays(arrays)


def _timed(refs: Sequence[TensorRef], task: Task, threads: int | None) -> float:
    own = task.alone()
    start = time.perf_counter()
    for _ in measure_all(refs, own, None, threads):
        pass
    return time.perf_counter() - start

"""Runs a comparison: here in threads, or on workers elsewhere, with or without a journal."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path

from qcore.distribution import measure_elsewhere
from qcore.errors import UnavailableError, UsageError
from qcore.interfaces.workers import Team, Workers
from qcore.journal import Journal
from qcore.loading import create
from qcore.scheduling import run_in_threads
from qcore.sources import TensorRef
from qcore.tensor_job import measure_tensor
from qcore.tensor_task import Found, Task

THREADS = "threads"
_UNKNOWN_SIZE = 4
"""How many workers an executor is taken to have that does not say."""


def measure_all(
    refs: Sequence[TensorRef], task: Task, team: Team | None, threads: int | None
) -> Generator[tuple[int, list[Found]], None, None]:
    """What every case does to every tensor, with the tensor's place, as results come in.

    Args:
        refs: the tensors.
        task: what is done to them.
        team: the workers; None for threads of this process.
        threads: how many of those; all processors if None.
    """
    if team is None:
        return run_in_threads((measure_tensor(ref, task) for ref in refs), threads)
    return measure_elsewhere(refs, task, team)


def with_journal(
    refs: Sequence[TensorRef],
    task: Task,
    team: Team | None,
    threads: int | None,
    path: Path,
    resume: bool,
) -> Generator[tuple[int, list[Found]], None, None]:
    """The same, every result written down, and none that a journal has computed again."""
    journal = Journal.begin(path, refs, task, resume=resume)
    with contextlib.closing(journal):
        for place, found in journal.done.items():
            task.tell(refs[place].size * max(1, len(task.recipes)))
            yield place, found
        left = [place for place in range(len(refs)) if place not in journal.done]
        some = [refs[place] for place in left]
        with contextlib.closing(measure_all(some, task, team, threads)) as results:
            for index, found in results:
                journal.add(some[index], found)
                yield left[index], found


@contextlib.contextmanager
def team_of(executor: Executor | Workers | str | None, count: int | None) -> Iterator[Team | None]:
    """The workers that were asked for; None for threads.

    Args:
        executor: any executor, which is not shut down; or workers, or their spec.
        count: how many.

    Raises:
        UnavailableError: they cannot be had here.
        UsageError: it is none of these.
    """
    if executor is None or executor == THREADS:
        yield None
        return
    if isinstance(executor, Executor):
        size = count or int(getattr(executor, "_max_workers", _UNKNOWN_SIZE))
        yield Team(executor, lambda: size)
        return
    if not isinstance(executor, Workers | str):
        raise UsageError(f"executor={executor!r} is no executor; give one, or processes, dask, …")
    workers = create("executor", executor)
    reason = workers.available()
    if reason is not None:
        raise UnavailableError(f"executor '{workers}' cannot be had here: {reason}")
    with workers.open(count) as team:
        yield team

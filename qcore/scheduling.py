"""Runs many jobs over one pool of workers, each job a few stages of independent tasks.

A job is a generator: it yields a stage, a list of calls without arguments, and is sent their
results in order, or thrown the first error. Small jobs run side by side and a large one fills the
pool, yet what a job computes does not depend on either.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from qcore.errors import UsageError, WorkerError

T = TypeVar("T")

Stage = Sequence[Callable[[], Any]]
Job = Generator[Stage, list[Any], T]
Submit = Callable[[Callable[[], Any]], "Future[Any]"]


_MOST_THREADS = 4
"""More would only wait for one another: between NumPy's loops, Python runs one thread at a time."""


def default_threads() -> int:
    """One for each processor that this process may use, up to a few."""
    if hasattr(os, "sched_getaffinity"):
        return min(_MOST_THREADS, len(os.sched_getaffinity(0)))
    return min(_MOST_THREADS, os.cpu_count() or 1)


class _Running(Generic[T]):
    """A job under way. It puts itself in `ready` when its stage is complete."""

    def __init__(
        self, place: int, job: Job[T], submit: Submit, ready: SimpleQueue[_Running[T]]
    ) -> None:
        self.place = place
        self._job = job
        self._submit = submit
        self._ready = ready
        self._stage: list[Future[Any]] = []
        self._left = 0
        self._lock = threading.Lock()
        self.result: T | None = None
        self.done = False
        self._start_stage(lambda: next(job))

    def advance(self) -> None:
        """Send the job the results of its stage, or throw its first error; start the next one."""
        errors = [error for future in self._stage if (error := future.exception()) is not None]
        for error in errors:
            if isinstance(error, WorkerError):  # which is no failure of the job
                raise error
        if errors:
            self._start_stage(lambda: self._job.throw(errors[0]))
        else:
            results = [future.result() for future in self._stage]
            self._start_stage(lambda: self._job.send(results))

    def _start_stage(self, take: Callable[[], Stage]) -> None:
        try:
            stage = take()
            while not stage:
                stage = self._job.send([])
        except StopIteration as stop:
            self.result, self.done = stop.value, True
            return
        self._left = len(stage)
        self._stage = [self._submit(call) for call in stage]
        for future in self._stage:
            future.add_done_callback(self._count_down)

    def _count_down(self, _: Future[Any]) -> None:
        with self._lock:
            self._left -= 1
            complete = self._left == 0
        if complete:
            self._ready.put(self)


def run(job: Job[T], threads: int | None = None) -> T:
    """Run one job to its end, and give its result."""
    return next(run_all([job], threads))


def run_all(jobs: Iterable[Job[T]], threads: int | None = None) -> Iterator[T]:
    """Run jobs over threads, a few at a time, and give their results in order.

    An error that a job does not catch ends the run: what has not begun is given up.
    """
    held: dict[int, T] = {}  # what ended before its turn
    turn = 0
    for place, result in run_in_threads(jobs, threads, lambda: len(held)):
        held[place] = result
        while turn in held:
            yield held.pop(turn)
            turn += 1


def run_in_threads(
    jobs: Iterable[Job[T]], threads: int | None = None, held: Callable[[], int] = lambda: 0
) -> Generator[tuple[int, T], None, None]:
    """Run jobs over threads, and give each result, with the job's place, as it comes.

    `held` says how many results wait for others: as many fewer jobs are begun.
    """
    threads = default_threads() if threads is None else threads
    if threads < 1:
        raise UsageError(f"threads is at least 1, not {threads}")
    if threads == 1:
        yield from ((place, run_here(job)) for place, job in enumerate(jobs))
        return
    with ThreadPoolExecutor(threads, "qcore") as pool:
        try:
            yield from run_over(jobs, pool.submit, lambda: 2 * threads - held())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def run_over(
    jobs: Iterable[Job[T]], submit: Submit, ahead: Callable[[], int]
) -> Iterator[tuple[int, T]]:
    """Run jobs over any workers, a few at a time, and give each result as it comes.

    Args:
        jobs: what is run; its place in order comes with its result.
        submit: hands a call to a worker.
        ahead: how many jobs may be under way just now.

    Raises:
        WorkerError: a worker is gone, and its work with it.
    """
    waiting = enumerate(jobs)
    under_way = 0
    ready: SimpleQueue[_Running[T]] = SimpleQueue()
    while True:
        while under_way < ahead() and (following := next(waiting, None)) is not None:
            begun = _Running(*following, submit, ready)
            under_way += 1
            if begun.done:  # without any task
                ready.put(begun)
        if not under_way:
            return
        running = ready.get()
        if not running.done:
            running.advance()
        if running.done:
            under_way -= 1
            yield running.place, running.result  # type: ignore[misc]  # done: it has one


def in_batches(job: Job[T], count: int) -> Job[T]:
    """The same job, with the tasks of a stage taken together, at most `count` times."""
    try:
        stage = next(job)
        while True:
            size = max(1, -(-len(stage) // count))
            batches = [stage[start : start + size] for start in range(0, len(stage), size)]
            try:
                results = yield [partial(_run_batch, batch) for batch in batches]
            except Exception as error:
                stage = job.throw(error)
            else:
                stage = job.send([result for batch in results for result in batch])
    except StopIteration as stop:
        result: T = stop.value
        return result


def _run_batch(calls: Stage) -> list[Any]:
    return [call() for call in calls]


def run_here(job: Job[T]) -> T:
    """Run a job in this thread, and give its result."""
    try:
        stage = next(job)
        while True:
            try:
                results = [call() for call in stage]
            except Exception as error:
                stage = job.throw(error)
            else:
                stage = job.send(results)
    except StopIteration as stop:
        result: T = stop.value
        return result

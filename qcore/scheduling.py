"""Runs many jobs over one pool of threads, each job a few stages of independent tasks.

A job is a generator: it yields a stage, a list of calls without arguments, and is sent their
results in order, or thrown the first error. Small jobs run side by side and a large one fills the
pool, yet what a job computes does not depend on either.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from qcore.errors import UsageError

T = TypeVar("T")

Stage = Sequence[Callable[[], Any]]
Job = Generator[Stage, list[Any], T]


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
        self, job: Job[T], pool: ThreadPoolExecutor, ready: SimpleQueue[_Running[T]]
    ) -> None:
        self._job = job
        self._pool = pool
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
        self._stage = [self._pool.submit(call) for call in stage]
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
    """Run jobs, a few at a time, and give their results in order.

    An error that a job does not catch ends the run: what has not begun is given up.
    """
    threads = default_threads() if threads is None else threads
    if threads < 1:
        raise UsageError(f"threads is at least 1, not {threads}")
    if threads == 1:
        yield from map(_run_inline, jobs)
        return
    waiting = iter(jobs)
    window: deque[_Running[T]] = deque()
    ready: SimpleQueue[_Running[T]] = SimpleQueue()
    with ThreadPoolExecutor(threads, "qcore") as pool:
        try:
            while True:
                while len(window) < 2 * threads and (job := next(waiting, None)) is not None:
                    window.append(_Running(job, pool, ready))
                if not window:
                    return
                while not window[0].done:
                    ready.get().advance()
                yield window.popleft().result  # type: ignore[misc]  # done: it has one
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _run_inline(job: Job[T]) -> T:
    """Run a job in this thread."""
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

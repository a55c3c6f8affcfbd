"""The workers that come with the core: processes of this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import ClassVar

from qcore.interfaces.workers import Team, Workers

_ENDED = 1


@dataclass(frozen=True)
class Processes(Workers):
    """Processes of this machine, each with an interpreter lock of its own."""

    id: ClassVar[str] = "processes"

    @contextlib.contextmanager
    def open(self, count: int | None) -> Iterator[Team]:
        size = _processors() if count is None else count
        executor = ProcessPoolExecutor(size, _Context(), initializer=_begin)
        try:
            yield Team(executor, lambda: size)
        finally:
            executor.shutdown(wait=True, cancel_futures=True)


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Process(SpawnProcess):
    """A process that never sees Ctrl-C, not even while it starts."""

    def start(self) -> None:
        if not hasattr(signal, "pthread_sigmask"):
            super().start()
            return
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # it is inherited
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Context(SpawnContext):
    """Spawned, since a fork of a process with threads may hang."""

    Process = _Process


def _begin() -> None:
    """Ctrl-C is the parent's: it ends the workers once it has what they had begun."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed tells nobody, and its pipes stay open among the workers."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(_ENDED)

"""Calls side by side in threads that take turns at every line, so that what they share shows."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

_PATIENCE = 0.01
"""Seconds that a thread waits for its turn: the one whose turn it is may be waiting for a lock."""


class _Turns:
    """Whose turn it is to run one line of Python."""

    def __init__(self, threads: int) -> None:
        self._changed = threading.Condition()
        self._order = deque(range(threads))

    def pass_on(self, me: int) -> None:
        """Let each of the others run a line first."""
        with self._changed:
            if self._order[0] == me:
                self._order.rotate(-1)
                self._changed.notify_all()
            self._changed.wait_for(lambda: self._order[0] == me, _PATIENCE)

    def leave(self, me: int) -> None:
        """Take no more turns."""
        with self._changed:
            self._order.remove(me)
            self._changed.notify_all()


def side_by_side(calls: Sequence[Callable[[], T]]) -> list[T]:
    """The results of calls, each in a thread of its own, all begun together.

    Left to itself a short call is over before the next thread is given its turn. So the threads
    run line by line in turn, always in the same order: what goes wrong does so every time.
    """
    turns = _Turns(len(calls))
    start = threading.Barrier(len(calls))

    def work(me: int) -> T:
        def trace(frame: Any, event: str, argument: Any) -> Any:
            if event == "line":
                turns.pass_on(me)
            return trace

        start.wait()
        sys.settrace(trace)  # of this thread alone
        try:
            with np.errstate(all="ignore"):  # which is each thread's own
                return calls[me]()
        finally:
            sys.settrace(None)
            turns.leave(me)

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(work, range(len(calls))))

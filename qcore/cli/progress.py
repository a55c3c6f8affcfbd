"""A progress bar for long runs: on standard error, on a terminal only."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qcore.cli.output import note
from qcore.cli.sizes import shown_bytes

if TYPE_CHECKING:
    from qcore.interfaces.workers import Team
    from qcore.results import Row
    from qcore.sources import TensorRef

_PATIENCE = 0.7
"""Seconds before the bar appears: a short run shows none."""

_BAR = 10
_WORST = "sqnr_db"


@contextmanager
def progress(what: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None] | None]:
    """A function to be told of (work done, work in all), or None where nobody looks.

    Args:
        what: is being done, such as `comparing`.
        quiet: whether nobody looks in any case.
    """
    with watching(what, quiet=quiet) as watched:
        yield None if watched is None else watched.report


@contextmanager
def watching(what: str, *, quiet: bool = False) -> Iterator[Watched | None]:
    """A bar that also says how many tensors and bytes are done, and which was worst so far."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    watched = Watched(what)
    try:
        yield watched
    finally:
        watched.end()


class Watched:
    """The bar of one run; what `qcore.compare` tells its `watch` goes behind it."""

    def __init__(self, what: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn(what),
            BarColumn(bar_width=_BAR),
            TextColumn("{task.percentage:.0f}%"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[more]}", markup=False),
            console=Console(stderr=True),
            transient=True,
            disable=True,
        )
        self._task = self._bar.add_task(what, total=None, more="")
        self._room = self._bar.console.width - len(what) - _BAR - len(" 100% 00:00:00 ") - 1
        self._begin = time.monotonic()
        self._tensors = self._tensors_done = self._bytes = self._bytes_done = 0
        self._worst: tuple[float, str] = (math.inf, "")

    def report(self, done: int, total: int) -> None:
        """So much is done."""
        if self._bar.disable and time.monotonic() - self._begin > _PATIENCE:
            self._bar.disable = False
            self._bar.start()
        self._bar.update(self._task, completed=done, total=total, more=self._more())

    def begins(self, refs: Sequence[TensorRef], team: Team | None) -> None:
        """The tensors are known, and the workers are there."""
        self._tensors, self._bytes = len(refs), sum(ref.nbytes for ref in refs)
        if team is not None and team.dashboard:
            note(f"dashboard: {team.dashboard}")
        if team is not None and not team.size():
            note("the cluster has no worker yet; waiting for one")

    def rows(self, ref: TensorRef, rows: Sequence[Row]) -> None:
        """A tensor is done."""
        self._tensors_done += 1
        self._bytes_done += ref.nbytes
        for row in rows:
            value = row.metrics.get(_WORST, math.nan)
            if value < self._worst[0]:
                self._worst = value, row.tensor

    def end(self) -> None:
        """The run has ended."""
        self._bar.stop()

    def _more(self) -> str:
        if not self._tensors:
            return ""
        seconds = max(1e-3, time.monotonic() - self._begin)
        facts = [f"{self._tensors_done}/{self._tensors} tensors"]
        if self._worst[1]:
            facts.append(f"worst {self._worst[1]} {self._worst[0]:.1f} dB")
        facts.append(f"{shown_bytes(self._bytes_done)} of {shown_bytes(self._bytes)}")
        facts.append(f"{shown_bytes(round(self._bytes_done / seconds))}/s")
        while facts and len(" · ".join(facts)) > self._room:
            facts.pop()  # the last one matters least
        return " · ".join(facts)

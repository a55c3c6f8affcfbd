"""A progress bar for long runs: on standard error, on a terminal only."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_PATIENCE = 0.7
"""Seconds before the bar appears: a short run shows none."""


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A function to be told of (work done, work in all), or None where nobody looks.

    Args:
        what: is being done, such as `comparing`.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn(what),
        BarColumn(),
        TextColumn("{task.percentage:.0f}%"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=True,
    )
    task = bar.add_task(what, total=None)
    begin = time.monotonic()

    def report(done: int, total: int) -> None:
        if bar.disable and time.monotonic() - begin > _PATIENCE:
            bar.disable = False
            bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield report
    finally:
        bar.stop()

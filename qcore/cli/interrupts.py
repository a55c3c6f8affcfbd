"""Ctrl-C: once for an orderly end, twice for one at once."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

_INTERRUPTED = 130


@contextlib.contextmanager
def second_at_once() -> Iterator[None]:
    """Until the block ends, the first Ctrl-C is an exception and the second the end."""

    def first(signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, lambda *_: os._exit(_INTERRUPTED))
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)

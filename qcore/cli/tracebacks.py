"""With QCORE_DEBUG=1: tracebacks on standard error, of errors that otherwise are a line each."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def wanted() -> bool:
    """Whether the environment asks for them."""
    return os.environ.get("QCORE_DEBUG") == "1"


@contextmanager
def shown() -> Iterator[None]:
    """Show what is raised by plugins and does not end the run, if tracebacks are wanted.

    The same one is shown once: every chunk of a tensor may fail.
    """
    if not wanted():
        yield
        return
    import logging

    told: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        text = handler.format(record)
        new = text not in told
        told.add(text)
        return new

    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(is_new)
    logger = logging.getLogger("qcore")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)

"""Whose fault an error is: what is said of it, and where in a plugin's own code it arose."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from qcore.errors import QcoreError, SchemeError

_log = logging.getLogger("qcore")


@contextmanager
def contained() -> Iterator[None]:
    """Around a plugin's code: whatever it raises ends no more than it was called for.

    Raises:
        SchemeError: in place of what is no `Exception`, such as SystemExit, but for an interrupt.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        raise SchemeError(f"{type(error).__name__}: {error}".rstrip(": ")) from error


def told(error: BaseException) -> str:
    """An error in one line: its kind, unless it is one of qcore's own, and what it says."""
    try:
        text = str(error).strip().partition("\n")[0]
    except Exception:  # of an exception that a plugin defines
        text = ""
    kind = "" if isinstance(error, QcoreError) else f"{type(error).__name__}: "
    cure = " (blocks are read-only; make a copy)" if text.endswith("is read-only") else ""
    return f"{kind}{text}{cure}".rstrip(": ")


@dataclass(frozen=True)
class Place:
    """A line of somebody's code.

    Attributes:
        package: the top-level package that it is in.
        line: such as `qcore_ternary/scheme.py:15, in fit`.
    """

    package: str
    line: str


def package_of(module: str) -> str:
    """The top-level package of a module."""
    return module.partition(".")[0]


class Travelled(SchemeError):
    """What was raised in another process: what it said there, and where it came from.

    Attributes:
        places: the lines that it left, and those of what caused it, the innermost first.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(told(error))
        self.places = tuple(_places(error))


def innermost(error: BaseException, packages: Collection[str]) -> Place | None:
    """Where an error left the code of one of some packages, or else what caused it did."""
    return next((place for place in _places(error) if place.package in packages), None)


def _places(error: BaseException) -> Iterator[Place]:
    cause: BaseException | None = error
    while cause is not None:
        for frame, number in reversed(list(traceback.walk_tb(cause.__traceback__))):
            module = frame.f_globals.get("__name__", "")
            if not frame.f_code.co_filename.startswith("<"):  # not made by `dataclass`
                yield Place(package_of(module), _line(frame, number, module))
        if isinstance(cause, Travelled):
            yield from cause.places
        cause = cause.__cause__


def _line(frame: FrameType, number: int, module: str) -> str:
    file = Path(frame.f_code.co_filename)
    depth = module.count(".") + 1 + (file.stem == "__init__")
    name = frame.f_code.co_name
    where = "" if name == "<module>" else f", in {name}"
    return f"{'/'.join(file.parts[-depth:])}:{number}{where}"


def keep_traceback(error: BaseException) -> None:
    """Log where an error came from, at DEBUG, before all but one line of it is left out."""
    _log.debug("%s", told(error), exc_info=error)

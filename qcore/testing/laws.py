"""What a check is: a function that states a law, and raises when an object breaks it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import SkipTest

import numpy as np

from qcore.arithmetic import chunk_arithmetic
from qcore.blame import contained, innermost, keep_traceback, package_of, told
from qcore.errors import QcoreError, SchemeError

Check = Callable[..., None]
"""Takes the object; returns nothing, or raises `CheckFailure` or `CheckSkipped`."""

PLACE = "  at "
"""What leads the last line of a failure: where in the object's own code it was raised."""

_SHOWN = 8


class CheckFailure(QcoreError, AssertionError):
    """An object that breaks a law. The message says which law, on what input, and how."""


class CheckSkipped(QcoreError, SkipTest):
    """A law that does not apply to an object, or cannot be tried here; the message says why."""


def law(function: Check) -> Check:
    """Make a check of a function whose docstring's first line is the law.

    It runs as the engine runs plugins, without floating-point warnings. Whatever the function
    raises becomes a `CheckFailure` that leads with its name and the law, and ends with the line of
    the object's own code that raised it.
    """

    @functools.wraps(function)
    def check(object: Any, /, **more: Any) -> None:
        try:
            with chunk_arithmetic(), contained():
                function(object, **more)
        except CheckSkipped:
            raise
        except Exception as error:
            message = f"{function.__name__}: {statement(check)}\n{_told(error)}"
            place = innermost(error, {package_of(type(object).__module__)} - {"qcore"})
            if place is not None:
                keep_traceback(error)
                message += f"\n{PLACE}{place.line}"
            raise CheckFailure(message) from error

    return check


def statement(check: Check) -> str:
    """The law that a check states, in one sentence."""
    return (check.__doc__ or check.__name__).strip().partition("\n")[0]


@contextmanager
def given(what: str) -> Iterator[None]:
    """Add to whatever is raised inside what it happened with."""
    try:
        with contained():
            yield
    except CheckSkipped:
        raise
    except Exception as error:
        raise CheckFailure(f"{_told(error)}\n  given {what}") from error


def require(holds: object, message: str) -> None:
    """Fail unless something holds.

    Raises:
        CheckFailure: it does not.
    """
    if not holds:
        raise CheckFailure(message)


def require_same(what: str, found: Any, expected: Any, **inputs: Any) -> None:
    """Fail unless two arrays have one shape and equal elements; NaN equals NaN.

    Args:
        what: what they are, for the message.
        found: from the object.
        expected: what the law asks for.
        inputs: arrays of the same shape, whose element beside the first difference is shown.

    Raises:
        CheckFailure: they differ.
    """
    found, expected = np.asarray(found), np.asarray(expected)
    if found.shape != expected.shape:
        raise CheckFailure(f"{what}: expected shape {expected.shape}, got {found.shape}")
    nan = np.isnan(found) & np.isnan(expected) if found.dtype.kind in "fc" else False
    differ = ~((found == expected) | nan)
    if not differ.any():
        return
    at = tuple(int(i) for i in np.argwhere(differ)[0])
    place = f" at {list(at)}" if at else ""
    beside = "".join(f", for {name} = {np.asarray(a)[at]!s}" for name, a in inputs.items())
    raise CheckFailure(
        f"{what}: {np.count_nonzero(differ)} of {differ.size} differ; first{place}: "
        f"expected {expected[at]!s}, got {found[at]!s}{beside}"
    )


def require_close(what: str, found: Any, expected: Any, relative: float) -> None:
    """Fail unless two arrays have one shape and elements that agree to a relative error.

    Raises:
        CheckFailure: they do not.
    """
    found, expected = np.asarray(found), np.asarray(expected)
    if found.shape == expected.shape:
        close = np.isclose(found, expected, rtol=relative, atol=0, equal_nan=True)
        found = np.where(close, expected, found)
    require_same(f"{what}, to {relative:g}", found, expected)


def require_unchanged(what: str, before: Any, after: Any) -> None:
    """Fail if an array was written to.

    Raises:
        CheckFailure: it was.
    """
    if before.tobytes() != after.tobytes():
        raise CheckFailure(f"{what} was written to; make a copy first")


def shown(array: Any) -> str:
    """The first few elements of an array."""
    flat = np.ravel(array)
    more = ", …" if flat.size > _SHOWN else ""
    return f"[{', '.join(str(v) for v in flat[:_SHOWN])}{more}]"


def _told(error: Exception) -> str:
    if isinstance(error, CheckFailure | SchemeError):
        return str(error)
    return raised(error)


def raised(error: Exception) -> str:
    """What an object raised, in one line."""
    kind = f"{type(error).__name__}: " if isinstance(error, QcoreError) else ""
    return f"raised {kind}{told(error)}"

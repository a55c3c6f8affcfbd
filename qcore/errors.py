"""Every error that qcore raises on purpose, in one tree."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class QcoreError(Exception):
    """Something a caller can act on: the message says what, where, and what to do."""

    def __reduce__(self) -> tuple[Any, ...]:
        # as it stands, for those that are made from other things than their message
        return _again, (type(self), self.args, self.__dict__)


def _again(cls: type[QcoreError], args: tuple[Any, ...], state: dict[str, Any]) -> QcoreError:
    """An error that comes from another process."""
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class UsageError(QcoreError, ValueError):
    """Options that are wrong, or that contradict each other."""


class SpecError(UsageError):
    """A spec such as ``apot:k=2`` that does not parse or does not fit its class."""


class UnknownIdError(UsageError, LookupError):
    """An id that no plugin provides.

    Attributes:
        kind: the axis that was asked, such as ``scheme``.
        id: what was asked for.
    """

    def __init__(self, kind: str, id: str, known: Iterable[str], note: str = "") -> None:
        self.kind = kind
        self.id = id
        known = sorted(known)
        name = kind.replace("_", " ")
        hint = f"; installed: {', '.join(known)}" if known else f"; no {name} is installed"
        message = f"unknown {name} '{id}'{nearest(id, known)}{hint}"
        super().__init__(f"{message}. {note}" if note else message)


class ShapeError(QcoreError, ValueError):
    """A shape that does not fit: an axis, a group size, params, codes."""


class DtypeError(QcoreError, TypeError):
    """A dtype that cannot be quantized."""


class RangeError(QcoreError, ArithmeticError):
    """A number out of what its format can hold: a scale, a zero point."""


class NonFiniteError(QcoreError, ValueError):
    """Input that holds NaN or infinities.

    Attributes:
        count: how many values are not finite.
        size: how many values there are.
    """

    def __init__(self, count: int, size: int) -> None:
        self.count = count
        self.size = size
        super().__init__(
            f"{count} of {size} values are NaN, infinite or beyond float32; "
            "clean the tensor, or pass nonfinite='clip' (--nonfinite clip)"
        )


class SchemeError(QcoreError, RuntimeError):
    """A plugin's code that broke its contract, or raised, while it ran."""


class PluginError(QcoreError, RuntimeError):
    """A plugin that cannot be loaded."""


class WorkerError(QcoreError, RuntimeError):
    """A worker that is gone, or that lacks what its work needs."""


class UnavailableError(QcoreError, RuntimeError):
    """A backend that is installed but cannot run here."""


class ReadError(QcoreError, OSError):
    """A file that cannot be read; the message names the file.

    ``OSError`` shows an errno tuple when it is given two arguments, so this takes one.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)


def located(error: QcoreError, where: str) -> QcoreError:
    """The same error, its message led by where it happened, unless it says so itself."""
    if not str(error).startswith(where):
        error.args = (f"{where}: {error}",)
    return error


def nearest(word: str, known: Iterable[str]) -> str:
    """`, did you mean 'x'?` for the closest of `known`, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean '{close[0]}'?" if close else ""

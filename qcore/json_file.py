"""JSON files: read as if a stranger wrote them, and written whole or not at all."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from qcore import whole_file
from qcore.errors import ReadError
from qcore.stored_file import quoted

T = TypeVar("T")

_NOUNS = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}
"""What JSON holds, in words."""


def read(path: Path) -> dict[str, Any]:
    """The object that a file holds.

    Raises:
        ReadError: there is no such file, or it holds something else; the file is not named.
    """
    try:
        return parse(path.read_bytes())
    except OSError as error:
        if isinstance(error, ReadError):
            raise
        raise ReadError(f"cannot be read: {error.strerror}") from None


def parse(text: bytes) -> dict[str, Any]:
    """The object that a text holds: strict JSON in strict UTF-8, with no key twice.

    Raises:
        ReadError: it is anything else.
    """
    try:
        document = json.loads(text.decode(), parse_constant=_refuse, object_pairs_hook=_object)
    except UnicodeError:
        raise ReadError("this is no JSON: it is no UTF-8") from None
    except (RecursionError, MemoryError):
        raise ReadError("this is no JSON of ours: it is nested too deeply") from None
    except ValueError as error:
        raise ReadError(f"this is no JSON: {error}") from None
    return checked(document, dict, "the whole")


def member(holder: dict[str, Any], key: str, kind: type[T]) -> T:
    """What an object holds under a key.

    Raises:
        ReadError: there is nothing, or something of another kind.
    """
    if key not in holder:
        raise ReadError(f"'{key}' is missing")
    return checked(holder[key], kind, f"'{key}'")


def checked(value: Any, kind: type[T], what: str) -> T:
    """A value that must be of one kind; a whole number is a number, too.

    Raises:
        ReadError: it is of another kind.
    """
    if type(value) is not kind and (kind, type(value)) != (float, int):
        raise ReadError(f"{what} must be {_NOUNS[kind]}, not {_NOUNS[type(value)]}")
    return value  # type: ignore[no-any-return]  # it was just checked


def write(path: Path, document: Any) -> None:
    """Write a file so that it is the old one or the new one, never half of it.

    Raises:
        UsageError: it cannot be written.
    """
    whole_file.write(path, json.dumps(document, indent=2, allow_nan=False) + "\n")


def _refuse(constant: str) -> NoReturn:
    raise ReadError(f"{constant} is no number in JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, each of whose keys is given once."""
    found = dict(pairs)
    if len(found) < len(pairs):
        times = Counter(key for key, _ in pairs)
        twice = next(key for key, count in times.items() if count > 1)
        raise ReadError(f"{quoted(twice)} is given twice")
    for key in found:
        key.encode()  # \\ud800 is JSON, but no text
    return found

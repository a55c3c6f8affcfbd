"""Objects of a class to check: as it comes, at several widths, and with each of its choices."""

from __future__ import annotations

import dataclasses
import itertools
import typing
from collections.abc import Iterator, Mapping
from typing import Any, cast

from qcore.blame import contained, told
from qcore.errors import UsageError
from qcore.spec import Configurable, construct, has_field, parse_fields

WIDTHS = (1, 2, 3, 4, 5, 6, 8, 12, 16)
"""The widths that are tried; a class refuses those that it does not have."""

_USUAL = (4, 8)
_SMALL = (1, 2, 4)


def examples(cls: type[Configurable], spec: str | None = None) -> list[Any]:
    """Objects of a class that between them show what it does.

    A class with a `bits` field is taken at each of `WIDTHS` that it accepts. Required numbers are
    1, 2 and 4 in turn. Each option that is a choice is tried with each of its values, at 4 and 8
    bits.

    Args:
        cls: the class.
        spec: some of its fields, as the command line takes them; then these are kept as they are.

    Raises:
        SpecError: the spec does not fit the class.
        UsageError: the class takes none of the values that are tried.
    """
    fixed = {} if spec is None else parse_fields(cls, spec)
    found: dict[Any, None] = {}
    refused: UsageError | None = None
    for required in _required(cls, fixed):
        widths = WIDTHS if has_field(cls, "bits") else (None,)
        accepted: list[int | None] = []
        for bits in widths:
            try:
                found[_made(cls, fixed | required, bits)] = None
                accepted.append(bits)
            except UsageError as error:
                refused = error if refused is None or bits in _USUAL else refused
        choices = [] if fixed else list(_choices(cls))
        for bits, (name, value) in itertools.product(_usual(accepted), choices):
            try:
                found[_made(cls, fixed | required | {name: value}, bits)] = None
            except UsageError:  # two options that exclude each other
                continue
    if not found and refused is not None:
        raise refused
    return list(found)


def label(part: Any) -> str:
    """What an object is called in reports and test names: its spec, and its width if it has one."""
    return f"{part}-bits={part.bits}" if has_field(type(part), "bits") else str(part)


def _made(cls: type[Configurable], values: Mapping[str, Any], bits: int | None) -> Any:
    """An object; what it raises but a refusal is one too, for a check to complain of."""
    given = values if bits is None else {**values, "bits": bits}
    try:
        with contained():
            return construct(cls, given)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"'{cls.id}' failed: {told(error)}") from error


def _usual(accepted: list[int | None]) -> list[int | None]:
    return [bits for bits in accepted if bits in _USUAL] or accepted[-1:]


def _required(cls: type[Configurable], fixed: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Values for the fields without a default; numbers ascend, as a range must."""
    types = typing.get_type_hints(cls)
    names = [
        f.name
        for f in dataclasses.fields(cast(Any, cls))
        if f.init and f.default is dataclasses.MISSING and f.name not in fixed and f.name != "bits"
    ]
    if not names:
        yield {}
        return
    for small in _SMALL:
        values: dict[str, Any] = {}
        for i, name in enumerate(names):
            if types[name] is float:
                values[name] = float(small + i)
            else:
                values[name] = small if types[name] is int else _values(types[name])[0]
        yield values


def _choices(cls: type[Configurable]) -> Iterator[tuple[str, Any]]:
    """Each value of an option that is a choice, but for its default."""
    types = typing.get_type_hints(cls)
    for field in dataclasses.fields(cast(Any, cls)):
        if field.init and field.default is not dataclasses.MISSING:
            for value in _values(types[field.name]):
                if value != field.default:
                    yield field.name, value


def _values(kind: Any) -> tuple[Any, ...]:
    if kind is bool:
        return (True, False)
    return typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()

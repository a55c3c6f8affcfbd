"""Specs: `id:field=value` on the command line, frozen dataclasses in Python, JSON between.

A spec is an id and then fields, separated by colons, by name or in order: `apot:k=2:signed=false`,
`group:128`, `fixed:0:1`. Fields that are keyword-only in Python are written by name; the others in
order, as far as the last that differs from its default.
"""

from __future__ import annotations

import dataclasses
import functools
import numbers
import typing
from collections.abc import Collection, Hashable, Iterable, Mapping
from typing import Any, ClassVar, Self, TypeVar, cast

from qcore.errors import SpecError, nearest

T = TypeVar("T", bound="Configurable")

_PLAIN: dict[Any, tuple[type, str]] = {
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
    str: (str, "text"),
}
"""The types of options beside choices: what a value must be, and what it is called."""


class Configurable:
    """A frozen dataclass with an id, whose fields are its whole configuration."""

    id: ClassVar[str]
    outside_spec: ClassVar[frozenset[str]] = frozenset()
    """Fields that are an axis of their own and so never part of the spec."""

    def config(self) -> dict[str, Any]:
        """The id and every field, as JSON holds them."""
        return {"id": self.id, **{f.name: getattr(self, f.name) for f in _fields(type(self))}}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The object equal to the one that gave `config`.

        Raises:
            SpecError: the id is another's, or a field is unknown or of the wrong type.
        """
        values = dict(config)
        given = values.pop("id", cls.id)
        if given != cls.id:
            raise SpecError(f"this is the configuration of '{given}', not of '{cls.id}'")
        return construct(cls, values)

    def options(self) -> dict[str, Any]:
        """The fields that differ from their defaults, axes of their own left out."""
        return {
            f.name: getattr(self, f.name)
            for f in _fields(type(self))
            if f.name not in self.outside_spec and getattr(self, f.name) != f.default
        }

    def __str__(self) -> str:
        changed = self.options()
        ordered = [f.name for f in spec_fields(type(self)) if not f.kw_only]
        while ordered and ordered[-1] not in changed:
            ordered.pop()
        parts = [self.id, *(format_value(getattr(self, name)) for name in ordered)]
        parts += [f"{k}={format_value(v)}" for k, v in changed.items() if k not in ordered]
        return ":".join(parts)


def split(spec: str) -> tuple[str, list[str], dict[str, str]]:
    """`id:a:k=v` as (id, [a], {k: v}), all still text.

    Raises:
        SpecError: the spec is empty, or a field is given twice or comes after a named one.
    """
    id, *parts = spec.strip().split(":")
    ordered: list[str] = []
    named: dict[str, str] = {}
    if not id:
        raise SpecError(f"empty id in spec '{spec}'; write it as id:field=value")
    for part in parts:
        name, equals, value = part.partition("=")
        if not equals:
            if named:
                raise SpecError(f"'{spec}': '{part}' follows a named field; put it first")
            ordered.append(part)
        elif name in named:
            raise SpecError(f"'{spec}' gives '{name}' twice")
        else:
            named[name] = value
    return id, ordered, named


def parse_fields(cls: type[Configurable], spec: str) -> dict[str, Any]:
    """The typed field values that `spec` gives for `cls`.

    Raises:
        SpecError: a field is unknown, of the wrong type, or there are too many.
    """
    _, ordered, named = split(spec)
    fields = {f.name: f for f in spec_fields(cls)}
    in_order = [name for name, f in fields.items() if not f.kw_only]
    if len(ordered) > len(in_order):
        extra = ordered[len(in_order)]
        takes = f"takes {len(in_order)}" if in_order else "takes none in order"
        raise SpecError(f"'{spec}': '{cls.id}' {takes}, so '{extra}' is one too many")
    texts = dict(zip(in_order, ordered, strict=False))
    for name, text in named.items():
        if name in texts:
            raise SpecError(f"'{spec}' gives '{name}' twice")
        texts[name] = text
    types = _types(cls)
    _refuse_unknown(cls, texts, fields)
    return {name: _parse_value(cls, name, types[name], text) for name, text in texts.items()}


def construct(cls: type[T], values: Mapping[str, Any]) -> T:
    """`cls(**values)`, with missing, unknown and mistyped fields as one-line errors."""
    fields = {f.name: f for f in _fields(cls)}
    _refuse_unknown(cls, values, fields)
    plain: dict[str, Any] = {}  # numbers as Python's own, so that they can be written as JSON
    for name, value in values.items():
        kind = _types(cls)[name]
        _check_type(cls, name, kind, value)
        plain[name] = kind(value) if kind in (int, float) else value
    for name, field in fields.items():
        if field.default is dataclasses.MISSING and name not in values:
            ordered = [f.name.upper() for f in spec_fields(cls) if not f.kw_only]
            example = f"write {':'.join([cls.id, *ordered])}"
            raise SpecError(
                f"'{cls.id}' needs '{name}'; "
                f"{f'give {name}=' if name in cls.outside_spec else example}"
            )
    return cls(**plain)


def check_fields(cls: type[Configurable]) -> None:
    """Refuse a class with a field that a spec cannot give.

    Raises:
        SpecError: its type is none that is written in a spec, or its default is of another.
    """
    for field in _fields(cls):
        name = f"{cls.__name__}.{field.name}"
        try:
            kind = _types(cls)[field.name]
        except Exception as error:  # of an annotation that names what is not there
            message = f"the type of {name} cannot be told: {type(error).__name__}: {error}"
            raise SpecError(message) from None
        if kind not in _PLAIN and _choices(kind) is None:
            shown = kind.__name__ if isinstance(kind, type) else kind
            options = "options are int, float, bool, str or Literal"
            raise SpecError(f"{name} is of type {shown}; {options}")
        if field.default is not dataclasses.MISSING:
            try:
                _check_type(cls, field.name, kind, field.default)
            except SpecError as error:
                raise SpecError(f"the default of {name} cannot be: {error}") from None


def _refuse_unknown(cls: type[Configurable], given: Iterable[str], fields: Collection[str]) -> None:
    for name in given:
        if name not in fields:
            has = f"; it has {', '.join(fields)}" if fields else "; it has none"
            raise SpecError(f"'{cls.id}' has no option '{name}'{nearest(name, fields)}{has}")


def spec_fields(cls: type[Configurable]) -> list[dataclasses.Field[Any]]:
    """The dataclass fields that a spec of `cls` may give."""
    return [f for f in _fields(cls) if f.name not in cls.outside_spec]


def has_field(cls: type[Configurable], name: str) -> bool:
    """Whether a class has a dataclass field of this name."""
    return any(f.name == name for f in _fields(cls))


def format_value(value: object) -> str:
    """A field's value as a spec writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def _fields(cls: type[Any]) -> list[dataclasses.Field[Any]]:
    return [f for f in dataclasses.fields(cls) if f.init]


def _types(cls: type[Any]) -> dict[str, Any]:
    return _cached_types(cast("Hashable", cls))


@functools.cache
def _cached_types(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _parse_value(cls: type[Configurable], name: str, kind: Any, text: str) -> Any:
    choices = _choices(kind)
    if choices is not None:
        value: Any = {format_value(c): c for c in choices}.get(text, text)
    else:
        try:
            value = kind(text)
        except ValueError:
            value = text
    _check_type(cls, name, kind, value)
    return value


def _choices(kind: Any) -> tuple[Any, ...] | None:
    if kind is bool:
        return (True, False)
    return typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else None


def _check_type(cls: type[Configurable], name: str, kind: Any, value: object) -> None:
    choices = _choices(kind)
    if choices is not None:
        if not any(_is_choice(value, choice) for choice in choices):
            known = [format_value(c) for c in choices]
            close = nearest(str(value), known)
            text = format_value(value)
            raise SpecError(f"'{cls.id}': {name}={text} is not one of {', '.join(known)}{close}")
        return
    if kind not in _PLAIN:
        return
    welcome, noun = _PLAIN[kind]
    if not isinstance(value, welcome) or isinstance(value, bool):
        raise SpecError(f"'{cls.id}': {name} must be {noun}, not '{value}'")


def _is_choice(value: object, choice: object) -> bool:
    """Whether a value is one of the choices: 1 is not true, nor is it 1.0."""
    alike = isinstance(value, str) if isinstance(choice, str) else type(value) is type(choice)
    return alike and value == choice

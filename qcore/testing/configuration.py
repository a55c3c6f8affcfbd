"""Checks of what every part has: it is a frozen dataclass, and its fields say all of it."""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from typing import Any

from qcore.errors import UsageError
from qcore.registry import KINDS, check_class
from qcore.spec import Configurable, construct, parse_fields
from qcore.testing.laws import CheckFailure, law, raised, require

_TRIED: dict[Any, tuple[float, ...]] = {
    int: (-1, 0, 1, 2, 3, 99),
    float: (-1.0, 0.0, math.nan, math.inf),
}
"""Values of options, by their type: most classes cannot have some of them."""


def kind_of(part: object) -> str:
    """The kind that an object or a class is of.

    Raises:
        TypeError: none.
    """
    cls = part if isinstance(part, type) else type(part)
    for kind, (_, interface) in KINDS.items():
        if issubclass(cls, interface):
            return kind
    raise TypeError(f"{cls.__name__} implements none of qcore's interfaces")


@law
def check_class_can_be_registered(part: Any) -> None:
    """The class is a frozen dataclass with a lower-case id, as the registry takes it."""
    check_class(kind_of(part), type(part))


@law
def check_is_a_value(part: Any) -> None:
    """Objects with equal fields are equal and hash alike, and no field can be set."""
    clone = dataclasses.replace(part)
    require(part == clone, f"{part!r} does not equal {clone!r}, which has the same fields")
    require(hash(part) == hash(clone), f"{part!r} and its copy are equal, but hash differently")
    names = [f.name for f in dataclasses.fields(part)]
    for name in names[:1]:
        try:
            setattr(part, name, getattr(part, name))
        except dataclasses.FrozenInstanceError:
            continue
        require(False, f"'{name}' of {part!r} can be set; put @dataclass(frozen=True) above it")


@law
def check_config_round_trip(part: Any) -> None:
    """config() is JSON, and from_config() makes an equal object of it."""
    config = part.config()
    text = json.dumps(config, allow_nan=False)
    again = type(part).from_config(json.loads(text))
    require(again == part, f"expected {part!r}, got {again!r} from {text}")


@law
def check_spec_round_trip(part: Any) -> None:
    """str() gives the spec that the command line takes, and it parses back to an equal object."""
    spec = str(part)
    require(spec.split(":")[0] == part.id, f"'{spec}' does not begin with the id '{part.id}'")
    require(not set(spec) & set(" ,"), f"'{spec}' holds a space or a comma, which end a spec")
    outside = {name: value for name, value in part.config().items() if name in part.outside_spec}
    cls: type[Configurable] = type(part)
    again = construct(cls, parse_fields(cls, spec) | outside)
    require(again == part, f"expected {part!r}, got {again!r} from '{spec}'")


@law
def check_refuses_options(part: Any) -> None:
    """A value that an option cannot have is refused with a qcore.UsageError, and nothing else."""
    types = typing.get_type_hints(type(part))
    for field in dataclasses.fields(part):
        for value in _TRIED.get(types[field.name], ()) if field.init else ():
            try:
                dataclasses.replace(part, **{field.name: value})
            except UsageError:
                continue
            except Exception as error:
                cure = "refuse it with qcore.UsageError"
                cure += ", or widths with qcore.check_bits" if field.name == "bits" else ""
                message = f"{field.name}={value} {raised(error)}; {cure}"
                raise CheckFailure(message) from error


CHECKS = (
    check_class_can_be_registered,
    check_is_a_value,
    check_config_round_trip,
    check_spec_round_trip,
    check_refuses_options,
)

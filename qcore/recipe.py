"""Recipes: one full combination of the axes, and products of many."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from qcore.errors import SpecError, UsageError, nearest
from qcore.interfaces.granularity import Granularity
from qcore.interfaces.observer import Observer
from qcore.interfaces.quantizer import Quantizer
from qcore.interfaces.rounding import RoundingPolicy
from qcore.interfaces.scale_format import ScaleFormat
from qcore.loading import create, plugins
from qcore.spec import has_field

AXES = ("granularity", "rounding", "observer", "scale_format")
"""The axes beside scheme and bits, in the order they are written."""

DEFAULTS = {
    "granularity": "tensor",
    "rounding": "half-even",
    "observer": "minmax",
    "scale_format": "float32",
}


class Parts(NamedTuple):
    """The objects that a recipe's specs describe."""

    quantizer: Quantizer
    granularity: Granularity
    rounding: RoundingPolicy
    observer: Observer
    scale_format: ScaleFormat


@dataclass(frozen=True)
class Recipe:
    """One point in the product of the axes; every field is normalised when it is made.

    Attributes:
        scheme: id of the scheme; its spec or a quantizer object may be given instead.
        bits: width of a code; 8 if None, unless the scheme's width is fixed.
        granularity: which elements share a scale; as the next three, a spec or an object.
        rounding: which neighbour on the grid a value goes to.
        observer: how the range of a block is estimated.
        scale_format: how a scale is stored.
        options: the scheme's other fields, those at their defaults left out.

    Raises:
        UnknownIdError: an id that no plugin provides.
        SpecError: a spec that does not fit.
        UsageError: values that the scheme refuses, or on which it fails.
    """

    scheme: str
    bits: int = None  # type: ignore[assignment]  # an int once the recipe is made
    granularity: str = DEFAULTS["granularity"]
    rounding: str = DEFAULTS["rounding"]
    observer: str = DEFAULTS["observer"]
    scale_format: str = DEFAULTS["scale_format"]
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    parts: Parts = field(init=False, repr=False)

    def __post_init__(self) -> None:
        quantizer = _quantizer(self.scheme, self.bits, self.options)
        parts = Parts(quantizer, *(create(axis, getattr(self, axis)) for axis in AXES))
        normal = {
            "scheme": quantizer.id,
            "bits": quantizer.bits,
            "options": quantizer.options(),
            "parts": parts,
            **{axis: str(getattr(parts, axis)) for axis in AXES},
        }
        for name, value in normal.items():
            object.__setattr__(self, name, value)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The recipe that `str` wrote: `apot:k=2 bits=4 granularity=channel:0`, axes in any order.

        Raises:
            SpecError: the text does not parse.
        """
        scheme, *rest = text.split() or [""]
        if not scheme:
            raise SpecError("empty recipe; write it as: scheme bits=N granularity=…")
        given: dict[str, Any] = {}
        for part in rest:
            name, equals, value = part.partition("=")
            if not equals or name not in ("bits", *AXES):
                known = ("bits", *AXES)
                raise SpecError(
                    f"'{part}' in recipe '{text}' is no axis{nearest(name, known)}; "
                    f"axes are {', '.join(f'{axis}=' for axis in known)}"
                )
            if name in given:
                raise SpecError(f"recipe '{text}' gives {name} twice")
            given[name] = value
        if "bits" in given:
            if not given["bits"].isdecimal():
                raise SpecError(f"bits={given['bits']} in recipe '{text}' is no whole number")
            given["bits"] = int(given["bits"])
        return cls(scheme, **given)

    @property
    def scheme_spec(self) -> str:
        """The scheme with its options, such as `apot:k=3`."""
        return str(self.parts.quantizer)

    def __str__(self) -> str:
        axes = [f"{axis}={getattr(self, axis)}" for axis in AXES if not self._is_default(axis)]
        return " ".join([self.scheme_spec, f"bits={self.bits}", *axes])

    def _is_default(self, axis: str) -> bool:
        return bool(getattr(self, axis) == DEFAULTS[axis])

    def to_dict(self) -> dict[str, Any]:
        """The recipe as JSON holds it."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.init}
        return {"scheme": fields.pop("scheme"), "options": dict(fields.pop("options")), **fields}


def recipe_product(
    *,
    scheme: Iterable[str] | None = None,
    bits: Iterable[int] | None = None,
    granularity: Iterable[str] = (DEFAULTS["granularity"],),
    rounding: Iterable[str] = (DEFAULTS["rounding"],),
    observer: Iterable[str] = (DEFAULTS["observer"],),
    scale_format: Iterable[str] = (DEFAULTS["scale_format"],),
    report: Callable[[str], None] | None = None,
) -> list[Recipe]:
    """Every combination of the values given, each once.

    A scheme is left out at widths that it refuses, or at which it cannot be made.

    Args:
        scheme: specs; all that are installed where None.
        bits: widths; 8 and 4 where None. A scheme of fixed width has its own unless both are given.
        granularity: specs.
        rounding: specs.
        observer: specs.
        scale_format: specs.
        report: told, in one line each, what was left out and why.

    Raises:
        UsageError: an axis that cannot be; a scheme given by name that cannot be at any of the
            widths; or no combination at all.
    """
    named = scheme is not None
    schemes = list(plugins().registry.ids("scheme") if scheme is None else scheme)
    if not schemes:
        missing = "no scheme is installed; install one, such as qcore-symmetric"
        raise UsageError(". ".join(filter(None, [missing, plugins().failures()])))
    widths = list((8, 4) if bits is None else bits)
    quantizers: list[Quantizer] = []
    refused: dict[str, UsageError] = {}  # by what they say: once for several widths
    for spec in schemes:
        fixed = fixed_width(spec)
        own = widths if fixed is None or (named and bits is not None) else [fixed]
        found, reasons = _at_widths(spec, own)
        if named and reasons and not found:
            raise reasons[0]
        quantizers += found
        refused |= {str(reason): reason for reason in reasons}
    if refused and not quantizers:
        raise next(iter(refused.values()))
    given = zip(AXES, (granularity, rounding, observer, scale_format), strict=True)
    axes = [[create(axis, value) for value in values] for axis, values in given]
    if report is not None:
        for reason in refused:
            report(f"left out: {reason}")
    products = itertools.product(quantizers, [None], *axes)
    return list(dict.fromkeys(Recipe(*parts) for parts in products))


def _at_widths(scheme: str, widths: Iterable[int]) -> tuple[list[Quantizer], list[UsageError]]:
    """A scheme at the widths that it has, and why not at the others."""
    found: list[Quantizer] = []
    reasons: list[UsageError] = []
    for width in widths:
        try:
            found.append(_quantizer(scheme, width, {}))
        except UsageError as reason:
            reasons.append(reason)
    return found, reasons


def fixed_width(scheme: str) -> int | None:
    """The only width of a scheme that has but one, else None."""
    id = scheme.split(":")[0]
    cls = plugins().get("scheme", id)
    return None if has_field(cls, "bits") else int(cls.bits)


def _quantizer(scheme: str | Quantizer, bits: int | None, options: Mapping[str, Any]) -> Quantizer:
    if isinstance(scheme, Quantizer):
        if options:
            raise UsageError("options belong in the quantizer object itself")
        _check_width(scheme.id, scheme.bits, bits)
        return scheme
    fixed = fixed_width(scheme)
    if "bits" in options:
        raise SpecError(f"bits={options['bits']} is no option of '{scheme}'; give it as bits=")
    if fixed is not None:
        _check_width(scheme, fixed, bits)
        quantizer = create("scheme", scheme, **options)
    else:
        quantizer = create("scheme", scheme, bits=8 if bits is None else bits, **options)
    assert isinstance(quantizer, Quantizer)  # the registry checked its class
    return quantizer


def _check_width(scheme: str, own: int, asked: int | None) -> None:
    if asked is not None and asked != own:
        raise UsageError(f"'{scheme}' has {own} bits; bits={asked} cannot be")

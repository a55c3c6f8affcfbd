"""The registry: for each kind of part, the classes by id and the plugin that gave each."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field
from typing import Any

from qcore.error_stats import STATS
from qcore.errors import PluginError, SpecError, UnknownIdError, nearest
from qcore.interfaces.backend import Backend
from qcore.interfaces.granularity import Granularity
from qcore.interfaces.metric import Metric
from qcore.interfaces.observer import Observer
from qcore.interfaces.quantizer import Quantizer
from qcore.interfaces.reader import TensorReader
from qcore.interfaces.rounding import RoundingPolicy
from qcore.interfaces.scale_format import ScaleFormat
from qcore.interfaces.workers import Workers
from qcore.spec import Configurable, check_fields, has_field

KINDS: dict[str, tuple[str, type[Configurable]]] = {
    "scheme": ("qcore_schemes", Quantizer),
    "rounding": ("qcore_roundings", RoundingPolicy),
    "granularity": ("qcore_granularities", Granularity),
    "observer": ("qcore_observers", Observer),
    "scale_format": ("qcore_scale_formats", ScaleFormat),
    "backend": ("qcore_backends", Backend),
    "metric": ("qcore_metrics", Metric),
    "reader": ("qcore_readers", TensorReader),
    "executor": ("qcore_executors", Workers),
}
"""Every kind of part, with its hook and its interface."""

WORDS = ("float", "keep")
"""What stands where a scheme's id may, and means something else: no scheme is called so."""

_ID = re.compile(r"[a-z0-9]+([-_][a-z0-9]+)*")


@dataclass(frozen=True)
class Entry:
    """A registered class, the plugin that gave it, and the distribution that this comes in."""

    cls: type[Any]
    plugin: str
    distribution: str = ""


@dataclass
class Registry:
    """Classes by kind and id. A plugin's classes are committed together or not at all."""

    entries: dict[str, dict[str, Entry]] = field(
        default_factory=lambda: {kind: {} for kind in KINDS}
    )

    def add(
        self, plugin: str, provided: dict[str, list[type[Any]]], distribution: str = ""
    ) -> None:
        """Commit everything that `plugin`, of a distribution, provides, by kind.

        Raises:
            PluginError: a class does not fit its interface, or its id is taken.
        """
        accepted: list[tuple[str, str, type[Any]]] = []
        for kind, classes in provided.items():
            for cls in classes:
                check_class(kind, cls)
                owner = self.entries[kind].get(cls.id)
                if owner is not None:
                    raise PluginError(
                        f"{kind} '{cls.id}' is already given by plugin '{owner.plugin}' "
                        f"({owner.distribution}); choose another id"
                    )
                if any((kind, cls.id) == (k, i) for k, i, _ in accepted):
                    raise PluginError(f"gives {kind} '{cls.id}' twice")
                accepted.append((kind, cls.id, cls))
        for kind, id, cls in accepted:
            self.entries[kind][id] = Entry(cls, plugin, distribution)

    def get(self, kind: str, id: str, note: str = "") -> type[Any]:
        """The class with this id.

        Raises:
            UnknownIdError: nobody gave it; `note` is added to the message.
        """
        if kind not in KINDS:
            raise UnknownIdError("kind", kind, KINDS)
        if id not in self.entries[kind]:
            raise UnknownIdError(kind, id, self.entries[kind], note)
        return self.entries[kind][id].cls

    def ids(self, kind: str) -> list[str]:
        """The ids of one kind, in alphabetical order."""
        if kind not in KINDS:
            raise UnknownIdError("kind", kind, KINDS)
        return sorted(self.entries[kind])


def check_class(kind: str, cls: object) -> None:
    """Refuse what is no concrete frozen dataclass of the kind's interface with a valid id.

    Raises:
        PluginError: it is not.
    """
    hook, interface = KINDS[kind]
    if not isinstance(cls, type):
        raise PluginError(f"{hook} returned {cls!r}, which is no class; return classes")
    name = cls.__name__
    if not issubclass(cls, interface):
        raise PluginError(f"{hook} returned {name}, which is no {interface.__name__}")
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
        raise PluginError(f"{name} lacks {missing}")
    if "__dataclass_params__" not in vars(cls) or not vars(cls)["__dataclass_params__"].frozen:
        raise PluginError(f"{name} is no frozen dataclass; put @dataclass(frozen=True) above it")
    id = getattr(cls, "id", None)
    if has_field(cls, "id"):
        raise PluginError(f"{name}.id is a field, and so an option; write id: ClassVar[str] = …")
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise PluginError(f"{name} has id {id!r}; an id is lower-case words joined by hyphens")
    try:
        check_fields(cls)
    except SpecError as error:
        raise PluginError(str(error)) from None
    if kind == "scheme":
        _check_scheme(cls)
    elif kind == "metric":
        _check_metric(cls)
    elif kind == "reader":
        cls()  # as it is made for every file; what it raises is better told now


def _check_scheme(cls: type[Any]) -> None:
    if cls.id in WORDS:
        raise PluginError(f"'{cls.id}' is a word of qcore's own; choose another id")
    width = getattr(cls, "bits", None)
    if not has_field(cls, "bits") and not isinstance(width, int):
        raise PluginError(f"{cls.__name__} has no bits; declare the field, or a class constant")


def _check_metric(cls: type[Any]) -> None:
    for needed in sorted(cls.needs):
        if needed not in STATS:
            hint = f"{nearest(needed, STATS)}; sums are {', '.join(STATS)}"
            raise PluginError(f"{cls.__name__} needs '{needed}', which is no sum{hint}")
    for member, words in (("best", ("low", "high")), ("scope", ("tensor", "output"))):
        if getattr(cls, member) not in words:
            raise PluginError(f"{cls.__name__}.{member} is neither {' nor '.join(words)}")

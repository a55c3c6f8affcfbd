"""What a new plugin is called: its id, its distribution, its module and its class."""

from __future__ import annotations

import importlib.metadata
import re
from dataclasses import dataclass

from qcore.entry_points import BUILTIN, CORE, OWN
from qcore.errors import UnknownIdError, UsageError
from qcore.loading import plugins
from qcore.registry import KINDS, WORDS

PREFIX = "qcore-"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Names:
    """The names of a plugin that gives one class.

    Attributes:
        id: lower-case words joined by hyphens.
        kind: as in `qcore.registry.KINDS`.
    """

    id: str
    kind: str

    @property
    def kind_words(self) -> str:
        """Such as `scale format`."""
        return self.kind.replace("_", " ")

    @property
    def distribution(self) -> str:
        """Such as `qcore-ternary`."""
        return f"{PREFIX}{self.id}"

    @property
    def module(self) -> str:
        """Such as `qcore_ternary`."""
        return self.distribution.replace("-", "_")

    @property
    def class_name(self) -> str:
        """Such as `TernaryScheme`: with its kind, so that it is never another's name."""
        words, kind = self.id.split("-"), self.kind.split("_")
        words += kind if words[-len(kind) :] != kind else []
        return "".join(word.capitalize() for word in words)


def plugin_names(name: str, kind: str) -> Names:
    """The names of a new plugin, once nobody has them.

    Args:
        name: with the prefix `qcore-`, or without.
        kind: one of `qcore.registry.KINDS`, written with underscores or hyphens.

    Raises:
        UnknownIdError: there is no such kind.
        UsageError: the name is not made of lower-case words, or is taken, or a word of qcore's.
    """
    known = kind.replace("-", "_")
    if known not in KINDS:
        raise UnknownIdError("kind", kind, [kind.replace("_", "-") for kind in KINDS])
    names = Names(name.removeprefix(PREFIX), known)
    if not _NAME.fullmatch(names.id):
        raise UsageError(
            f"'{name}' is no name for a plugin: lower-case words joined by hyphens, "
            f"a letter first{_example(names.id)}"
        )
    _refuse_taken(names)
    return names


def _example(id: str) -> str:
    """`, such as 'ternary-2'`, for what comes near a name."""
    words = re.findall(r"[a-z0-9]+", id.lower())
    near = "-".join(words).lstrip("0123456789-")
    return f", such as '{near}'" if _NAME.fullmatch(near) else ""


def _refuse_taken(names: Names) -> None:
    entry = plugins().registry.entries[names.kind].get(names.id)
    taken = f"take another name, such as 'my-{names.id}'"
    if entry is not None:
        raise UsageError(
            f"{names.kind_words} '{names.id}' is given by plugin '{entry.plugin}' already; {taken}"
        )
    try:
        installed = importlib.metadata.distribution(names.distribution)
    except importlib.metadata.PackageNotFoundError:
        installed = None
    if installed is not None or names.distribution == CORE:
        raise UsageError(f"a package '{names.distribution}' is installed already; {taken}")
    if names.id in (BUILTIN, *OWN.values(), *WORDS):
        raise UsageError(f"'{names.id}' is a word of qcore's own; {taken}")
    if any(record.name == names.id for record in plugins().records):
        raise UsageError(f"a plugin '{names.id}' is installed already; {taken}")

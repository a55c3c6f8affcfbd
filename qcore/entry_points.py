"""Plugins as packages declare them: whose each is, in which order, and whether it may be loaded."""

from __future__ import annotations

import functools
import importlib.metadata
import re
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any, Self

from qcore.errors import PluginError

GROUP = "qcore"
CORE = "qcore-quant"
BUILTIN = "builtin"
OWN = {
    "qcore-uniform": "uniform",
    "qcore-symmetric": "symmetric",
    "qcore-asymmetric": "asymmetric",
    "qcore-pot": "pot",
    "qcore-apot": "apot",
    "qcore-numpy": "numpy",
    "qcore-int8": "int8-blas",
    "qcore-cupy": "cupy",
    "qcore-gguf": "gguf",
    "qcore-dask": "dask",
}
"""The distributions that come with qcore, and the name of each one's plugin: they go before all
others, in this order."""

_UNKNOWN = "unknown"
_CORE_REQUIREMENT = re.compile(r"qcore[-_.]quant\b", re.IGNORECASE)


@dataclass(frozen=True)
class Declared:
    """A plugin of which nothing has been imported.

    Attributes:
        name: its entry point's.
        distribution: the package that it comes in.
        version: of the package.
        entry_point: what leads to its module.
    """

    name: str
    distribution: str
    version: str
    entry_point: EntryPoint

    @classmethod
    def of(cls, entry_point: EntryPoint) -> Self:
        """What an entry point declares."""
        dist = entry_point.dist
        try:
            name, version = (dist.name, dist.version) if dist is not None else ("", "")
        except Exception:  # importlib_metadata raises where importlib.metadata gives None
            name, version = "", ""
        own = (name, version or _UNKNOWN) if name else (_UNKNOWN, _UNKNOWN)
        return cls(entry_point.name, *own, entry_point)

    @property
    def is_own(self) -> bool:
        """Whether it comes with qcore."""
        return self.distribution == CORE or self.distribution in OWN

    @property
    def precedence(self) -> tuple[int, str, str]:
        """What sorts qcore's own first, in their order, then the others by name."""
        own = list(OWN).index(self.distribution) if self.distribution in OWN else len(OWN)
        return own, self.distribution, self.name

    @property
    def value(self) -> str:
        """The module that it names, and perhaps an attribute of it."""
        return self.entry_point.value

    def load(self) -> Any:
        """What the entry point names, imported.

        Raises:
            PluginError: it may not be loaded, or names no module.
        """
        if not self.is_own and self.name in (BUILTIN, *OWN.values()):
            raise PluginError(
                f"'{self.name}' is the name of a plugin of qcore's own; rename the entry point"
            )
        self._check_requirement()
        if not self.entry_point.pattern.match(self.value):
            raise PluginError(f"entry point '{self.value}' is not module[:attribute]")
        return self.entry_point.load()

    def _check_requirement(self) -> None:
        """Refuse a plugin made for another version of qcore, told by what its package requires.

        Raises:
            PluginError: it is.
        """
        dist, ours = self.entry_point.dist, version_of(CORE)
        came_along = self.is_own and self.version == ours  # reading requirements takes a while
        if dist is None or came_along or _UNKNOWN in (ours, self.distribution):
            return
        for text in dist.requires or ():
            if not _CORE_REQUIREMENT.match(text):
                continue
            from packaging.requirements import Requirement

            needed = Requirement(text).specifier
            if not needed.contains(ours, prereleases=True):
                raise PluginError(f"needs {CORE}{needed}, but {ours} is installed")


def builtin() -> Declared:
    """What is built in, as a plugin like any other."""
    entry_point = EntryPoint(BUILTIN, "qcore.builtin", GROUP)
    return Declared(BUILTIN, CORE, version_of(CORE), entry_point)


@functools.cache
def version_of(distribution: str) -> str:
    """The version of a distribution; `unknown` if it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return _UNKNOWN

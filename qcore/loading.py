"""Finds plugins, loads each in a guard, and makes objects from specs."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import re
import threading
import traceback
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pluggy

import qcore.builtin
from qcore import hookspecs
from qcore.errors import PluginError, SpecError, UsageError, nearest
from qcore.registry import KINDS, Registry
from qcore.spec import Configurable, construct, parse_fields, split

GROUP = "qcore"
CORE = "qcore-quant"
_CORE_REQUIREMENT = re.compile(r"qcore[-_.]quant\b", re.IGNORECASE)
OWN = (
    "qcore-uniform",
    "qcore-symmetric",
    "qcore-asymmetric",
    "qcore-pot",
    "qcore-apot",
    "qcore-numpy",
    "qcore-int8",
    "qcore-cupy",
)
"""The distributions that come with qcore: they go before all others, in this order."""


@dataclass(frozen=True)
class PluginRecord:
    """A plugin that was found, healthy or not.

    Attributes:
        name: its entry point's name.
        distribution: the package that it comes in.
        version: of the package.
        provides: ids by kind; empty if it failed.
        error: why it was left out, in one line, or None.
    """

    name: str
    distribution: str
    version: str
    provides: Mapping[str, list[str]] = field(default_factory=dict)
    error: str | None = None


class Plugins:
    """The plugins of one process: a registry, and a record of each that was found."""

    def __init__(
        self,
        entry_points: Iterable[importlib.metadata.EntryPoint],
        allowed: Collection[str] = (),
    ) -> None:
        """Load plugins.

        Args:
            entry_points: of those that may be loaded.
            allowed: the names that QCORE_PLUGINS gives; one that nobody has is a failure.
        """
        self.registry = Registry()
        self.records: list[PluginRecord] = []
        self._manager = pluggy.PluginManager("qcore")
        self._manager.add_hookspecs(hookspecs)
        version = _version(CORE)
        self._load("builtin", CORE, version, lambda: qcore.builtin)
        for entry_point in sorted(entry_points, key=_precedence):
            distribution = _distribution(entry_point)
            dist = entry_point.dist
            self._load(
                entry_point.name,
                distribution,
                "unknown" if dist is None else dist.version,
                entry_point.load,
                () if dist is None or _is_ours(dist) else dist.requires or (),
            )
        self._report_absent(allowed)

    def _load(
        self, name: str, distribution: str, version: str, load: Any, requires: Sequence[str] = ()
    ) -> None:
        """Take all that a plugin provides, or nothing; never raise on its account."""
        try:
            self._check_requirement(requires)
            module = load()
            provided = self._provided(module, f"{distribution}:{name}")
            self.registry.add(name, provided)
        except (Exception, SystemExit) as error:
            cause = str(error).strip().partition("\n")[0]
            kind = "" if isinstance(error, PluginError) else f"{type(error).__name__}: "
            self.records.append(
                PluginRecord(name, distribution, version, error=f"{kind}{cause}".rstrip(": "))
            )
            return
        ids = {kind: [cls.id for cls in classes] for kind, classes in provided.items() if classes}
        self.records.append(PluginRecord(name, distribution, version, ids))

    def _check_requirement(self, requires: Sequence[str]) -> None:
        """Refuse a plugin made for another version of qcore, told by what its package requires.

        Raises:
            PluginError: it is.
        """
        ours = _version(CORE)
        for text in requires:
            if not _CORE_REQUIREMENT.match(text) or ours == "unknown":
                continue
            from packaging.requirements import Requirement

            needed = Requirement(text).specifier
            if not needed.contains(ours, prereleases=True):
                raise PluginError(f"needs {CORE}{needed}, but {ours} is installed")

    def _report_absent(self, allowed: Collection[str]) -> None:
        known = {name for r in self.records for name in (r.name, r.distribution)}
        for name in sorted(set(allowed) - known):
            error = f"QCORE_PLUGINS names it, but no such plugin is installed{nearest(name, known)}"
            self.records.append(PluginRecord(name, "not installed", "", error=error))

    @property
    def failed(self) -> list[PluginRecord]:
        """The plugins that were left out."""
        return [record for record in self.records if record.error is not None]

    def _provided(self, module: ModuleType, name: str) -> dict[str, list[type[Any]]]:
        """What the plugin's own hook implementations return, by kind."""
        hooks = {hook: kind for kind, (hook, _) in KINDS.items()}
        for attribute in dir(module):
            marked = self._manager.parse_hookimpl_opts(module, attribute) is not None
            if marked and attribute not in hooks:
                raise PluginError(f"unknown hook {attribute}{nearest(attribute, hooks)}")
            if not marked and attribute in hooks:
                raise PluginError(f"{attribute} is no hook yet; put @qcore.hookimpl above it")
        self._manager.register(module, name)
        provided: dict[str, list[type[Any]]] = {}
        for caller in self._manager.get_hookcallers(module) or []:
            (own,) = [impl for impl in caller.get_hookimpls() if impl.plugin is module]
            classes: object = own.function()
            if not isinstance(classes, list | tuple):
                raise PluginError(f"{caller.name} returned {classes!r}; return a list")
            provided[hooks[caller.name]] = list(classes)
        return provided

    def get(self, kind: str, id: str) -> type[Any]:
        """The class with this id.

        Raises:
            UnknownIdError: nobody gives it; plugins that failed, and may have, are named.
        """
        return self.registry.get(kind, id, self._note(id))

    def create(self, kind: str, spec: str | Configurable, /, **fields: Any) -> Any:
        """The object that a spec describes; see `qcore.create`."""
        if isinstance(spec, Configurable):
            interface = KINDS[kind][1]
            if not isinstance(spec, interface):
                raise UsageError(f"'{spec}' is a {type(spec).__name__}, no {interface.__name__}")
            return spec
        id, _, _ = split(spec)
        cls = self.get(kind, id)
        given = parse_fields(cls, spec)
        twice = sorted(given.keys() & fields)
        if twice:
            raise SpecError(f"'{spec}' gives '{twice[0]}', which is given beside it too")
        return construct(cls, given | fields)

    def behind(self, error: BaseException, part: object) -> str | None:
        """The third party's plugin that an error came from, told by the innermost of its frames.

        Args:
            error: what was raised.
            part: whose fault it is if none of its frames is a plugin's.
        """
        third = {r.name for r in self.records if r.distribution not in (CORE, *OWN)}
        packages = {
            _package(entry.cls.__module__): entry.plugin
            for entries in self.registry.entries.values()
            for entry in entries.values()
            if entry.plugin in third
        }
        frames = [
            f.f_globals.get("__name__", "") for f, _ in traceback.walk_tb(error.__traceback__)
        ]
        for module in (*reversed(frames), type(part).__module__):
            if _package(module) in packages:
                return packages[_package(module)]
        return None

    def _note(self, id: str) -> str:
        """Which failed plugins may have been the ones to give `id`."""
        failed = self.failed
        likely = [r for r in failed if id in r.name or id in r.distribution] or failed
        return "; ".join(
            f"plugin '{r.name}' ({r.distribution} {r.version}) failed to load: {r.error}"
            for r in likely
        )


def _precedence(entry_point: importlib.metadata.EntryPoint) -> tuple[int, str, str]:
    """What sorts qcore's own first, in their order, then the others by name."""
    distribution = _distribution(entry_point)
    own = OWN.index(distribution) if distribution in OWN else len(OWN)
    return own, distribution, entry_point.name


def _is_ours(dist: importlib.metadata.Distribution) -> bool:
    """Whether a distribution came with this very core: reading requirements takes a while."""
    return dist.name in OWN and dist.version == _version(CORE)


def _package(module: str) -> str:
    return module.partition(".")[0]


def _distribution(entry_point: importlib.metadata.EntryPoint) -> str:
    return "unknown" if entry_point.dist is None else entry_point.dist.name


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


_lock = threading.RLock()


@functools.cache
def _discovered(allowed: str | None) -> Plugins:
    found = importlib.metadata.entry_points(group=GROUP)
    if allowed is None:
        return Plugins(found)
    names = {name.strip() for name in allowed.split(",")} - {""}
    return Plugins((e for e in found if names & {e.name, _distribution(e)}), names)


def plugins() -> Plugins:
    """This process's plugins, found and loaded on first use.

    The environment variable QCORE_PLUGINS, a list of plugin or distribution names separated by
    commas, allows only those; empty, it allows none but the builtin.
    """
    with _lock:
        return _discovered(os.environ.get("QCORE_PLUGINS"))


def create(kind: str, spec: str | Configurable, /, **fields: Any) -> Any:
    """The object that a spec describes.

    Args:
        kind: `scheme`, `rounding`, `granularity`, `observer`, `scale_format`, `backend`,
            `metric` or `reader`.
        spec: `id:field=value`, such as `apot:k=2`; an object is returned as it is.
        fields: more of its fields, such as `bits=4`.

    Raises:
        UnknownIdError: no plugin provides the id.
        SpecError: a field is unknown, missing, of the wrong type, or given twice.
    """
    return plugins().create(kind, spec, **fields)


def default_backend() -> str:
    """What quantizes where nothing else is asked for: `numpy`, or `reference` where that is all."""
    return "numpy" if "numpy" in ids("backend") else "reference"


def default_product_backend() -> str:
    """What multiplies integer matrices: `int8-blas`, or `reference` where that is all."""
    return "int8-blas" if "int8-blas" in ids("backend") else "reference"


def ids(kind: str) -> list[str]:
    """The ids of one kind that are installed, in alphabetical order.

    Raises:
        UnknownIdError: there is no such kind.
    """
    return plugins().registry.ids(kind)


def versions() -> dict[str, Any]:
    """The version of qcore, and those of the plugins that are loaded, by distribution."""
    records = plugins().records
    return {
        "version": next(record.version for record in records if record.name == "builtin"),
        "plugins": {r.distribution: r.version for r in records if r.error is None},
    }

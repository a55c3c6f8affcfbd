"""Finds plugins, loads each in a guard, and makes objects from specs."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pluggy

from qcore import hookspecs
from qcore.blame import contained, innermost, keep_traceback, package_of, told
from qcore.entry_points import BUILTIN, CORE, GROUP, OWN, Declared, builtin
from qcore.errors import PluginError, SpecError, UsageError, located, nearest
from qcore.registry import KINDS, Registry
from qcore.spec import Configurable, construct, parse_fields, split


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
        allowed: Collection[str] | None = None,
    ) -> None:
        """Load plugins.

        Args:
            entry_points: all that there are.
            allowed: the names that QCORE_PLUGINS gives: nothing else is loaded, and one that nobody
                has is a failure. None allows all.
        """
        self.registry = Registry()
        self.records: list[PluginRecord] = []
        self._manager = pluggy.PluginManager("qcore")
        self._manager.add_hookspecs(hookspecs)
        found = sorted(map(Declared.of, entry_points), key=lambda declared: declared.precedence)
        of_name = Counter(declared.name for declared in found)
        self._load(builtin(), BUILTIN)
        for declared in found:
            name, distribution = declared.name, declared.distribution
            if allowed is None or {name, distribution} & set(allowed):
                self._load(declared, name if of_name[name] == 1 else f"{name} ({distribution})")
        self._report_absent(allowed or (), found)

    def _load(self, declared: Declared, label: str) -> None:
        """Take all that a plugin provides, or nothing; never raise on its account.

        Args:
            declared: the plugin.
            label: what it is called: its name, or that and its distribution if another has it too.
        """
        found = (declared.name, declared.distribution, declared.version)
        try:
            with contained():
                provided = self._provided(declared.load(), declared)
                self.registry.add(label, provided, declared.distribution)
        except Exception as error:
            keep_traceback(error)
            place = innermost(error, {package_of(declared.value.partition(":")[0])})
            where = "" if place is None else f" ({place.line})"
            self.records.append(PluginRecord(*found, error=f"{told(error)}{where}"))
            return
        ids = {kind: [cls.id for cls in classes] for kind, classes in provided.items() if classes}
        self.records.append(PluginRecord(*found, ids))

    def _report_absent(self, allowed: Collection[str], found: Iterable[Declared]) -> None:
        known = {name for d in (builtin(), *found) for name in (d.name, d.distribution)}
        for name in sorted(set(allowed) - known):
            error = f"QCORE_PLUGINS names it, but no such plugin is installed{nearest(name, known)}"
            self.records.append(PluginRecord(name, "not installed", "", error=error))

    @property
    def failed(self) -> list[PluginRecord]:
        """The plugins that were left out."""
        return [record for record in self.records if record.error is not None]

    def _provided(self, module: Any, declared: Declared) -> dict[str, list[type[Any]]]:
        """What the plugin's own hook implementations return, by kind."""
        hooks = {hook: kind for kind, (hook, _) in KINDS.items()}
        for attribute in dir(module):
            marked = self._manager.parse_hookimpl_opts(module, attribute) is not None
            if marked and attribute not in hooks:
                raise PluginError(f"unknown hook {attribute}{nearest(attribute, hooks)}")
            if not marked and attribute in hooks:
                raise PluginError(f"{attribute} is no hook yet; put @qcore.hookimpl above it")
        twin = self._manager.get_name(module)
        if twin is not None:
            owner, _, name = twin.partition(":")
            raise PluginError(
                f"names '{declared.value}', as plugin '{name}' of {owner} does; "
                "pip uninstall the one that is no longer needed"
            )
        self._manager.register(module, f"{declared.distribution}:{declared.name}")
        callers = self._manager.get_hookcallers(module)
        if not callers:
            raise PluginError(
                f"names '{declared.value}', which implements no hook; "
                "name the module with @qcore.hookimpl"
            )
        provided: dict[str, list[type[Any]]] = {}
        for caller in callers:
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
        return self.registry.get(kind, id, self.failures(id))

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
        try:
            with contained():
                part = construct(cls, given | fields)
                _ = str(part), hash(part)  # which every part is asked for
        except UsageError as error:
            if f"'{id}" not in str(error):
                located(error, f"'{spec}'")
            raise
        except Exception as error:
            keep_traceback(error)
            raise UsageError(f"'{spec}' failed: {told(error)}{self.blame(error, cls)}") from error
        return part

    def blame(self, error: BaseException, part: object) -> str:
        """` (plugin 'x', x/scheme.py:15, in fit)`: the third party's plugin an error came from.

        Args:
            error: what was raised.
            part: the object or class whose fault it is if no plugin's code raised it.

        Returns:
            Text to be added to a message; none if no third party is to blame.
        """
        third = {
            package_of(entry.cls.__module__): entry.plugin
            for entries in self.registry.entries.values()
            for entry in entries.values()
            if entry.distribution not in (CORE, *OWN)
        }
        third.pop("qcore", None)  # of who gives a class of qcore's own
        place = innermost(error, third)
        if place is not None:
            return f" (plugin '{third[place.package]}', {place.line})"
        cls = part if isinstance(part, type) else type(part)
        plugin = third.get(package_of(cls.__module__))
        return "" if plugin is None else f" (plugin '{plugin}')"

    def failures(self, id: str = "") -> str:
        """Which failed plugins may have been the ones to give `id`, and why; all if none is."""
        failed = self.failed
        likely = [r for r in failed if id in r.name or id in r.distribution] or failed
        return "; ".join(
            f"plugin '{r.name}' ({f'{r.distribution} {r.version}'.rstrip()}) failed to load: "
            f"{r.error}"
            for r in likely
        )


_lock = threading.RLock()


@functools.cache
def _discovered(allowed: str | None) -> Plugins:
    found = importlib.metadata.entry_points(group=GROUP)
    if allowed is None:
        return Plugins(found)
    return Plugins(found, {name.strip() for name in allowed.split(",")} - {""})


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
            `metric`, `reader` or `executor`.
        spec: `id:field=value`, such as `apot:k=2`; an object is returned as it is.
        fields: more of its fields, such as `bits=4`.

    Raises:
        UnknownIdError: no plugin provides the id.
        SpecError: a field is unknown, missing, of the wrong type, or given twice.
        UsageError: the values are refused, or the class fails on them.
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

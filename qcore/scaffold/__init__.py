"""A new plugin from templates: a package that installs, passes its tests and is compared."""

from __future__ import annotations

from qcore.scaffold.package import write_plugin

__all__ = ["write_plugin"]

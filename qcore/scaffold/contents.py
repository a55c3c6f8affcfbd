"""What the package of a new plugin holds: the templates, filled in."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from string import Template

from qcore.registry import KINDS
from qcore.scaffold.names import Names

_TEMPLATES = Path(__file__).with_name("templates")

_TRIED_BY = {
    "scheme": "qcore compare --scheme {id}",
    "rounding": "qcore compare --rounding half-even,{id}",
    "granularity": "qcore compare --granularity tensor,{id}",
    "observer": "qcore compare --observer minmax,{id}",
    "scale_format": "qcore compare --scale-format float32,{id}",
    "backend": "qcore compare --backend {id}",
    "metric": "qcore compare --metric {id}",
    "reader": "qcore list reader",
    "executor": "qcore compare --executor {id}",
}


def contents(names: Names) -> dict[str, str]:
    """Every file of the package, by its path in it."""
    kind, module = names.kind, names.module
    files = {
        "pyproject.toml": "common/pyproject.toml",
        "README.md": "common/README.md",
        f"{module}/__init__.py": "common/init.py",
        f"{module}/{kind}.py": f"{kind}/code.py",
        f"{module}/py.typed": "common/py.typed",
        f"tests/test_{module.removeprefix('qcore_')}.py": f"{kind}/tests.py",
    }
    values = _values(names)
    return {path: _template(name).substitute(values) for path, name in files.items()}


def tried_by(names: Names) -> str:
    """The command that shows the plugin at work."""
    return _TRIED_BY[names.kind].format(id=names.id)


def _values(names: Names) -> dict[str, str]:
    hook, _ = KINDS[names.kind]
    return {
        "id": names.id,
        "distribution": names.distribution,
        "module": names.module,
        "class_name": names.class_name,
        "kind": names.kind,
        "kind_words": names.kind_words,
        "hook": hook,
        "requirement": _requirement(),
        "tried_by": tried_by(names),
    }


def _requirement() -> str:
    """What a plugin of the qcore that runs depends on, such as `qcore-quant>=0.1,<0.2`."""
    major, minor, *_ = importlib.metadata.version("qcore-quant").split(".")
    return f"qcore-quant>={major}.{minor},<{major}.{int(minor) + 1}"


def _template(name: str) -> Template:
    return Template((_TEMPLATES / f"{name}.tmpl").read_text(encoding="utf-8"))

"""What plugin authors rely on does not change without a word: it is written down, and compared.

`tests/golden/plugin_api.json` has the hooks and, for every class that a plugin subclasses or is
handed, its public methods, properties and fields with their signatures, and `qcore.PLUGIN_API`.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any

import pytest

import qcore
from qcore import hookspecs
from qcore.registry import KINDS

FILE = Path(__file__).parent / "golden" / "plugin_api.json"

HANDED_OVER = [
    qcore.AffineRows,
    qcore.Epilogue,
    qcore.ErrorStats,
    qcore.FitContext,
    qcore.Gap,
    qcore.Grid,
    qcore.GridQuantizer,
    qcore.Histogram,
    qcore.IntegerGrid,
    qcore.LevelGrid,
    qcore.PreparedMatrix,
    qcore.PreparedWeights,
    qcore.QuantParams,
    qcore.Requantize,
    qcore.StoredFile,
    qcore.TensorInfo,
    qcore.Trial,
]
"""What an author's code gets or makes, besides the interfaces."""


def signature(member: Any) -> str:
    if isinstance(member, classmethod | staticmethod):
        return signature(member.__func__)
    return str(inspect.signature(member)) if inspect.isfunction(member) else "attribute"


def surface(cls: type[Any]) -> dict[str, str]:
    """The public members of a class and of qcore's classes above it."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.partition(".")[0] != "qcore":
            continue
        names = {*vars(base), *inspect.get_annotations(base)}
        for name in sorted(n for n in names if not n.startswith("_")):
            found[name] = signature(vars(base).get(name))
    if dataclasses.is_dataclass(cls):
        found["(fields)"] = ", ".join(f.name for f in dataclasses.fields(cls) if f.init)
    return dict(sorted(found.items()))


def api() -> dict[str, Any]:
    classes = [*(interface for _, interface in KINDS.values()), *HANDED_OVER]
    return {
        "version": qcore.PLUGIN_API,
        "hooks": {
            name: str(inspect.signature(getattr(hookspecs, name)))
            for name in sorted(dir(hookspecs))
            if name.startswith("qcore_")
        },
        "classes": {
            cls.__name__: surface(cls) for cls in sorted(classes, key=lambda c: c.__name__)
        },
    }


def test_what_plugins_rely_on_is_as_it_was(pytestconfig: pytest.Config) -> None:
    text = json.dumps(api(), indent=1) + "\n"
    if pytestconfig.getoption("--update-golden"):
        FILE.write_text(text)
        pytest.fail(f"rewrote {FILE.name}; run again without --update-golden")
    assert json.loads(FILE.read_text()) == json.loads(text), (
        "what plugins rely on has changed: raise qcore.PLUGIN_API if a plugin could break, say so "
        "in CHANGELOG.md, and run: pytest tests/test_plugin_api.py --update-golden"
    )


def test_every_class_an_author_meets_is_public_and_explains_itself() -> None:
    for cls in HANDED_OVER:
        assert getattr(qcore, cls.__name__) is cls
        assert inspect.getdoc(cls)

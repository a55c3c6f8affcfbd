"""Every kind of plugin works as it is written: its own tests pass, and its style is the house's."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from qcore.registry import KINDS
from qcore.scaffold import write_plugin
from qcore.scaffold.contents import contents
from qcore.scaffold.names import Names
from qcore.scaffold.package import NewPlugin

ROOT = Path(__file__).parents[2]


def linter(name: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(name) is None
    return pytest.mark.skipif(missing, reason=f"{name} is not installed; the extra 'lint' has it")


def write(kind: str, parent: Path) -> NewPlugin:
    return write_plugin(f"new-{kind.replace('_', '-')}", kind, parent / kind)


def run(folder: Path, *arguments: object, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_new_plugins_pass_their_own_tests(tmp_path: Path) -> None:
    folders = []
    for kind in KINDS:
        plugin = write(kind, tmp_path)
        names = plugin.names
        info = plugin.folder / f"{names.module}-0.1.0.dist-info"  # as pip would write it
        info.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {names.distribution}\nVersion: 0.1.0\n"
        (info / "METADATA").write_text(metadata)
        (info / "entry_points.txt").write_text(f"[qcore]\n{names.id} = {names.module}\n")
        folders.append(str(plugin.folder))
    path = os.pathsep.join(folders)
    told = run(tmp_path, "pytest", "-q", "-rA", "--rootdir", ".", *folders, PYTHONPATH=path)
    for kind in KINDS:
        assert f"PASSED {kind}/" in told


@pytest.mark.parametrize("kind", KINDS)
def test_the_project_file_says_what_is_there(kind: str) -> None:
    names = Names("new", kind)
    files = contents(names)
    project = tomllib.loads(files["pyproject.toml"])
    assert project["project"]["name"] == "qcore-new"
    assert project["project"]["entry-points"]["qcore"] == {"new": "qcore_new"}
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["qcore_new"]
    assert f"qcore_new/{kind}.py" in files
    assert not [path for path, text in files.items() if "$" in text]


def test_a_new_plugin_depends_on_this_qcore_as_the_others_do() -> None:
    ours = tomllib.loads((ROOT / "plugins/qcore-apot/pyproject.toml").read_text("utf-8"))
    project = tomllib.loads(contents(Names("new", "scheme"))["pyproject.toml"])
    assert project["project"]["dependencies"] == ours["project"]["dependencies"]
    assert importlib.metadata.version("qcore-quant").startswith("0.1.")


@linter("ruff")
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_is_written_in_the_style_of_the_house(kind: str, tmp_path: Path) -> None:
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["ruff"]["lint"]
    chosen = ["--select", ",".join(rules["select"]), "--ignore", ",".join(rules["ignore"])]
    convention = f'lint.pydocstyle.convention="{rules["pydocstyle"]["convention"]}"'
    folder = write(kind, tmp_path).folder
    run(folder, "ruff", "check", "--no-cache", *chosen, "--config", convention, ".")
    run(folder, "ruff", "format", "--no-cache", "--check", ".")


@linter("mypy")
def test_new_plugins_are_typed_strictly(tmp_path: Path) -> None:
    folders = [write(kind, tmp_path).folder for kind in KINDS]
    cache = ROOT / ".mypy_cache"
    where = os.pathsep.join(map(str, folders))
    run(tmp_path, "mypy", "--strict", "--cache-dir", cache, *folders, MYPYPATH=where)

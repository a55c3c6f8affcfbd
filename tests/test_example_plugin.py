"""Everything is built as wheels and installed where there is no repository; and it works there.

The example of docs/ and a new plugin are packages like any third party's: they are built, installed
and tested with what users have, and the commands are run from another folder.
"""

from __future__ import annotations

import csv
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "docs" / "example-plugin"
SOURCES = [ROOT, *sorted(p.parent for p in ROOT.glob("plugins/*/pyproject.toml")), EXAMPLE]

Run = Callable[..., str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a program of a fresh environment that has the wheels, from an empty folder."""
    environment = tmp_path_factory.mktemp("environment")
    folder = tmp_path_factory.mktemp("elsewhere")
    wheels = tmp_path_factory.mktemp("wheels")
    ours = ("PYTHON", "PYTEST_", "QCORE_", "VIRTUAL_ENV")
    settings = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    settings |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "NO_COLOR": "1", "COLUMNS": "100"}
    settings["PYTHONDONTWRITEBYTECODE"] = "1"  # the example's tests are run where they lie

    def runner(program: str, *arguments: object, cwd: Path = folder) -> str:
        own = [environment / "bin" / program]
        pip = [sys.executable, "-m", "pip", "--python", environment]
        command = [*(pip if program == "pip" else own), *map(str, arguments)]
        done = subprocess.run(
            command, cwd=cwd, env=settings, capture_output=True, text=True, check=False
        )
        line = " ".join(map(str, [program, *arguments]))
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    runner("pip", "install", "hatchling", "pytest>=8.3")
    for source in SOURCES:  # as pip does, but for an environment of its own each time
        runner("hatchling", "build", "-t", "wheel", "-d", wheels, cwd=source)
    assert len(list(wheels.iterdir())) == len(SOURCES)
    runner("pip", "install", *wheels.iterdir())
    return runner


def test_everything_comes_from_the_wheels_and_is_healthy(run: Run) -> None:
    where = run("python", "-c", "import qcore, qcore_normal_float as n; print(qcore.__file__, n)")
    assert str(ROOT) not in where
    found = {r["distribution"]: r for r in json.loads(run("qcore", "plugins", "--format", "json"))}
    assert {r["error"] for r in found.values()} == {None}
    assert found["qcore-normal-float"]["provides"] == {"scheme": ["normal-float"]}
    assert {"qcore-quant", *(source.name for source in SOURCES[1:-1])} < found.keys()
    run("qcore", "plugins", "--strict")


def test_the_example_is_compared_with_the_others(run: Run) -> None:
    schemes = "normal-float,apot"
    text = run("qcore", "compare", "--scheme", schemes, "--bits", "4", "--format", "csv")
    rows = {row["scheme"]: row for row in csv.DictReader(text.splitlines())}
    assert rows.keys() == {"normal-float", "apot"}
    assert float(rows["normal-float"]["sqnr_db"]) > float(rows["apot"]["sqnr_db"])


def test_the_commands_of_the_example_s_page_run(run: Run) -> None:
    page = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    commands = [line for line in page.splitlines() if line.startswith("qcore ")]
    assert commands
    for command in commands:
        assert "normal-float" in run(*command.split())


def test_the_example_passes_its_own_tests(run: Run) -> None:
    assert " passed" in run("pytest", "-q", "-p", "no:cacheprovider", EXAMPLE / "tests")


def test_a_new_plugin_installs_passes_its_tests_and_is_compared_at_once(run: Run) -> None:
    told = run("qcore", "new-plugin", "ternary")
    commands = told.partition("next:\n")[2].splitlines()
    install, test, show = (shlex.split(command) for command in commands)
    run(*install)
    assert " passed" in run(*test)
    assert "ternary" in run(*show)

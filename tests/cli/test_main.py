"""The `qcore` program: its commands, its help, and how whatever happens becomes a status."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import qcore
from qcore.cli import main as main_module

Command = Callable[..., tuple[int, str, str]]
COMMANDS = {
    "compare": [
        "--scheme", "--bits", "--granularity", "--rounding", "--observer", "--scale-format",
        "--backend", "--metric", "--include", "--exclude", "--min-ndim", "--integers",
        "--nonfinite", "--per-tensor", "--sort", "--format", "--output", "--threads", "PATH",
        "--activations", "--activation-scheme", "--activation-bits", "--activation-granularity",
    ],
    "calibrate": [
        "--output", "--scheme", "--bits", "--rounding", "--observer", "--scale-format",
        "--include", "--exclude", "--integers", "--nonfinite", "--threads", "--format", "FILE",
    ],
    "bench": ["gemm", "quantize"],
    "check": ["--all", "--example", "--format", "ID"],
    "list": ["--format", "kind"],
    "plugins": ["--format"],
    "new-plugin": ["--kind", "--output", "NAME"],
}  # fmt: skip


@pytest.fixture
def width() -> int:
    return 120


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_the_version_is_the_distribution_s(run: Command) -> None:
    assert run("--version") == (0, f"qcore {importlib.metadata.version('qcore-quant')}\n", "")


@pytest.mark.parametrize("asked", [["--help"], ["-h"]])
def test_the_help_names_every_command(run: Command, asked: list[str]) -> None:
    status, out, err = run(*asked)
    assert (status, err) == (0, "")
    for name in (*COMMANDS, "--version", "--no-plugins"):
        assert name in plain(out)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("asked", ["--help", "-h"])
def test_the_help_of_a_command_names_every_option(run: Command, name: str, asked: str) -> None:
    status, out, err = run(name, asked)
    assert (status, err) == (0, "")
    for option in COMMANDS[name]:
        assert option.lower() in plain(out).lower()


def test_the_help_of_compare_says_the_defaults_and_an_example(run: Command) -> None:
    text = " ".join(plain(run("compare", "--help")[1]).replace("│", " ").split())
    for part in ("8,4", "default: tensor", "default: half-even", "default: minmax", "sqnr_db",
                 "Example: qcore compare model.safetensors"):  # fmt: skip
        assert part in text


def test_help_loads_neither_numpy_nor_a_plugin() -> None:
    code = (
        "import sys, json, qcore.cli.main as m; m.run_command(['compare', '--help']); "
        "print(json.dumps(list(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}
    assert not loaded & {"numpy", "ml_dtypes", "qcore_apot", "pluggy"}


def test_no_command_at_all_is_wrong_usage_with_help(run: Command) -> None:
    status, out, err = run()
    assert status in (0, 2)
    assert "compare" in plain(out + err)
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["compre"], ["compre", "compare"]),
        (["--versoin"], ["--versoin", "--version"]),
        (["compare", "--bit", "4"], ["--bit"]),
        (["compare", "--per-tensr"], ["--per-tensr", "--per-tensor"]),
        (["list", "scheme", "rounding"], ["rounding"]),
        (["plugins", "apot"], ["apot"]),
        (["plugins", "--format", "yaml"], ["yaml", "json"]),
        (["--no-plugins=1", "list"], ["--no-plugins"]),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line_with_the_nearest(
    run: Command, arguments: list[str], says: list[str]
) -> None:
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("qcore: ")
    assert err.count("\n") == 1
    for part in says:
        assert part in err


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (qcore.UsageError("one\ntwo   three"), 2, "qcore: one two three\n"),
        (qcore.SpecError("a spec"), 2, "qcore: a spec\n"),
        (qcore.ReadError("a file"), 1, "qcore: a file\n"),
        (qcore.ShapeError("a shape"), 1, "qcore: a shape\n"),
        (qcore.UnavailableError("no device"), 1, "qcore: no device\n"),
        (ValueError("odd"), 1, "qcore: ValueError: odd (QCORE_DEBUG=1 shows where)\n"),
        (MemoryError(), 1, "qcore: MemoryError: (QCORE_DEBUG=1 shows where)\n"),
        (KeyboardInterrupt(), 130, "qcore: interrupted\n"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_every_error_is_one_line_and_a_status(
    run: Command,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    status: int,
    line: str,
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("qcore.preparing.prepare", fails)
    found, out, err = run("compare", "--scheme", "symmetric")
    assert (found, out) == (status, "")
    assert err.splitlines(keepends=True)[-1] == line
    assert "Traceback" not in err
    if not isinstance(error, KeyboardInterrupt):
        monkeypatch.setenv("QCORE_DEBUG", "1")
        with pytest.raises(type(error)):
            run("compare", "--scheme", "symmetric")


def test_the_console_script_exits_with_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main_module, "run_command", lambda arguments: 3)
    with pytest.raises(SystemExit) as caught:
        main_module.run()
    assert caught.value.code == 3


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["--version"], 0), (["plugins"], 0), (["compre"], 2), (["list", "x"], 2)],
)
def test_python_m_qcore_is_the_program(arguments: list[str], status: int) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "qcore", *arguments],
        capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    assert done.returncode == status
    assert bool(done.stdout) == (status == 0)
    assert done.stderr.count("\n") == (0 if status == 0 else 1)


def test_no_plugins_is_for_one_command_line_alone(
    run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("--no-plugins", "list")
    monkeypatch.delenv("QCORE_PLUGINS", raising=False)
    assert "apot" in json.dumps(run("list", "scheme", "--format", "json")[1])

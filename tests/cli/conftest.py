"""What the tests of the commands share: a command line that is run in this process."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from qcore.cli.main import run_command


@pytest.fixture
def width() -> int:
    """The terminal's, in columns, until a test sets another."""
    return 80


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line in this process: its status, its output and its errors."""
    monkeypatch.setenv("COLUMNS", str(width))
    for name in ("QCORE_DEBUG", "QCORE_PLUGINS", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.setenv(name, "")  # so that it is put back, whatever the command does
        monkeypatch.delenv(name)

    def runner(*arguments: object) -> tuple[int, str, str]:
        status = run_command([str(argument) for argument in arguments])
        return (status, *capsys.readouterr())

    return runner

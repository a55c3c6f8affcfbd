"""Makes the hostile files, and runs every command on them, once for all tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cases import SECRET, Case
from make_files import CASES, NAMED, make
from named_files import FILES

FORMATS = ("table", "markdown", "csv")
WORKER = Path(__file__).with_name("worker.py")
Command = tuple[str, ...]
State = dict[str, tuple[int, int, int]]


@dataclass(frozen=True)
class Result:
    """What a command gave, what it opened or did, and what it took.

    Attributes:
        status: its exit status; negative where a signal ended it.
        out: its output.
        err: its errors.
        seen: every file that it opened, and whatever else is worth a note.
        memory: bytes above an idle process.
        seconds: of computing.
    """

    status: int
    out: str
    err: str
    seen: list[str]
    memory: int
    seconds: float


@dataclass(frozen=True)
class Runs:
    """The hostile files, and what came of every command.

    Attributes:
        folder: where they are.
        results: by command.
        before: what the folder and the working directory held when the first command ran.
        after: and when all had.
    """

    folder: Path
    results: dict[Command, Result]
    before: State
    after: State

    def path(self, format: str, case: Case) -> str:
        """What qcore was given."""
        return os.fspath(self.folder / format / case.path)

    def refusal(self, format: str, case: Case) -> Result:
        """What the first command gave that met the fault."""
        path = self.path(format, case)
        return self.results[compare(path) if case.listed else inspect(path)]


def inspect(path: str, format: str = "table") -> Command:
    """The command that reads a header."""
    return "inspect", path, "--headers", "--format", format


def measure(path: str) -> Command:
    """The command that reads everything and says what it holds."""
    return "inspect", path, "--threads", "1"


def compare(path: str, format: str = "table") -> Command:
    """The command that reads everything."""
    how = "--scheme", "symmetric", "--bits", "8", "--threads", "1"
    return "compare", path, *how, "--per-tensor", "--format", format


def run_all(folder: Path, working: Path) -> Runs:
    """Make all files in one empty folder, and run every command in another."""
    make(folder)
    before = _state(folder, working)
    commands = list(_commands(folder))
    done = subprocess.run(
        [sys.executable, WORKER, folder / SECRET],
        input="".join(f"{json.dumps(command)}\n" for command in commands),
        env=os.environ | {"COLUMNS": "200", "OPENBLAS_NUM_THREADS": "1"},
        cwd=working,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    results = [Result(**json.loads(line)) for line in done.stdout.splitlines()]
    return Runs(folder, dict(zip(commands, results, strict=True)), before, _state(folder, working))


def _commands(folder: Path) -> Iterator[Command]:
    for format, cases in CASES.items():
        for case in cases:
            path = os.fspath(folder / format / case.path)
            yield inspect(path)
            if case.listed or case is cases[0]:
                yield compare(path)
            if case.listed:
                yield measure(path)
    for name in FILES:
        for format in FORMATS:
            path = os.fspath(folder / NAMED / name)
            yield inspect(path, format)
            yield compare(path, format)


def _state(*folders: Path) -> State:
    """All that folders hold, of which nothing is opened: kind, size, and last change."""
    found = {}
    for folder in folders:
        for path in folder.rglob("*"):
            status = path.lstat()
            found[os.fspath(path)] = status.st_mode, status.st_size, status.st_mtime_ns
    return found

"""Who follows docs/writing-plugins.md to the letter gets what it promises."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parent.parent / "docs" / "writing-plugins.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)


def code(*beginnings: str) -> str:
    """The Python blocks that begin so, one after the other."""
    blocks = [text for language, text in BLOCKS if language == "python"]
    return "\n\n".join(next(b for b in blocks if b.startswith(begin)) for begin in beginnings)


def commands(end: str) -> list[list[str]]:
    """The commands that are shown, up to one that ends so."""
    shown = [text for language, text in BLOCKS if language in ("sh", "text")]
    lines = [line.replace("'", "").split() for text in shown for line in text.splitlines()]
    return lines[: 1 + next(i for i, line in enumerate(lines) if line[-1] == end)]


class Reader:
    """Does what the page says, in a folder that stands for an environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.package = folder / "qcore-normal-float"

    def types(self, command: list[str]) -> str:
        if command[:2] == ["pip", "install"]:
            self.installs()
            return ""
        program = [sys.executable, *(["-m", "qcore"] if command[0] == "qcore" else [])]
        done = subprocess.run(
            [*program, *command[1:]],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.package), "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def installs(self) -> None:
        """As pip would."""
        info = self.package / "qcore_normal_float-0.1.0.dist-info"
        info.mkdir()
        metadata = "Metadata-Version: 2.1\nName: qcore-normal-float\nVersion: 0.1.0\n"
        (info / "METADATA").write_text(metadata)
        (info / "entry_points.txt").write_text("[qcore]\nnormal-float = qcore_normal_float\n")

    def writes(self) -> None:
        """The scheme in place of the scaffold's, and another worked example."""
        scheme = code("import functools", "@dataclass")
        (self.package / "qcore_normal_float" / "scheme.py").write_text(scheme)
        tests = self.package / "tests" / "test_normal_float.py"
        before, found, _ = tests.read_text().partition("def test_a_worked_example()")
        assert found
        own = code("def test_a_worked_example()")
        (imported,) = re.findall(
            r"from qcore_normal_float.scheme import .*NormalFloatScheme", before
        )
        assert "WIDTHS" in imported
        tests.write_text(before + own)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return Reader(tmp_path_factory.mktemp("tutorial"))


def test_every_command_of_the_page_succeeds(reader: Reader) -> None:
    every = commands("channel:0")
    written = next(i for i, command in enumerate(every) if command[-1] == "qcore-normal-float")
    for command in every[: written + 1]:
        reader.types(command)
    reader.writes()
    told = [reader.types(command) for command in every[written + 1 :]]
    assert len(told) == 4
    assert " passed" in told[0]
    assert "normal-float" in told[-1]


def test_what_the_page_shows_of_the_package_is_in_it(reader: Reader) -> None:
    (shown,) = [text for language, text in BLOCKS if language == "toml"]
    project = (reader.package / "pyproject.toml").read_text()
    for line in shown.splitlines():
        assert line.rstrip("]") in project
    tests = (reader.package / "tests" / "test_normal_float.py").read_text()
    assert "LEAST, MOST = WIDTHS" in tests
    assert "for bits in range(LEAST, MOST + 1)" in tests

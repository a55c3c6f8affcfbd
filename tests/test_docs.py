"""Every command and code block in README.md and docs/ runs, and prints what it is said to print."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from safetensors.numpy import save_file

from qcore.cli.main import run_command
from qcore.registry import KINDS

ROOT = Path(__file__).parent.parent
HOOK_PAGES = ROOT / "docs" / "hooks"
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted(HOOK_PAGES.glob("*.md")),
]
FENCE = re.compile(
    r"(?:<!-- (?P<note>[^>]*) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)```", re.DOTALL
)
RUN_BY_CI = {"main command", "test command", "benchmark command"}


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    note: str | None


def blocks(page: Path) -> list[Block]:
    found = FENCE.finditer(page.read_text(encoding="utf-8"))
    return [Block(m["language"], m["text"], m["note"]) for m in found]


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], str]:
    """What `qcore …` prints on standard output, in a folder with the checkpoint that is named."""
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((64, 256)).astype(np.float32)
    save_file({"fc.weight": matrix}, tmp_path / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")

    def runner(command: str) -> str:
        assert command.startswith("qcore "), f"a command that no test can run: {command}"
        status = run_command(shlex.split(command)[1:])
        printed, complaint = capsys.readouterr()
        assert status == 0, f"{command}: {complaint}"
        return printed

    return runner


def without_times(text: str) -> list[str]:
    """Lines with the time column, the only one that is not the same everywhere, left out."""
    return [re.sub(r"\s+[\d.]+ m?s$", "", line).rstrip("─ ") for line in text.strip().splitlines()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_run_in_one_session(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = ModuleType("session")
    monkeypatch.setitem(sys.modules, "session", session)  # where dataclasses look for names
    for block in blocks(page):
        if block.language == "python":
            exec(compile(block.text, str(page), "exec"), vars(session))


def command_blocks() -> list[str]:
    """Those of all pages, each once; the commands of one follow one another in one folder."""
    texts = [
        block.text.strip()
        for page in PAGES
        for block in blocks(page)
        if block.language == "sh" and block.note not in RUN_BY_CI
    ]
    return list(dict.fromkeys(texts))


@pytest.mark.parametrize("commands", command_blocks())
def test_commands_run(commands: str, run: Callable[[str], str]) -> None:
    for command in commands.splitlines():
        run(command)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_shown_is_what_is_printed(page: Path, run: Callable[[str], str]) -> None:
    for block in blocks(page):
        if block.language == "console":
            command, _, shown = block.text.partition("\n")
            printed = run(command.removeprefix("$ "))
            assert without_times(printed) == without_times(shown)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_of_a_kind_that_a_test_runs_or_reads(page: Path) -> None:
    assert {block.language for block in blocks(page)} <= {"python", "sh", "console", "toml", "text"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_picture_is_what_its_script_draws() -> None:
    script = ROOT / "docs" / "levels.py"
    spec = spec_from_file_location("levels", script)
    assert spec is not None
    assert spec.loader is not None
    levels = module_from_spec(spec)
    spec.loader.exec_module(levels)
    assert levels.drawing() == script.with_suffix(".svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(("hook", "interface"), KINDS.values())
def test_every_hook_has_a_page_with_its_signature(hook: str, interface: type[object]) -> None:
    name = hook.removeprefix("qcore_").replace("_", "-")
    page = (HOOK_PAGES / f"{name}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# `{hook}`\n")
    assert f"\ndef {hook}() -> list[type[qcore.{interface.__name__}]]:\n" in page
    assert f"hooks/{name}.md" in (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")

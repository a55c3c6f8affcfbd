"""Every command and code block in README.md and docs/ runs, and prints what it is said to print."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import typer
from safetensors.numpy import save_file

import qcore
from qcore.cli.main import app, run_command
from qcore.registry import KINDS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
HOOK_PAGES = DOCS / "hooks"
NOT_PAGES = {"_build", "example-plugin"}  # what is built, and a package with its own tests
PAGES = [
    ROOT / "README.md",
    *(
        page
        for page in sorted(DOCS.rglob("*.md"))
        if page.relative_to(DOCS).parts[0] not in NOT_PAGES
    ),
]
FENCE = re.compile(
    r"(?:<!-- (?P<note>[^>]*) -->\n)?```(?P<language>[^\n]*)\n(?P<text>.*?)```", re.DOTALL
)
LINK = re.compile(r"\]\((?P<page>[^)#:\s]*)(?:#(?P<anchor>[^)\s]*))?\)")
LANGUAGES = {"python", "sh", "console", "toml", "text", "{eval-rst}"}
RUN_BY_CI = {"main command", "test command", "benchmark command", "docs command"}
PRINTED = "printed"
"""The note above what the python blocks since the last such note print."""


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


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


def without_times(text: str) -> list[str]:
    """Lines with the time column, the only one that is not the same everywhere, left out."""
    return [re.sub(r"\s+[\d.]+ m?s$", "", line).rstrip("─ ") for line in text.strip().splitlines()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_run_in_one_session_and_print_what_is_shown(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    session = ModuleType("session")
    monkeypatch.setitem(sys.modules, "session", session)  # where dataclasses look for names
    for block in blocks(page):
        if block.language == "python":
            exec(compile(block.text, str(page), "exec"), vars(session))
        elif block.note == PRINTED:
            assert lines(capsys.readouterr().out) == lines(block.text)


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
    assert {block.language for block in blocks(page)} <= LANGUAGES


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """What GitHub and Sphinx call the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in words}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.finditer(prose(page)):
        target = page.parent / link["page"] if link["page"] else page
        assert target.exists(), link[0]
        if link["anchor"] is not None:
            assert link["anchor"] in anchors(target), link[0]


def test_every_page_has_a_place_in_the_site() -> None:
    named = re.findall(r"^:::\{toctree\}\n(.*?)^:::$", prose(DOCS / "index.md"), re.M | re.S)
    entries = [line for entry in named for line in entry.splitlines() if not line.startswith(":")]
    names = [re.sub(r".*<(.*)>", r"\1", entry) for entry in entries if entry]
    placed = {found for name in names for found in DOCS.glob(f"{name}.md")}
    pages = {page for page in PAGES if DOCS in page.parents}
    assert pages - placed == {DOCS / "index.md"}


def test_every_public_name_is_in_the_python_reference() -> None:
    reference = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
    named = re.findall(r"^\.\. \S+:: qcore\.(\w+)$", reference, re.MULTILINE)
    assert len(named) == len(set(named))
    assert set(named) == set(qcore._home_of)


def commands_of(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """A command and those below it, each with the words that call it."""
    yield name, command
    for word, child in getattr(command, "commands", {}).items():
        yield from commands_of(f"{name} {word}", child)


def test_the_reference_of_the_command_line_has_every_command_and_option(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    text = "\n".join(import_module("command_reference").reference())
    sections = dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n)*)", text + "\n", re.MULTILINE))
    commands = dict(commands_of("qcore", typer.main.get_command(app)))
    assert sections.keys() == commands.keys()
    assert {"qcore compare", "qcore bench gemm"} <= commands.keys()
    for name, command in commands.items():
        terms = re.findall(r"^`(.+)`\n: \S", sections[name], re.MULTILINE)
        named = {word for term in terms for word in re.findall(r"--?[a-z][\w-]*", term)}
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert {*parameter.opts, *parameter.secondary_opts} <= named, f"{name} {parameter}"


def test_what_a_page_fetches_from_elsewhere_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    fetched = import_module("self_contained").FETCHED
    for text in (
        '<script async src="https://cdn.example/a.js">',
        '<link rel="stylesheet" href="//fonts.example/a.css">',
        "@font-face { src: url('https://fonts.example/a.woff') }",
    ):
        assert fetched.search(text)
    for text in ('<a href="https://example.org">', '<img src="_images/a.svg">', "url(#gradient)"):
        assert not fetched.search(text)


def test_the_levels_are_what_their_script_draws() -> None:
    script = DOCS / "levels.py"
    spec = spec_from_file_location("levels", script)
    assert spec is not None
    assert spec.loader is not None
    levels = module_from_spec(spec)
    spec.loader.exec_module(levels)
    assert levels.drawing() == script.with_suffix(".svg").read_text(encoding="utf-8")


def test_every_picture_is_what_is_drawn_from_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS))
    drawn = import_module("pictures.catalogue").PICTURES
    folder = DOCS / "pictures"
    assert {path.name for path in folder.glob("*.svg")} == set(drawn)
    for name, drawing in drawn.items():
        assert drawing() == (folder / name).read_text(encoding="utf-8"), name


@pytest.mark.parametrize(("hook", "interface"), KINDS.values())
def test_every_hook_has_a_page_with_its_signature(hook: str, interface: type[object]) -> None:
    name = hook.removeprefix("qcore_").replace("_", "-")
    page = (HOOK_PAGES / f"{name}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# `{hook}`\n")
    assert f"\ndef {hook}() -> list[type[qcore.{interface.__name__}]]:\n" in page
    assert f"hooks/{name}.md" in (DOCS / "plugins.md").read_text(encoding="utf-8")

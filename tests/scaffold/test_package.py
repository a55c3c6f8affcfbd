"""A package is written whole or not at all, and never over anything."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

import qcore
from qcore.scaffold import write_plugin
from qcore.scaffold.contents import contents
from qcore.scaffold.names import Names

FILES = (
    "pyproject.toml", "README.md", "qcore_ternary/__init__.py", "qcore_ternary/scheme.py",
    "qcore_ternary/py.typed", "tests/test_ternary.py",
)  # fmt: skip


def everything(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in files}


def refusal(folder: Path) -> str:
    with pytest.raises(qcore.UsageError) as caught:
        write_plugin("ternary", "scheme", folder)
    return str(caught.value)


@pytest.mark.parametrize("exists", [False, True])
def test_what_is_written_is_what_is_said(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path / "new"
    if exists:
        folder.mkdir()
    plugin = write_plugin("qcore-ternary", "scheme", folder)
    assert plugin.names == Names("ternary", "scheme")
    assert (plugin.folder, plugin.files) == (folder, FILES)
    assert everything(folder) == contents(plugin.names)
    assert os.listdir(tmp_path) == ["new"]


@pytest.mark.parametrize("folder", [None, Path()])
def test_it_goes_here_by_default_or_into_an_empty_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path | None
) -> None:
    monkeypatch.chdir(tmp_path)
    plugin = write_plugin("ternary", folder=folder)
    assert everything(Path.cwd() / plugin.folder) == contents(plugin.names)
    assert os.listdir(tmp_path) == ["qcore-ternary"] or folder is not None


def test_the_next_commands_are_ready_to_be_pasted(tmp_path: Path) -> None:
    folder = tmp_path / "my plugin"
    plugin = write_plugin("ternary", "scale-format", folder)
    assert plugin.next_commands == [
        f"pip install -e '{folder}[test]'",
        f"python -m pytest '{folder}'",
        "qcore compare --scale-format float32,ternary",
    ]


def test_a_folder_that_holds_something_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    assert refusal(tmp_path) == f"'{tmp_path}' holds something already; name another folder"
    assert everything(tmp_path) == {"mine": "precious"}


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("precious")
    link.symlink_to(tmp_path / "nowhere")
    for path in (file, link):
        assert refusal(path) == f"'{path}' is no folder; name another"
    assert file.read_text() == "precious"


def test_a_folder_in_no_folder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "no" / "such"
    assert refusal(path) == f"'{path}': there is no folder '{path.parent}'"


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("what", ["write_text", "rename"])
@pytest.mark.parametrize("after", [0, 1])
def test_a_failure_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exists: bool, what: str, after: int
) -> None:
    folder = tmp_path / "new"
    if exists:
        folder.mkdir()
    ordinary, calls = getattr(Path, what), 0

    def fails(self: Path, *args: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return ordinary(self, *args, **named)

    monkeypatch.setattr(Path, what, fails)
    if what == "rename" and after and not exists:
        return  # there is but one
    assert refusal(folder) == f"cannot write '{folder}': No space left on device"
    monkeypatch.undo()
    assert everything(tmp_path) == {}
    assert os.listdir(tmp_path) == (["new"] if exists else [])
    write_plugin("ternary", "scheme", folder)  # and it can be tried again

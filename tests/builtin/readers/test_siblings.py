"""A file named by another is found in its folder, and whatever leads out of it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.builtin.readers.siblings import sibling
from qcore.errors import ReadError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files and a folder in it, and a file beside it."""
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.bin", "sub/b.bin", "..bin", "größe 1.bin"):
        (folder / name).touch()
    (tmp_path / "secret.bin").touch()
    return folder


def refusal(folder: Path, name: str) -> str:
    """The one-line message of the ReadError, without the file that it begins with and the name."""
    index = folder / "index.json"
    with pytest.raises(ReadError) as caught:
        sibling(folder, name, index)
    start = f"{index}: it names {name!r}, "
    assert str(caught.value).startswith(start)
    assert str(caught.value).isprintable()
    return str(caught.value).removeprefix(start)


@pytest.mark.parametrize("name", ["a.bin", "sub/b.bin", "..bin", "größe 1.bin"])
def test_a_file_in_the_folder_or_below_it_is_found(folder: Path, name: str) -> None:
    assert sibling(folder, name, folder / "index.json") == folder / name


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "../secret.bin", "sub/../../secret.bin", "sub/../a.bin", "/etc/passwd",
        "sub//b.bin", "a.bin/", "./a.bin", ".../a.bin", "..\\secret.bin", "sub\\b.bin",
        "C:secret.bin", "a.bin:stream", "a.bin\0", "\0", "//host/share/a.bin",
    ],
)  # fmt: skip
def test_a_name_that_might_leave_the_folder_is_refused(folder: Path, name: str) -> None:
    assert refusal(folder, name) == "which may leave its folder; refused"


@pytest.mark.parametrize("name", ["c.bin", "sub", "a.bin/b", "x" * 300, "\ud800"])
def test_what_is_no_file_is_named(folder: Path, name: str) -> None:
    with pytest.raises(ReadError, match=r"which is not there; download it$"):
        sibling(folder, name, folder / "index.json")


@given(st.text(alphabet="./\\:ab\0", max_size=12))
def test_no_name_leads_out_of_the_folder(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    base = tmp_path_factory.getbasetemp() / "siblings"
    folder = base / "b" / "b"
    folder.mkdir(parents=True, exist_ok=True)
    for place in (base / "a", base / "b" / "a", folder / "a"):
        place.touch()
    try:
        found = sibling(folder, name, folder / "index.json")
    except ReadError:
        return
    assert found.resolve() == folder / "a"


@pytest.mark.parametrize("target", ["a.bin", "sub/b.bin", "../model/a.bin"])
def test_a_link_to_a_file_of_the_folder_is_followed(folder: Path, target: str) -> None:
    (folder / "link.bin").symlink_to(target)
    assert sibling(folder, "link.bin", folder / "index.json") == folder / "link.bin"


@pytest.mark.parametrize("target", ["../secret.bin", "/dev/../etc/passwd", "chain.bin"])
def test_a_link_out_of_the_folder_is_refused(folder: Path, target: str) -> None:
    (folder / "chain.bin").symlink_to("../secret.bin")
    (folder / "link.bin").symlink_to(target)
    message = "which is a link out of its folder; copy the file there"
    assert refusal(folder, "link.bin") == message


def test_a_folder_that_is_a_link_leads_out_too(folder: Path) -> None:
    (folder / "out").symlink_to(folder.parent)
    assert refusal(folder, "out/secret.bin") == (
        "which is a link out of its folder; copy the file there"
    )


@pytest.mark.parametrize("target", ["loop.bin", "nowhere.bin", "/dev/zero"])
def test_a_link_to_no_regular_file_is_not_there(folder: Path, target: str) -> None:
    (folder / "loop.bin").symlink_to(target)
    assert refusal(folder, "loop.bin") == "which is not there; download it"


def test_a_folder_may_be_reached_by_a_link_itself(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(folder)
    assert sibling(tmp_path / "latest", "a.bin", tmp_path).is_file()


def linked(folder: Path, target: Path) -> bool:
    """Whether a link in `folder` to `target` may be followed."""
    folder.mkdir(parents=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.touch()
    (folder / "m.bin").symlink_to(target)
    try:
        sibling(folder, "m.bin", folder)
    except ReadError:
        return False
    return True


@pytest.mark.parametrize(
    ("folder", "target", "followed"),
    [
        ("models--x/snapshots/REV", "models--x/blobs/0a1b", True),
        ("models--x/snapshots/REV/text_encoder", "models--x/blobs/0a1b", True),
        ("models--x/snapshots/REV", "models--y/blobs/0a1b", False),
        ("models--x/snapshots/REV", "models--x/blobs/deeper/0a1b", False),
        ("models--x/snapshots/REV", "models--x/refs/main", False),
        ("models--x/snapshots/REV", "models--x/snapshots/OTHER/m.bin", False),
        ("models--x/other/REV", "models--x/blobs/0a1b", False),
    ],
)
def test_only_the_blobs_of_its_own_model_are_open_to_a_snapshot(
    tmp_path: Path, folder: str, target: str, followed: bool
) -> None:
    assert linked(tmp_path / folder, tmp_path / target) == followed

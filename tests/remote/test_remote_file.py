"""A remote file reads as a local one, fetches little else, and says why where it cannot."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath

from qcore import StoredFile, remote_file
from qcore.errors import ReadError
from qcore.remote_file import READ_AHEAD, RemoteFile, open_remote, opened_once
from qcore.stored_file import is_file, is_folder, listed

CONTENT = np.random.default_rng(0).bytes(3 * READ_AHEAD + 7)
PLACES = st.one_of(
    st.integers(0, len(CONTENT) + 9),
    st.integers(0, 3).flatmap(lambda n: st.integers(n * READ_AHEAD, n * READ_AHEAD + 9)),
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["read", "fetch", "current", "end"]),
        PLACES,
        st.integers(0, 99) | st.integers(-1, 2 * READ_AHEAD),
    ),
    max_size=12,
)


@pytest.fixture(scope="module")
def path() -> Iterator[UPath]:
    path = UPath("memory://qcore-remote-file/w.bin")
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    yield path
    path.fs.rm(path.parent.path, recursive=True)


@settings(deadline=None)
@given(STEPS)
def test_it_reads_as_any_open_file(path: UPath, steps: list[tuple[str, int, int]]) -> None:
    remote, local = RemoteFile(path), io.BytesIO(CONTENT)
    assert remote.size == len(CONTENT)
    for step, place, count in steps:
        if step == "fetch":
            expected = CONTENT[place : place + max(count, 0)]
            assert remote.fetch(place, max(count, 0)).tobytes() == expected
            continue
        if step == "read":
            assert remote.seek(place) == local.seek(place)
        elif step == "current":
            assert remote.seek(count + 1, io.SEEK_CUR) == local.seek(count + 1, io.SEEK_CUR)
        else:
            back = -min(place, len(CONTENT))
            assert remote.seek(back, io.SEEK_END) == local.seek(back, io.SEEK_END)
        assert remote.read(count) == local.read(count)
        assert remote.tell() == local.tell()


def test_a_place_before_the_start_is_refused(path: UPath) -> None:
    file = RemoteFile(path)
    with pytest.raises(OSError, match="Invalid argument"):
        file.seek(-1)
    with pytest.raises(OSError, match="Invalid argument"):
        file.seek(-len(CONTENT) - 1, io.SEEK_END)
    assert file.tell() == 0


def test_threads_read_one_file_at_the_same_time(path: UPath) -> None:
    def read(start: int) -> bool:
        with StoredFile(path) as file:
            return all(
                file.read(at, 99) == file.bytes_at(at, 99).tobytes() == CONTENT[at : at + 99]
                for at in range(start, len(CONTENT) - 99, 9973)
            )

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(40)))


def test_nothing_is_fetched_beyond_what_is_asked_for(web: Any) -> None:
    (web.folder / "w.bin").write_bytes(CONTENT)
    with StoredFile(UPath(f"{web.url}/w.bin")) as file:
        assert web.served == []
        assert file.bytes_at(70_000, 3).tobytes() == CONTENT[70_000:70_003]
        assert web.served == [(70_000, 3)]
        file.read(10, 5)
        file.read(100, 5000)
        assert web.served[1:] == [(10, READ_AHEAD)]
        file.bytes_at(12, 40_000)
        assert web.served[2:] == []
        file.read(5, 2 * READ_AHEAD)
        assert web.served[2:] == [(5, 2 * READ_AHEAD)]
        file.read(len(CONTENT) - 4, 4)
        assert web.served[3:] == [(len(CONTENT) - 4, 4)]
        assert web.asked == 5  # one of them for the size


def test_a_long_range_is_asked_for_in_pieces(web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_file, "_LARGEST_REQUEST", 80_000)
    (web.folder / "w.bin").write_bytes(CONTENT)
    found = RemoteFile(UPath(f"{web.url}/w.bin")).fetch(1, 180_000)
    assert found.tobytes() == CONTENT[1:180_001]
    assert web.served == [(1, 80_000), (80_001, 80_000), (160_001, 20_000)]


def test_looked_at_several_times_it_is_asked_for_once(web: Any) -> None:
    (web.folder / "w.bin").write_bytes(CONTENT)
    path: Any = UPath(f"{web.url}/w.bin")
    with opened_once():
        for _ in range(3):
            assert is_file(path)
            assert not is_folder(path)
            assert StoredFile.peek(path, 300) == CONTENT[:300]
            with StoredFile(path) as file:
                assert file.read(len(CONTENT) - 30, 30) == CONTENT[-30:]
    assert web.asked == 3
    (web.folder / "w.bin").write_bytes(b"new")
    assert StoredFile.peek(path, 300) == b"new"


def test_a_folder_is_none_of_its_files(memory: UPath, web: Any) -> None:
    (memory / "b").write_bytes(b"2")
    (memory / "a").write_bytes(b"1")
    (web.folder / "sub").mkdir()
    (web.folder / "sub" / "a b").touch()
    for folder, names in ((memory, ["a", "b"]), (UPath(f"{web.url}/sub/"), ["a b"])):
        path: Any = folder
        assert (is_file(path), is_folder(path)) == (False, True)
        assert StoredFile.peek(path, 1) == b""
        assert [file.name for file in listed(path)] == names
        with pytest.raises(ReadError, match=r"it cannot be opened: it is a folder$"):
            StoredFile(path)


def test_an_empty_file_is_a_file(web: Any, memory: UPath) -> None:
    (web.folder / "w.bin").touch()
    (memory / "w.bin").touch()
    for path in (UPath(f"{web.url}/w.bin"), memory / "w.bin"):
        with StoredFile(path) as file:
            assert (file.size, file.read(0, 0), file.bytes_at(0, 0).size) == (0, b"", 0)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("{web.url}/nowhere", "it cannot be opened: no such file"),
        ("{web.closed}/w.bin", "it cannot be opened: its server answers 403 Forbidden"),
        (
            "{web.sizeless}/w.bin",
            "it cannot be opened: its server does not tell its size; download it",
        ),
        (
            "{web.whole}/w.bin",
            "it cannot be read: its server gives files only whole; download it",
        ),
        (
            "http://127.0.0.1:1/w.bin",
            "it cannot be opened: Cannot connect to host 127.0.0.1:1 ssl:default [Connect call "
            "failed ('127.0.0.1', 1)]",
        ),
        ("memory://nowhere/w.bin", "it cannot be opened: no such file"),
    ],
)
def test_what_cannot_be_had_says_why_in_one_line(web: Any, address: str, reason: str) -> None:
    (web.folder / "w.bin").write_bytes(CONTENT)
    path: Any = UPath(address.format(web=web))
    with pytest.raises(ReadError) as caught, StoredFile(path) as file:
        file.bytes_at(5, 70_000)
    assert str(caught.value) == f"{path}: {reason}"


def test_a_file_that_shrinks_while_it_is_read_is_refused(web: Any) -> None:
    (web.folder / "w.bin").write_bytes(CONTENT)
    path: Any = UPath(f"{web.url}/w.bin")
    with StoredFile(path) as file:
        (web.folder / "w.bin").write_bytes(CONTENT[:9])
        for read in (file.read, file.bytes_at):
            with pytest.raises(ReadError, match=r"cut off while it was read; read it again$"):
                read(0, 150_000)


def test_one_open_file_is_remembered_for_each_path(path: UPath) -> None:
    first: Any = path
    again = pickle.loads(pickle.dumps(path))
    with opened_once():
        assert open_remote(first) is open_remote(again)
    assert open_remote(first) is not open_remote(again)

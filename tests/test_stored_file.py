"""Any range of a stored file, no length trusted, and every failure in one line."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qcore
from qcore.errors import ReadError
from qcore.stored_file import (
    StoredFile,
    as_array,
    is_file,
    is_folder,
    listed,
    quoted,
    shown,
)

CONTENT = bytes(range(256)) * 3
HUGE = 1 << 62


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stored") / "w.bin"
    path.write_bytes(CONTENT)
    return path


def refusal(path: Path, work: Callable[[], object]) -> str:
    """The one-line message of the ReadError, without the file's name that it begins with."""
    with pytest.raises(ReadError) as caught:
        work()
    message = str(caught.value)
    assert message.startswith(f"{shown(path)}: ")
    assert message.isprintable()
    return message.removeprefix(f"{shown(path)}: ")


def test_it_is_a_public_name() -> None:
    assert qcore.StoredFile is StoredFile


@given(offset=st.integers(-9, len(CONTENT) + 9), count=st.integers(-9, len(CONTENT) + 9))
def test_a_range_is_read_or_refused_whole(path: Path, offset: int, count: int) -> None:
    with StoredFile(path) as file:
        assert file.size == len(CONTENT)
        if 0 <= offset <= offset + count <= len(CONTENT):
            expected = CONTENT[offset : offset + count]
            assert file.read(offset, count) == expected
            assert file.bytes_at(offset, count).tobytes() == expected
            return
        message = f"truncated: bytes {offset} to {offset + count} are needed and 768 are there; "
        for read in (file.read, file.bytes_at):
            found = refusal(path, lambda read=read: read(offset, count))
            assert found == f"{message}save or download it again"


@pytest.mark.parametrize("read", [StoredFile.read, StoredFile.bytes_at])
def test_a_length_is_checked_before_anything_is_allocated(path: Path, read: Any) -> None:
    with StoredFile(path) as file:
        tracemalloc.start()
        refusal(path, lambda: read(file, 0, HUGE))
        refusal(path, lambda: file.array(0, np.dtype("f8"), (HUGE, HUGE)))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        tracemalloc.stop()


def test_bytes_are_mapped_and_stay_when_the_file_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    path.write_bytes(CONTENT)
    with StoredFile(path) as file:
        data = file.bytes_at(5, 3)
    assert file.raw.closed
    assert type(data) is np.ndarray
    assert not data.flags.writeable
    with path.open("r+b") as again:
        again.seek(5)
        again.write(b"abc")
    assert data.tobytes() == b"abc"


@given(
    shape=st.lists(st.integers(0, 4), max_size=3).map(tuple),
    dtype=st.sampled_from(["<f4", ">f4", "<u2", "|i1", "<c8"]),
    order=st.sampled_from("CF"),
    offset=st.integers(0, 7),
)
def test_an_array_is_what_numpy_makes_of_the_bytes(
    path: Path, shape: tuple[int, ...], dtype: str, order: Any, offset: int
) -> None:
    expected = np.ndarray(shape, dtype, CONTENT, offset, order=order)
    with StoredFile(path) as file:
        found = file.array(offset, np.dtype(dtype), shape, order=order)
    assert (found.shape, found.dtype) == (shape, np.dtype(dtype))
    assert found.tobytes() == expected.tobytes()
    assert found.strides == expected.strides or found.size <= 1
    assert not found.flags.writeable


@pytest.mark.parametrize(
    ("count", "dtype", "shape", "message"),
    [
        (16, "f4", (5,), "16 bytes are not (5,) of float32"),
        (3, "f4", (), "3 bytes are not () of float32"),
        (0, "f4", (0, HUGE, HUGE), f"NumPy cannot hold shape {(0, HUGE, HUGE)}"),
        (0, "u1", (0,) * 65, f"NumPy cannot hold shape {(0,) * 65}"),
    ],
)
def test_bytes_that_are_no_such_array_are_refused(
    count: int, dtype: str, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ReadError) as caught:
        as_array(np.zeros(count, np.uint8), np.dtype(dtype), shape, "w.bin: tensor 'w'")
    assert str(caught.value) == f"w.bin: tensor 'w': {message}"


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path):
        assert refusal(path, lambda path=path: StoredFile(path)) == (
            "it cannot be opened: it is no regular file"
        )
        assert StoredFile.peek(path, 8) == b""


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing", "No such file or directory"),
        ("x" * 300, "File name too long"),
        ("w.bin/below", "Not a directory"),
        ("a\nb", "No such file or directory"),
        ("a\0b", "embedded null byte"),
    ],
)
def test_what_cannot_be_opened_says_why(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "w.bin").touch()
    path = tmp_path / name
    message = refusal(path, lambda: StoredFile(path))
    assert message == f"it cannot be opened: {reason}"
    assert StoredFile.peek(path, 8) == b""
    assert not is_file(path)
    assert not is_folder(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read all")
def test_a_file_without_permission_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    path.touch(mode=0)
    message = refusal(path, lambda: StoredFile(path))
    assert message == "it may not be read; check its permissions"


def test_a_file_cut_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    path.write_bytes(bytes(1 << 20))
    with StoredFile(path) as file:
        path.write_bytes(bytes(1 << 10))
        message = "it was cut off while it was read; read it again"
        assert refusal(path, lambda: file.read(0, 1 << 20)) == message
        message = refusal(path, lambda: file.bytes_at(0, 1 << 20))
        assert message.startswith("it cannot be mapped: ")


@pytest.mark.parametrize("count", [0, 4, 768, 5000])
def test_peek_gives_what_is_there(path: Path, count: int) -> None:
    assert StoredFile.peek(path, count) == CONTENT[:count]


def test_an_error_names_the_file_and_the_tensor(tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    path.touch()
    with StoredFile(path) as file:
        assert str(file.error("it is empty")) == f"{path}: it is empty"
        assert str(file.error("it is empty", "a\nb")) == rf"{path}: tensor 'a\nb': it is empty"
        with pytest.raises(ReadError, match=r"w\.bin: tensor 'w': truncated: bytes 0 to 1"):
            file.read(0, 1, "w")


@given(st.text(max_size=400))
def test_a_name_is_shown_on_one_line_of_bounded_length(name: str) -> None:
    assert quoted(name).isprintable()
    assert len(quoted(name)) <= 200 * len(r"\U0010ffff") + 2
    assert shown(Path("m") / name.replace("/", "")).isprintable()


def test_a_folder_is_listed_in_order_or_says_why_not(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        (tmp_path / name).touch()
    assert [path.name for path in listed(tmp_path)] == ["a", "b", "c"]
    message = refusal(tmp_path / "a", lambda: listed(tmp_path / "a"))
    assert message == "it cannot be listed: Not a directory"
    assert (is_file(tmp_path / "a"), is_folder(tmp_path)) == (True, True)


@settings(max_examples=20)
@given(st.binary(max_size=9))
def test_a_file_of_any_bytes_has_its_size(tmp_path_factory: Any, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.bin"
    path.write_bytes(content)
    with StoredFile(path) as file:
        assert file.read(0, file.size) == content

"""Whatever ends a writer, a file is the old one or the new one, and nothing lies beside it."""

from __future__ import annotations

import os
import re
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from qcore import QcoreError, ReadError, UsageError
from qcore.whole_file import replacing, write

HALFWAY = """
import sys, time
from pathlib import Path
from qcore.whole_file import replacing

with replacing(Path(sys.argv[1]), 1000) as file:
    file.write(b"new")
    file.flush()
    print("halfway", flush=True)
    time.sleep(60)
"""

TOO_MUCH = """
import sys
from pathlib import Path
from qcore.errors import QcoreError, UsageError
from qcore.whole_file import replacing, write

limit, path = int(sys.argv[1]), Path(sys.argv[2])
try:
    if sys.argv[3] == "reserved":
        with replacing(path, limit + 1):
            print("the block was entered")
    elif sys.argv[3] == "written":
        with replacing(path) as file:
            file.write(bytes(limit + 1))
    else:
        write(path, "x" * (limit + 1))
except QcoreError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with something in it, alone in its folder."""
    path = tmp_path / "a file"
    path.write_text("old")
    return path


def alone(path: Path) -> bool:
    return list(path.parent.iterdir()) == [path]


# --- what is written ------------------------------------------------------------------------------


def test_a_new_file_holds_the_text_and_may_be_read_by_whom_the_system_says(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    path = tmp_path / "new"
    write(path, "wörd\n")
    assert path.read_bytes() == "wörd\n".encode()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_text_from_a_path_that_is_no_utf8_is_written_back_as_its_bytes(tmp_path: Path) -> None:
    write(tmp_path / "new", b"\xff/w".decode("utf-8", "surrogateescape"))
    assert (tmp_path / "new").read_bytes() == b"\xff/w"


def test_a_replaced_file_keeps_its_permissions(file: Path) -> None:
    file.chmod(0o640)
    write(file, "new")
    assert file.read_text() == "new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert alone(file)


def test_a_link_stays_and_what_it_leads_to_is_replaced(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    link = folder / "link"
    link.symlink_to(file)
    write(link, "new")
    assert link.is_symlink()
    assert file.read_text() == "new"
    assert list(folder.iterdir()) == [link]


def test_another_name_of_the_old_file_keeps_it(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.hardlink_to(file)
    write(file, "new")
    assert (file.read_text(), other.read_text()) == ("new", "old")


def test_until_the_block_ends_the_old_file_is_there(file: Path) -> None:
    with replacing(file) as new:
        new.write(b"new")
        new.flush()
        assert file.read_text() == "old"
    assert file.read_text() == "new"


def test_what_is_reserved_and_not_written_is_zero(tmp_path: Path) -> None:
    with replacing(tmp_path / "new", 10) as new:
        new.seek(4)
        new.write(b"w")
    assert (tmp_path / "new").read_bytes() == b"\0\0\0\0w\0\0\0\0\0"


def test_of_two_writers_the_last_to_end_is_heard_and_each_is_whole(file: Path) -> None:
    with replacing(file) as one, replacing(file) as two:
        one.write(b"one")
        two.write(b"two, longer")
    assert file.read_text() == "one"
    assert alone(file)


@pytest.mark.parametrize("name", ["n" * 255, "ü" * 127, "名" * 85])
def test_the_longest_name_that_a_file_may_have_is_no_longer_while_it_is_written(
    tmp_path: Path, name: str
) -> None:
    write(tmp_path / name, "new")
    assert (tmp_path / name).read_text() == "new"
    assert alone(tmp_path / name)


# --- what is not ----------------------------------------------------------------------------------


def fill(file: Path, error: BaseException) -> None:
    with replacing(file, 100) as new:
        new.write(b"new")
        raise error


@pytest.mark.parametrize("error", [ValueError("odd"), KeyboardInterrupt(), ReadError("no more")])
def test_an_error_in_the_block_leaves_the_old_file_alone(file: Path, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        fill(file, error)
    assert caught.value is error
    assert file.read_text() == "old"
    assert alone(file)


def test_the_operating_system_s_errors_are_one_line_with_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "absent" / "f", tmp_path / "file" / "f", tmp_path / ("n" * 256)):
        line = f"cannot write '{re.escape(str(path))}': .+"
        with pytest.raises(UsageError, match=f"^{line}$"):
            write(path, "new")
        with pytest.raises(UsageError, match=f"^{line}$"), replacing(path):
            pytest.fail("the block was entered")
    assert alone(tmp_path / "file")


def test_what_is_no_regular_file_is_never_replaced(tmp_path: Path) -> None:
    folder, pipe = tmp_path / "folder", tmp_path / "pipe"
    folder.mkdir()
    os.mkfifo(pipe)
    for path in (folder, pipe, Path("/dev/null")):
        with pytest.raises(UsageError, match="no regular file"), replacing(path):
            pytest.fail("the block was entered")
    assert folder.is_dir()
    assert pipe.is_fifo()
    assert Path("/dev/null").is_char_device()


def test_text_goes_into_a_pipe_or_a_device(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    heard: list[str] = []
    listener = threading.Thread(target=lambda: heard.append(pipe.read_text()))
    listener.start()
    write(pipe, "new")
    listener.join(10)
    assert heard == ["new"]
    write(Path("/dev/null"), "new")
    with pytest.raises(QcoreError, match=r"^cannot write '/dev/full': No space left"):
        write(Path("/dev/full"), "new")


# --- a process that ends --------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("old", ["old", None])
def test_a_killed_writer_leaves_the_old_file_or_none(
    tmp_path: Path, number: signal.Signals, old: str | None
) -> None:
    path = tmp_path / "file"
    if old is not None:
        path.write_text(old)
    command = [sys.executable, "-c", HALFWAY, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"halfway\n"
        parts = [found for found in tmp_path.iterdir() if found != path]
        assert [part.read_bytes().rstrip(b"\0") for part in parts] == [b"new"]
        process.send_signal(number)
        assert process.wait(10) != 0
    assert (path.read_text() if path.exists() else None) == old
    beside = [found for found in tmp_path.iterdir() if found != path]
    assert beside == (parts if number == signal.SIGKILL else [])
    write(path, "new")  # what is left is in nobody's way
    assert path.read_text() == "new"


# --- a full disk ----------------------------------------------------------------------------------


def too_much(path: Path, how: str, limit: int = 1 << 20, limited: bool = True) -> str:
    """What a process says that writes more than the limit."""

    def limit_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        [sys.executable, "-c", TOO_MUCH, str(limit), str(path), how],
        preexec_fn=limit_files if limited else None,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize("how", ["reserved", "written", "text"])
def test_a_file_that_may_not_grow_so_large_leaves_the_old_one(file: Path, how: str) -> None:
    assert too_much(file, how) == f"QcoreError cannot write '{file}': File too large\n"
    assert file.read_text() == "old"
    assert alone(file)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "qcore-test", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("how", ["reserved", "written", "text"])
def test_a_full_disk_leaves_the_old_file(small_disk: Path, how: str) -> None:
    file = small_disk / "file"
    file.write_text("old")
    said = too_much(file, how, limit=1 << 16, limited=False)
    assert said == f"QcoreError cannot write '{file}': No space left on device\n"
    assert file.read_text() == "old"
    assert alone(file)

"""A zip's members are those zipfile sees, and no directory or member is believed or blown up."""

from __future__ import annotations

import io
import itertools
import os
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.builtin.readers import zip_archive
from qcore.builtin.readers.zip_archive import LARGEST_DIRECTORY, Inflater, Member
from qcore.errors import ReadError
from qcore.stored_file import StoredFile

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
DAMAGE = "its zip directory is damaged or cut off; save or copy it again"
OVER = f"its zip directory is over {LARGEST_DIRECTORY} bytes; refused"
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("zip") / "m.zip"


def archive(path: Path, *members: tuple[str, bytes], method: int = STORED) -> bytearray:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in members:
            file.writestr(name, data)
    return bytearray(path.read_bytes())


def members(path: Path) -> dict[str, Member]:
    with StoredFile(path) as file:
        return zip_archive.members(file)


def content(path: Path, name: str) -> bytes:
    """What a member holds, read as readers do."""
    with StoredFile(path) as file:
        member = zip_archive.members(file)[name]
        start = zip_archive.stored_at(file, member, name)
        if start is not None:
            return file.read(start, member.size)
        return zip_archive.inflater(file, member, name).rest(member.size).tobytes()


def refusal(path: Path, work: Callable[[Path], object] = members) -> str:
    with pytest.raises(ReadError) as caught:
        work(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message.removeprefix(f"{path}: ")


def entry(name: bytes, header: int, size: int = 0) -> bytes:
    """A member's entry in a directory, without extras."""
    fields = (20, 20, 0, STORED, 0, 33, 0, size, size, len(name), 0, 0, 0, 0, 0, header)
    return struct.pack("<4s6H3I5H2I", b"PK\1\2", *fields) + name


def end(count: int, size: int, offset: int, comment: bytes = b"") -> bytes:
    fields = (0, 0, min(count, 0xFFFF), min(count, 0xFFFF), size, offset, len(comment))
    return struct.pack("<4s4H2IH", b"PK\5\6", *fields) + comment


def end_64(count: int, size: int, offset: int) -> bytes:
    """The end of an archive that needs 64 bits; it lies where the directory ends."""
    record = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, offset)
    place = struct.pack("<4sIQI", b"PK\6\7", 0, offset + size, 1)
    return record + place + end(0xFFFF, 2**32 - 1, 2**32 - 1)


def crowded(size: int) -> bytes:
    """As many members as a directory of at most `size` bytes can have, each of them empty."""
    names = (b"%x" % number for number in itertools.count())
    entries: list[bytes] = []
    while size >= 0:
        entries.append(entry(next(names), 30 * len(entries)))
        size -= len(entries[-1])
    directory = b"".join(entries[:-1])
    body = (b"PK\3\4" + bytes(26)) * (len(entries) - 1)
    return body + directory + end(len(entries) - 1, len(directory), len(body))


@settings(deadline=None)
@given(
    data=st.dictionaries(NAMES, st.binary(max_size=300), max_size=5),
    method=st.sampled_from([STORED, DEFLATED]),
    comment=st.binary(max_size=40).filter(lambda comment: b"PK" not in comment),
    before=st.binary(max_size=20),
)
def test_members_are_those_that_zipfile_sees(
    scratch: Path, data: dict[str, bytes], method: int, comment: bytes, before: bytes
) -> None:
    scratch.write_bytes(before)
    with zipfile.ZipFile(scratch, "a", method) as file:
        file.comment = comment
        for name, value in data.items():
            file.writestr(zipfile.ZipInfo(name), value, method)
    with zipfile.ZipFile(scratch) as file:
        expected = {info.filename: file.read(info) for info in file.infolist()}
    assert {name: content(scratch, name) for name in members(scratch)} == expected


def test_a_member_with_64_bit_sizes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.zip"
    with (
        zipfile.ZipFile(path, "w", DEFLATED) as file,
        file.open("w", "w", force_zip64=True) as member,
    ):
        member.write(b"abc" * 99)
    assert content(path, "w") == b"abc" * 99


def test_a_directory_with_a_64_bit_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.zip"
    body = b"PK\3\4" + bytes(26) + b"abc"
    directory = entry(b"w", 0, 3)
    path.write_bytes(body + directory + end_64(1, len(directory), len(body)))
    assert content(path, "w") == b"abc"


@settings(deadline=None)
@given(count=st.integers(0, 9000), step=st.integers(1, 9000), level=st.integers(0, 9))
def test_reading_in_any_steps_gives_the_same_bytes(count: int, step: int, level: int) -> None:
    data = bytes(i * i % 7 for i in range(count))
    packer = zlib.compressobj(level, DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(data) + packer.flush()
    stream = Inflater(io.BytesIO(packed).read, len(packed), zlib.crc32(data), "w")
    parts = []
    while part := stream.read(step):
        assert len(part) == step or sum(map(len, parts)) + len(part) == count
        parts.append(part)
    assert b"".join(parts) == data


def test_the_first_bytes_of_a_long_member_cost_few_bytes() -> None:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = io.BytesIO(packer.compress(os.urandom(1 << 20)) + packer.flush())
    Inflater(packed.read, 1 << 20, 0, "w").read(8)
    assert packed.tell() <= 1 << 12


# Directories


def test_as_many_members_as_are_allowed_take_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "m.zip"
    path.write_bytes(crowded(LARGEST_DIRECTORY))
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from qcore.builtin.readers import zip_archive\n"
        "from qcore.stored_file import StoredFile\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "with StoredFile(Path(sys.argv[1])) as file:\n"
        "    print(len(zip_archive.members(file)), peak() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    count, kilobytes = map(int, done.stdout.split())
    assert count > 20_000
    assert kilobytes < 64 << 10


def too_large() -> tuple[bytes, int]:
    directory = entry(b"w", 0) * (LARGEST_DIRECTORY // 47 + 1)
    return directory, directory.count(b"PK\1\2")


def plain() -> bytes:
    directory, count = too_large()
    return directory + end(count, len(directory), 0)


def with_64_bits() -> bytes:
    directory, count = too_large()
    return directory + end_64(count, len(directory), 0)


def with_an_end_inside_its_end() -> bytes:
    """The offset of the directory reads as the mark of another end."""
    directory, count = too_large()
    return directory + end(count, len(directory), int.from_bytes(b"PK\5\6", "little"))


def only_promised() -> bytes:
    return end_64(1, 1 << 40, 0)


@pytest.mark.parametrize(
    ("bomb", "message"),
    [
        (plain, OVER),
        (with_64_bits, OVER),
        (with_an_end_inside_its_end, OVER),
        (only_promised, DAMAGE),
    ],
)
def test_a_directory_made_to_fill_memory_is_never_read(
    tmp_path: Path, bomb: Callable[[], bytes], message: str
) -> None:
    path = tmp_path / "m.zip"
    path.write_bytes(bomb())
    tracemalloc.start()
    assert refusal(path) == message
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_directory_of_a_sparse_file_is_never_read(tmp_path: Path) -> None:
    path = tmp_path / "m.zip"
    size = 3 << 30
    with path.open("wb") as file:
        file.truncate(size)
        file.seek(size)
        file.write(end(1, size, 0))
    assert refusal(path) == OVER


@pytest.mark.parametrize("size", [0, 1, 21, 22, 100])
def test_what_has_no_directory_is_damaged(tmp_path: Path, size: int) -> None:
    path = tmp_path / "m.zip"
    path.write_bytes(bytes(size))
    assert refusal(path) == DAMAGE


def test_members_that_share_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.zip"
    found = archive(path, ("a\n", b"x" * 50), ("b", b"y" * 50))
    struct.pack_into("<I", found, found.rindex(b"PK\1\2") + 42, 40)
    path.write_bytes(found)
    assert refusal(path) == r"members 'a\n' and 'b' overlap; refused as a zip bomb"


def test_a_name_met_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.zip"
    found = archive(path, ("a", b"x"), ("b", b"y"))
    path.write_bytes(found[:-22].replace(b"b", b"a") + found[-22:])
    assert refusal(path) == "two members are named 'a'; save it again"


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.zip"
    found = archive(path, ("a", b"x"))
    struct.pack_into("<H", found, found.index(b"PK\1\2") + 8, 1)
    path.write_bytes(found)
    assert refusal(path) == "member 'a' is encrypted; save it again without a password"


# Members


@pytest.mark.parametrize(
    ("method", "field", "form", "value", "message"),
    [
        (STORED, 42, "<I", 1 << 30, f"truncated: it should begin at byte {1 << 30} of 1100"),
        (STORED, 42, "<I", 5, "no zip member begins at byte 5; copy it again"),
        (STORED, 24, "<I", 999, "1000 bytes are stored for 999; save it again"),
        (DEFLATED, 24, "<I", 1 << 30, "refused as a zip bomb"),
        (DEFLATED, 24, "<I", 999, "it inflates to more than its 999 bytes of data"),
        (DEFLATED, 24, "<I", 1001, "truncated: 1001 bytes of data expected, 1000 there; save or "),
        (DEFLATED, 16, "<I", 7, "its checksum is wrong; save or copy it again"),
        (DEFLATED, 10, "<H", 14, "zip method 14 is not read; save it uncompressed, or deflated"),
    ],
)
def test_a_member_that_is_not_what_the_directory_says_is_refused(
    tmp_path: Path, method: int, field: int, form: str, value: int, message: str
) -> None:
    path = tmp_path / "m.zip"
    found = archive(path, ("w", bytes(1000)), method=method)
    struct.pack_into(form, found, found.index(b"PK\1\2") + field, value)
    path.write_bytes(found)
    refused = refusal(path, lambda path: content(path, "w"))
    assert refused.startswith("tensor 'w': ")
    assert message in refused


@settings(deadline=None)
@given(
    method=st.sampled_from([STORED, DEFLATED]),
    cut=st.integers(0, 60),
    damage=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6),
)
def test_damaged_bytes_raise_only_read_error(
    scratch: Path, method: int, cut: int, damage: list[tuple[int, int]]
) -> None:
    scratch.unlink(missing_ok=True)
    found = archive(scratch, ("a", bytes(99)), ("b", b"y" * 99), method=method)
    for place, byte in damage:
        found[-1 - place % len(found)] = byte
    scratch.write_bytes(found[: len(found) - cut])
    message = ""
    try:
        for name in members(scratch):
            content(scratch, name)
    except ReadError as error:
        message = str(error)
    assert message.isprintable()

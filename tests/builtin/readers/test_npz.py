"""NpzReader agrees with np.load on what np.savez writes, and refuses everything else."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qcore.builtin.readers.npz import NpzReader
from qcore.errors import ReadError

READER = NpzReader()
ARRAYS = hnp.arrays(
    st.one_of(
        hnp.boolean_dtypes(),
        hnp.integer_dtypes(endianness="?"),
        hnp.floating_dtypes(endianness="?"),
        hnp.complex_number_dtypes(endianness="?"),
    ),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
)
SAVES = pytest.mark.parametrize("save", [np.savez, np.savez_compressed])


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("npz") / "m.npz"


def saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def archive(
    path: Path,
    members: list[tuple[str, bytes]],
    method: int = zipfile.ZIP_STORED,
    edit: Callable[[bytearray], None] = lambda content: None,
) -> Path:
    """A zip of any members, its bytes then edited."""
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", method) as file:
        warnings.simplefilter("ignore")  # zipfile warns of duplicate names
        for name, data in members:
            file.writestr(name, data)
    content = bytearray(path.read_bytes())
    edit(content)
    path.write_bytes(content)
    return path


def directory_field(offset: int, form: str, value: int) -> Callable[[bytearray], None]:
    """Overwrites a field of the first entry of the archive's directory."""

    def edit(content: bytearray) -> None:
        struct.pack_into(form, content, content.index(b"PK\x01\x02") + offset, value)

    return edit


def packed_size(value: int) -> Callable[[bytearray], None]:
    return directory_field(20, "<I", value)


def size(value: int) -> Callable[[bytearray], None]:
    return directory_field(24, "<I", value)


def refusal(path: Path, read: bool = False) -> str:
    """The one-line message of the ReadError, without the file's name that it begins with."""

    def steps() -> None:
        infos = list(READER.tensors(path))
        if read:
            for info in infos:
                READER.read(info)

    with pytest.raises(ReadError) as caught:
        steps()
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message.removeprefix(f"{path}: ")


@settings(deadline=None)
@given(arrays=st.lists(ARRAYS, max_size=4), fortran=st.booleans(), compress=st.booleans())
def test_what_np_savez_writes_is_read_as_np_load_reads_it(
    scratch: Path, arrays: list[np.ndarray], fortran: bool, compress: bool
) -> None:
    arrays = [np.asarray(array, order="F" if fortran else "C") for array in arrays]
    (np.savez_compressed if compress else np.savez)(scratch, *arrays)
    infos = list(READER.tensors(scratch))
    with np.load(scratch) as expected:
        assert [info.name for info in infos] == expected.files
        for info in infos:
            got, want = READER.read(info), expected[info.name]
            assert (info.shape, info.dtype, info.path) == (want.shape, want.dtype.name, scratch)
            assert got.dtype == want.dtype
            assert got.strides == want.strides or got.size <= 1
            assert got.tobytes("A") == want.tobytes("A")
            assert type(got) is np.ndarray
            assert not got.flags.writeable


@SAVES
def test_names_are_the_members_without_their_suffix(tmp_path: Path, save: Any) -> None:
    path = tmp_path / "m.npz"
    save(path, **{"layer/0.weight": np.zeros(2), "größe": np.ones(3)})
    assert [info.name for info in READER.tensors(path)] == ["layer/0.weight", "größe"]


def test_a_stored_member_is_mapped_and_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    np.savez(path, a=np.zeros(4, np.float32), b=np.full(3, 7, np.int32))
    first, second = (READER.read(info) for info in READER.tensors(path))
    content = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(content.index(np.full(3, 7, np.int32).tobytes()))
        file.write(np.int32(9).tobytes())
    assert second.tolist() == [9, 7, 7]
    assert first.tolist() == [0, 0, 0, 0]


def test_a_deflated_member_longer_than_the_buffer_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    array = np.random.default_rng(0).integers(0, 9, (700, 900))
    np.savez_compressed(path, a=array)
    (info,) = READER.tensors(path)
    np.testing.assert_array_equal(READER.read(info), array)


def test_the_most_that_deflate_can_do_is_no_bomb(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    np.savez_compressed(path, a=np.zeros(10_000_000, np.uint8))
    (info,) = READER.tensors(path)
    assert not READER.read(info).any()


@SAVES
def test_threads_read_at_the_same_time(tmp_path: Path, save: Any) -> None:
    path = tmp_path / "m.npz"
    save(path, *[np.full((50, 50), i) for i in range(20)])
    with ThreadPoolExecutor(4) as pool:
        arrays = list(pool.map(READER.read, READER.tensors(path)))
    assert [int(array.min()) for array in arrays] == list(range(20))


def test_members_that_are_no_npy_files_are_ignored(tmp_path: Path) -> None:
    members = [("README.txt", b"hello"), ("w.npy", saved(np.ones(2))), ("folder/", b"")]
    (info,) = READER.tensors(archive(tmp_path / "m.npz", members))
    assert (info.name, READER.read(info).tolist()) == ("w", [1, 1])


def test_an_empty_archive_holds_nothing(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.bin", [])
    assert READER.sniff(path)
    assert list(READER.tensors(path)) == []


def test_sniff_goes_by_content(tmp_path: Path) -> None:
    zipped, damaged, start = tmp_path / "a.bin", tmp_path / "b.npz", tmp_path / "c.npz"
    np.savez(tmp_path / "a.npz", np.zeros(2))
    (tmp_path / "a.npz").rename(zipped)
    damaged.write_bytes(zipped.read_bytes()[:-10])
    start.write_bytes(b"PK")
    assert READER.sniff(zipped)
    others = [damaged, start, tmp_path / "missing.npz", tmp_path]
    assert not any(READER.sniff(path) for path in others)
    assert not READER.sniff(archive(tmp_path / "model.pt", [("archive/data.pkl", b"x")]))


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.sprung,)


@SAVES
def test_a_pickle_is_listed_and_never_run(tmp_path: Path, save: Any) -> None:
    path, sprung = tmp_path / "m.npz", tmp_path / "sprung"
    save(path, ok=np.ones(2), bad=np.array([Trap(sprung)]))
    ok, bad = READER.tensors(path)
    assert (bad.dtype, bad.shape) == ("object", (1,))
    assert READER.read(ok).tolist() == [1, 1]
    with pytest.raises(ReadError) as caught:
        READER.read(bad)
    message = "holds Python objects, and qcore never unpickles; save it as numbers"
    assert str(caught.value) == f"{path}: tensor 'bad': {message}"
    assert not sprung.exists()
    with np.load(path, allow_pickle=True) as trusted:
        trusted["bad"]
    assert sprung.exists()  # the trap works


NPY = saved(np.arange(100.0))
STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
PACKED = len(zlib.compress(NPY)) - 6  # without zlib's own header and checksum
ZIP_DAMAGE = "its zip directory is damaged or cut off; save or copy it again"


@pytest.mark.parametrize(
    ("method", "edit", "message"),
    [
        (STORED, lambda content: content.clear(), ZIP_DAMAGE),
        (STORED, lambda content: content.__delitem__(slice(-30, None)), ZIP_DAMAGE),
        (STORED, lambda content: content.__delitem__(slice(10, None)), ZIP_DAMAGE),
        (
            STORED,
            lambda content: content.__setitem__(slice(0, 4), b"KP\3\4"),
            "tensor 'w': no zip member begins at byte 0; copy it again",
        ),
        (STORED, size(10), "tensor 'w': 928 bytes are stored for 10; save it again"),
        (
            STORED,
            packed_size(2**31),
            "tensor 'w': truncated: it should end at byte 2147483683 of 1036; "
            "save or copy it again",
        ),
        (
            STORED,
            directory_field(42, "<I", 1020),
            "tensor 'w': truncated: it should begin at byte 1020 of 1036",
        ),
        (
            STORED,
            lambda content: (packed_size(900)(content), size(900)(content)),
            "tensor 'w': truncated: a float64 array of shape (100,) needs 800 bytes of data and "
            "772 are there; save or copy it again",
        ),
        (
            STORED,
            directory_field(8, "<H", 1),
            "member 'w.npy' is encrypted; save it again without a",
        ),
        (
            DEFLATED,
            directory_field(10, "<H", 12),
            "tensor 'w': zip method 12 is not read; save it uncompressed, or deflated",
        ),
        (
            DEFLATED,
            size(2**31),
            f"tensor 'w': 2147483648 bytes from {PACKED} compressed ones is more than deflate can; "
            "refused as a zip bomb",
        ),
        (
            DEFLATED,
            size(929),
            "tensor 'w': trailing data: a float64 array of shape (100,) needs 800 bytes of data "
            "and 801 are there; save or copy it again",
        ),
        (
            DEFLATED,
            size(800),
            "tensor 'w': truncated: a float64 array of shape (100,) needs 800 bytes of data and "
            "672 are there; save or copy it again",
        ),
        (
            DEFLATED,
            lambda content: content.__setitem__(slice(35, 45), b"\xff" * 10),
            "tensor 'w': its compressed data is damaged",
        ),
        (DEFLATED, packed_size(4), "tensor 'w': truncated: its .npy header is cut off: 8 bytes"),
    ],
)
def test_damage_is_named_when_listing(
    tmp_path: Path, method: int, edit: Callable[[bytearray], None], message: str
) -> None:
    path = archive(tmp_path / "m.npz", [("w.npy", NPY)], method, edit)
    assert refusal(path).startswith(message)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (packed_size(150), "tensor 'w': truncated: 800 bytes of data expected, "),
        (
            directory_field(16, "<I", 0),
            "tensor 'w': its checksum is wrong; save or copy it again",
        ),
    ],
)
def test_damage_in_compressed_data_is_named_when_reading(
    tmp_path: Path, edit: Callable[[bytearray], None], message: str
) -> None:
    path = archive(tmp_path / "m.npz", [("w.npy", NPY)], DEFLATED, edit)
    assert len(list(READER.tensors(path))) == 1
    assert refusal(path, read=True).startswith(message)


def test_a_member_that_inflates_to_more_than_declared_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.npz", [("w.npy", NPY + bytes(10**6))], DEFLATED, size(len(NPY)))
    message = "tensor 'w': it inflates to more than its 800 bytes of data"
    assert refusal(path, read=True) == message


def test_what_no_memory_can_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.npz"
    np.savez_compressed(path, w=np.zeros(100))

    def full(*args: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "empty", full)
    message = "800 bytes of memory are needed and not there; save it uncompressed to map it"
    assert refusal(path, read=True) == f"tensor 'w': {message}"


def test_a_bad_header_inside_names_the_tensor(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.npz", [("a\nb.npy", b"\x93NUMPY\x09\0")])
    assert refusal(path) == r"tensor 'a\nb': .npy version 9.0 is unknown; save it again"


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.npz", [("w.npy", NPY), ("w.npy", NPY)])
    assert refusal(path) == "two members are named 'w.npy'; save it again"


def test_members_that_share_bytes_are_refused(tmp_path: Path) -> None:
    def second_onto_first(content: bytearray) -> None:
        struct.pack_into("<I", content, content.rindex(b"PK\x01\x02") + 42, 0)

    members = [("a.npy", NPY), ("b.npy", NPY)]
    path = archive(tmp_path / "m.npz", members, DEFLATED, second_onto_first)
    assert refusal(path) == "members 'a.npy' and 'b.npy' overlap; refused as a zip bomb"


def test_a_zip_of_something_else_is_named(tmp_path: Path) -> None:
    path = archive(tmp_path / "model.pt", [("archive/data.pkl", b"x")])
    message = "it is a zip archive without .npy members; give an .npz or .safetensors file"
    assert refusal(path) == message


@SAVES
def test_an_archive_that_changed_after_listing_is_refused(tmp_path: Path, save: Any) -> None:
    path = tmp_path / "m.npz"
    save(path, w=np.zeros((2, 3)))
    (info,) = READER.tensors(path)
    save(path, w=np.zeros((3, 2)))
    with pytest.raises(ReadError, match="tensor 'w': it has changed since it was listed; list it"):
        READER.read(info)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ReadError, match="tensor 'w': truncated: it should end at byte"):
        READER.read(info)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "m.npz") == "it cannot be opened: No such file or directory"


@settings(deadline=None)
@given(
    compress=st.booleans(),
    cut=st.integers(0, 40),
    damage=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=6),
)
def test_damaged_bytes_raise_only_read_error(
    scratch: Path, compress: bool, cut: int, damage: list[tuple[int, int]]
) -> None:
    (np.savez_compressed if compress else np.savez)(scratch, a=np.arange(9.0), b=np.ones(3, "u1"))
    content = bytearray(scratch.read_bytes())
    for place, byte in damage:
        content[-1 - place % len(content)] = byte
    scratch.write_bytes(content[: len(content) - cut])
    READER.sniff(scratch)
    message = ""
    try:
        for info in READER.tensors(scratch):
            READER.read(info)
    except ReadError as error:
        message = str(error)
    assert message.isprintable()

"""NpyReader agrees with np.load on what np.save writes, and refuses everything else in one line."""

from __future__ import annotations

import io
import os
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qcore.builtin.readers.npy import NpyReader
from qcore.errors import ReadError
from qcore.interfaces.reader import TensorInfo

READER = NpyReader()
DTYPES = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?"),
    hnp.complex_number_dtypes(endianness="?"),
)
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("npy") / "w.npy"


def saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npy(header: str, data: bytes = b"", version: int = 1) -> bytes:
    """An .npy file with any text for its header."""
    text = header.encode("latin1")
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + data


def described(shape: object, descr: object = "<f4", fortran_order: object = False) -> str:
    return str({"descr": descr, "fortran_order": fortran_order, "shape": shape})


def only(path: Path) -> TensorInfo:
    (info,) = READER.tensors(path)
    return info


def refusal(path: Path, content: bytes, step: Any = only) -> str:
    """The one-line message of the ReadError, without the file's name that it begins with."""
    path.write_bytes(content)
    with pytest.raises(ReadError) as caught:
        step(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message.removeprefix(f"{path}: ")


@settings(deadline=None)
@given(array=ARRAYS, fortran=st.booleans())
def test_what_np_save_writes_is_read_as_np_load_reads_it(
    scratch: Path, array: np.ndarray, fortran: bool
) -> None:
    np.save(scratch, np.asarray(array, order="F" if fortran else "C"))
    info = only(scratch)
    assert info == TensorInfo("w", array.shape, array.dtype.name, scratch)
    got, expected = READER.read(info), np.load(scratch)
    assert got.dtype == expected.dtype
    assert got.strides == expected.strides or got.size <= 1
    assert got.tobytes("A") == expected.tobytes("A")
    assert type(got) is np.ndarray
    assert not got.flags.writeable


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_version_of_the_format_is_read(tmp_path: Path, version: int) -> None:
    path = tmp_path / "w.npy"
    with path.open("wb") as file:
        np.lib.format.write_array(file, np.arange(6.0).reshape(2, 3), version=(version, 0))
    np.testing.assert_array_equal(READER.read(only(path)), [[0, 1, 2], [3, 4, 5]])


def test_lengths_as_python_2_wrote_them_are_read(tmp_path: Path) -> None:
    path = tmp_path / "w.npy"
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 1L), }\n"
    path.write_bytes(npy(header, np.float32([1, 2]).tobytes()))
    np.testing.assert_array_equal(READER.read(only(path)), [[1], [2]])


def test_the_data_is_mapped_and_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "w.npy"
    np.save(path, np.zeros(4, np.float32))
    got = READER.read(only(path))
    with path.open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(np.float32(7).tobytes())
    assert got[3] == 7


@pytest.mark.parametrize("name", ["w.npy", "w.bin", "W.NPY"])
def test_sniff_goes_by_content(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(saved(np.zeros(2)))
    assert READER.sniff(path)


def test_sniff_is_false_for_what_is_no_npy_file_whatever_its_name(tmp_path: Path) -> None:
    other, pipe, folder = tmp_path / "w.npy", tmp_path / "pipe.npy", tmp_path / "folder.npy"
    other.write_bytes(b"\x93NUMP")
    os.mkfifo(pipe)
    folder.mkdir()
    unlikely = [tmp_path / "missing.npy", Path("a\0b.npy"), Path("x" * 5000 + ".npy")]
    assert not any(READER.sniff(path) for path in [other, pipe, folder, *unlikely])


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.sprung,)


def test_a_pickle_is_listed_and_never_run(tmp_path: Path) -> None:
    path, sprung = tmp_path / "w.npy", tmp_path / "sprung"
    np.save(path, np.array([Trap(sprung)]))
    assert only(path) == TensorInfo("w", (1,), "object", path)
    with pytest.raises(ReadError) as caught:
        READER.read(only(path))
    message = "holds Python objects, and qcore never unpickles; save it as numbers"
    assert str(caught.value) == f"{path}: {message}"
    assert not sprung.exists()
    np.load(path, allow_pickle=True)
    assert sprung.exists()  # the trap works


@pytest.mark.parametrize(
    ("array", "dtype", "message"),
    [
        (np.array(["a", "bc"]), "str", "holds strings, and qcore never unpickles"),
        (np.array([b"a", b"bc"]), "bytes", "holds strings, and qcore never unpickles"),
        (np.zeros(2, "f4,i8"), "structured", "holds records, and qcore never unpickles"),
        (np.zeros(2, [("a", "O")]), "structured", "holds records, and qcore never unpickles"),
        (np.zeros(2, "V2"), "void16", r"holds bytes without a number type \(np.save drops bfloat"),
    ],
)
def test_what_holds_no_numbers_is_listed_and_not_read(
    tmp_path: Path, array: np.ndarray, dtype: str, message: str
) -> None:
    path = tmp_path / "w.npy"
    np.save(path, array)
    assert only(path) == TensorInfo("w", (2,), dtype, path)
    with pytest.raises(ReadError, match=f"^{re.escape(str(path))}: {message}"):
        READER.read(only(path))


ZEROS = saved(np.zeros((3, 4)))
DICT = "its .npy header is not a Python dict of constants; save it again"
LIMITS = "a tuple of at most 64 whole numbers from 0 to 2**63 - 1"
SHAPE = f"the shape in its .npy header is not {LIMITS}; save it again"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            ZEROS[:-16],
            "truncated: a float64 array of shape (3, 4) needs 96 bytes of data and 80 are there; "
            "save or copy it again",
        ),
        (
            ZEROS + b"\0",
            "trailing data: a float64 array of shape (3, 4) needs 96 bytes of data and 97 are "
            "there; save or copy it again",
        ),
        (
            b"\x93NU",
            "truncated: its .npy header is cut off: 8 bytes expected, 3 there; "
            "save or copy it again",
        ),
        (
            ZEROS[:40],
            "truncated: its .npy header needs 128 bytes and 40 are there; save or copy it again",
        ),
        (b"PK\x03\x04 and so on", "not an .npy array: it begins with b'PK\\x03\\x04 a', not "),
        (b"\x93NUMPY\x04\x00" + ZEROS[8:], ".npy version 4.0 is unknown; save it again"),
        (
            b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
            "truncated: its .npy header needs 4294967307 bytes and 12 are there",
        ),
        (
            npy(" " * 20_000, version=2),
            "its .npy header is 20000 bytes long; at most 10000 are read, as in NumPy",
        ),
        (npy("{'descr': "), DICT),
        (npy("__import__('os').abort()"), DICT),
        (npy("{[]: 1}"), DICT),
        (npy("(" * 9000), DICT),
        (npy("-" * 9000 + "1"), DICT),
        (npy("1" * 9000), DICT),
        (b"\x93NUMPY\x03\x00\x02\x00\x00\x00\xff\xff", DICT),
        (npy("{'a': '\0'}"), DICT),
        (npy("[1]"), "its .npy header must hold descr, fortran_order and shape, and nothing else"),
        (npy("{'descr': '<f4', 'shape': ()}"), "its .npy header must hold descr, fortran_order"),
        (npy(described([2])), SHAPE),
        (npy(described((-1,))), SHAPE),
        (npy(described((True,))), SHAPE),
        (npy(described((2.0,))), SHAPE),
        (npy(described((2**63,))), SHAPE),
        (npy(described((1,) * 65)), SHAPE),
        (npy(described((2,)).replace("2", "0x" + "f" * 9000)), SHAPE),
        (npy(described((1,), fortran_order=1)), "fortran_order in its .npy header is not True or"),
        (npy(described((2**40, 2**40))), f"truncated: a float32 array of shape ({2**40}, {2**40})"),
        (npy(described((1,), "<f3")), "descr '<f3' in its .npy header is no dtype; save it again"),
        (npy(described((1,), "T")), "descr 'T' in its .npy header is no dtype; save it again"),
        (npy(described((1,), "f4,f4")), "descr 'f4,f4' in its .npy header is no dtype"),
        (npy(described((1,), "a\nb")), "descr 'a\\nb' in its .npy header is no dtype"),
        (npy(described((1,), "S9999999999")), "descr 'S9999999999' in its .npy header is no dtype"),
        (npy(described((1,), 7)), "descr int in its .npy header is no dtype; save it again"),
    ],
)
def test_damage_is_named_when_listing(tmp_path: Path, content: bytes, message: str) -> None:
    assert refusal(tmp_path / "w.npy", content).startswith(message)


def test_a_shape_that_numpy_cannot_hold_is_refused(tmp_path: Path) -> None:
    shape = (0, 2**62, 2**62)
    content = npy(described(shape))
    message = refusal(tmp_path / "w.npy", content, lambda path: READER.read(only(path)))
    assert message == f"NumPy cannot hold shape {shape}"


@pytest.mark.parametrize("step", [only, lambda path: READER.read(TensorInfo("w", (1,), "f", path))])
def test_a_missing_file_is_named(tmp_path: Path, step: Any) -> None:
    path = tmp_path / "w.npy"
    with pytest.raises(ReadError) as caught:
        step(path)
    assert str(caught.value) == f"{path}: it cannot be opened: No such file or directory"


def test_a_file_name_that_would_break_the_line_is_quoted(tmp_path: Path) -> None:
    path = tmp_path / "a\nb.npy"
    with pytest.raises(ReadError) as caught:
        READER.tensors(path)
    assert str(caught.value).startswith(f"{str(path)!r}: it cannot be opened")


@pytest.mark.parametrize("later", [np.zeros(5, np.float32), np.zeros(4, np.int32)])
def test_a_file_that_changed_after_listing_is_refused(tmp_path: Path, later: np.ndarray) -> None:
    path = tmp_path / "w.npy"
    np.save(path, np.zeros(4, np.float32))
    info = only(path)
    np.save(path, later)
    with pytest.raises(ReadError, match=r"it has changed since it was listed; list it again$"):
        READER.read(info)


@settings(deadline=None)
@given(
    array=ARRAYS,
    cut=st.integers(0, 200),
    damage=st.lists(st.tuples(st.integers(0, 127), st.integers(0, 255)), max_size=4),
)
def test_damaged_bytes_raise_only_read_error(
    scratch: Path, array: np.ndarray, cut: int, damage: list[tuple[int, int]]
) -> None:
    content = bytearray(saved(array))
    for place, byte in damage:
        content[place] = byte
    scratch.write_bytes(content[: max(len(content) - cut, 0)])
    READER.sniff(scratch)
    message = ""
    try:
        READER.read(only(scratch))
    except ReadError as error:
        message = str(error)
    assert message.isprintable()


TYPESTRINGS = r"[<>|=]?[a-zA-Z?][0-9]{0,10}(\[[a-z0-9]{1,10}(/[0-9]{1,10})?\])?"


@settings(deadline=None)
@given(descr=st.from_regex(TYPESTRINGS, fullmatch=True))
def test_any_typestring_is_listed_or_refused(scratch: Path, descr: str) -> None:
    scratch.write_bytes(npy(described((0,), descr)))
    message = ""
    try:
        READER.read(only(scratch))
    except ReadError as error:
        message = str(error)
    assert message.isprintable()

"""A damaged or hostile GGUF file ends in a ReadError: soon, in little memory, on one line."""

from __future__ import annotations

import contextlib
import struct
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qcore
from qcore_gguf.ggml_types import TYPES
from qcore_gguf.reader import GgufReader

READER = GgufReader()
NUMBERS = {kind.name: number for number, kind in TYPES.items()}
UINT8, UINT32, BOOL, STRING, ARRAY, UINT64 = 0, 4, 7, 8, 9, 10
MOST = 2**64 - 1


def string(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text


def key(name: bytes, kind: int, value: bytes) -> bytes:
    return string(name) + struct.pack("<I", kind) + value


def array(kind: int, count: int, values: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, count) + values


def tensor(
    name: bytes = b"w", dims: tuple[int, ...] = (8,), kind: Any = "F32", offset: int = 0
) -> bytes:
    number = NUMBERS.get(kind, kind)
    return string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, number, offset)


def content(
    keys: list[bytes] | None = None,
    tensors: list[bytes] | None = None,
    data: int = 0,
    *,
    version: int = 3,
    counts: tuple[int, int] | None = None,
    alignment: int = 32,
) -> bytes:
    """A file of any header, with `data` bytes behind it."""
    keys, tensors = keys or [], tensors or []
    counted = struct.pack("<IQQ", version, *(counts or (len(tensors), len(keys))))
    header = b"GGUF" + counted + b"".join(keys + tensors)
    return header + bytes(-len(header) % alignment) + bytes(data)


SOUND = content(
    [
        key(b"general.alignment", UINT32, struct.pack("<I", 16)),
        key(b"a", STRING, string(b"text")),
        key(b"b", ARRAY, array(STRING, 2, string(b"x") + string(b""))),
        key(b"c", ARRAY, array(ARRAY, 2, array(UINT8, 3, b"abc") + array(BOOL, 0))),
        key(b"d", UINT64, bytes(8)),
    ],
    [
        tensor(b"plain", (4, 2), "F16"),
        tensor("größer".encode(), (32, 2), "Q8_0", 16),
        tensor(b"scalar", (), "F32", 96),
        tensor(b"empty", (0, 3), "I8", 112),
        tensor(b"last", (4,), "F32", 112),
    ],
    16 + 80 + 16 + 16,
    alignment=16,
)


def alignment(value: int) -> bytes:
    return key(b"general.alignment", UINT32, struct.pack("<I", value))


def nested(depth: int) -> bytes:
    return array(UINT8, 0) if not depth else array(ARRAY, 1, nested(depth - 1))


DAMAGED = {
    "empty": (b"", "not a GGUF file: it does not begin with 'GGUF'"),
    "other": (b"GGML" + bytes(60), "not a GGUF file: it does not begin with 'GGUF'"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "run git lfs pull"),
    "magic alone": (b"GGUF", "truncated: it ends before its version"),
    "version 1": (content(version=1), "GGUF version 1 is not read, only 2 and 3; convert"),
    "version 4": (content(version=4), "GGUF version 4 is not read"),
    "big-endian": (content(version=3 << 24), "it is big-endian"),
    "no counts": (SOUND[:23], "truncated: its header needs at least 24 bytes and 23 are there"),
    "tensors": (content(counts=(MOST, 0)), f"announces {MOST} tensors, and 65536 is the limit"),
    "keys": (content(counts=(0, MOST)), f"announces {MOST} keys, and 65536 is the limit"),
    "few bytes": (content(counts=(2, 3)), "needs at least 111 bytes and 32 are there"),
    "long key": (content([string(bytes(13), MOST)]), "a key should be 18446744073709551615 bytes"),
    "key twice": (content([key(b"a", BOOL, b"\1")] * 2), "it holds the key 'a' twice"),
    "unknown kind": (content([key(b"a\n", 13, bytes(9))]), r"key 'a\n': type 13 is none of GGUF's"),
    "unknown in array": (
        content([key(b"a", ARRAY, array(99, 1, bytes(9)))]), "key 'a': type 99 is none of GGUF's",
    ),
    "long string": (content([key(b"a", STRING, string(b"", MOST))]), "truncated: its header needs"),
    "long array": (content([key(b"a", ARRAY, array(UINT64, MOST))]), "truncated: its header needs"),
    "many strings": (content([key(b"a", ARRAY, array(STRING, MOST))]), "truncated: its header"),
    "many arrays": (content([key(b"a", ARRAY, array(ARRAY, MOST))]), "truncated: its header"),
    "string in array": (
        content([key(b"a", ARRAY, array(STRING, 1, string(b"", MOST)))]), "truncated: its header",
    ),
    "deep array": (content([key(b"a", ARRAY, nested(4))]), "key 'a': its arrays lie more than 4"),
    "alignment 0": (content([alignment(0)]), "general.alignment must be a power of two up to"),
    "alignment 24": (content([alignment(24)]), "up to 1048576, not 24; save it again"),
    "alignment 2**21": (content([alignment(2**21)]), "up to 1048576, not 2097152"),
    "alignment type": (
        content([key(b"general.alignment", UINT64, bytes(8))]), "alignment must be a UINT32",
    ),
    "long name": (content(tensors=[tensor(b"w" * 257)]), "257 bytes long, and 256 is the limit"),
    "bad name": (content(tensors=[tensor(b"\xff")], data=32), "is not valid UTF-8"),
    "name twice": (content(tensors=[tensor()] * 2, data=32), "tensor 'w': it is there twice"),
    "dimensions": (content(tensors=[tensor(dims=(1,) * 5)], data=32), "'w': it has 5 dimensions"),
    "product": (content(tensors=[tensor(dims=(2**32, 2**31))]), "more than a system can count"),
    "dimension": (content(tensors=[tensor(dims=(0, 2**63))]), "more than a system can count"),
    "offset": (content(tensors=[tensor(offset=8)], data=40), "8 is no multiple of the alignment"),
    "part of a block": (
        content(tensors=[tensor(dims=(33, 32), kind="Q8_0")]), "rows of 33 are no whole blocks",
    ),
    "scalar of a block": (content(tensors=[tensor(dims=(), kind="Q8_0")]), "its rows of 1 are no"),
    "no data": (content(tensors=[tensor()]), "'w': truncated: its data ends at byte 96"),
    "little data": (content(tensors=[tensor()], data=31), "byte 96 and the file has 95; download"),
    "far": (content(tensors=[tensor(offset=2**64 - 32)]), "and the file has 64; download it again"),
    "unknown and far": (content(tensors=[tensor(kind=99, offset=64)]), "the file has 64; download"),
    "overlap": (
        content(tensors=[tensor(b"a"), tensor(b"b", (16,)), tensor(b"c", offset=64)], data=96),
        "tensor 'a': its bytes overlap those of 'b'; save it again",
    ),
    "over an unknown": (
        content(tensors=[tensor(b"a", (9,)), tensor(b"b", kind=99, offset=32)], data=64),
        "tensor 'a': its bytes overlap those of 'b'",
    ),
    "gap": (
        content(tensors=[tensor(b"a"), tensor(b"b", offset=64)], data=96),
        "tensor 'a': 32 bytes after it belong to no tensor; save",
    ),
    "gap at the start": (
        content(tensors=[tensor(offset=32)], data=64), "32 bytes after its header belong to no",
    ),
    "trailing": (content(tensors=[tensor()], data=64), "32 bytes after it belong to no tensor"),
    "only data": (content(data=32), "32 bytes after its header belong to no tensor"),
}  # fmt: skip


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gguf") / "m.gguf"


def refusal(path: Path) -> str:
    with pytest.raises(qcore.ReadError) as caught:
        READER.tensors(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    assert len(message) < 600
    return message.removeprefix(f"{path}: ")


def test_the_sound_file_is_read(scratch: Path) -> None:
    scratch.write_bytes(SOUND)
    infos = list(READER.tensors(scratch))
    assert [(i.name, i.shape) for i in infos] == [
        ("plain", (2, 4)), ("größer", (2, 32)), ("scalar", ()), ("empty", (3, 0)), ("last", (4,)),
    ]  # fmt: skip
    assert [READER.read(info).sum() for info in infos] == [0] * 5


@pytest.mark.parametrize("case", DAMAGED)
def test_damage_is_named(scratch: Path, case: str) -> None:
    damaged, message = DAMAGED[case]
    scratch.write_bytes(damaged)
    assert message in refusal(scratch)


def test_padding_may_be_missing_at_the_end(scratch: Path) -> None:
    scratch.write_bytes(content(tensors=[tensor(dims=(3,))], data=12))
    (info,) = READER.tensors(scratch)
    np.testing.assert_array_equal(READER.read(info), np.zeros(3, np.float32))
    scratch.write_bytes(content([key(b"a", BOOL, b"\1")])[:38])
    assert list(READER.tensors(scratch)) == []


def test_a_file_cut_anywhere_is_refused(scratch: Path) -> None:
    for length in range(len(SOUND)):
        scratch.write_bytes(SOUND[:length])
        message = refusal(scratch)
        assert message.startswith("not a GGUF" if length < 4 else ("truncated: ", "tensor 'last'"))


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.tuples(st.integers(0, len(SOUND) - 1), st.sampled_from([0, 1, 2, 127, 255])
                  | st.integers(0, 255)),
        min_size=1, max_size=4,
    )
)  # fmt: skip
def test_other_bytes_raise_nothing_but_a_read_error(
    scratch: Path, changes: list[tuple[int, int]]
) -> None:
    damaged = bytearray(SOUND)
    for at, value in changes:
        damaged[at] = value
    scratch.write_bytes(damaged)
    with contextlib.suppress(qcore.ReadError):
        for info in READER.tensors(scratch):
            array = READER.read(info)
            assert (array.shape, array.dtype.name) == (info.shape, info.dtype)


@pytest.mark.parametrize("kind", ["F32", "Q8_0"])
def test_a_shape_that_numpy_cannot_hold_is_refused(scratch: Path, kind: str) -> None:
    scratch.write_bytes(content(tensors=[tensor(dims=(2**62, 2**62, 0), kind=kind)]))
    (info,) = READER.tensors(scratch)
    with pytest.raises(qcore.ReadError, match=r"tensor 'w': .* shape \(0, 46.*held|cannot hold"):
        READER.read(info)


# --- what costs the most --------------------------------------------------------------------------

N = 1 << 16
EXPENSIVE = {
    "strings": content([key(b"a", ARRAY, array(STRING, 2**21, bytes(2**24)))]),
    "more strings": content([key(b"a", ARRAY, array(STRING, 2**21 + 1, bytes(2**24 + 8)))]),
    "arrays": content([key(b"a", ARRAY, array(ARRAY, 2**19, array(BOOL, 0) * 2**19))]),
    "more arrays": content(
        [key(b"%d" % i, ARRAY, array(ARRAY, N, array(BOOL, 0) * N)) for i in range(9)]
    ),
    "keys": content([key(b"%d" % i, BOOL, b"\1") for i in range(N)]),
    "tensors": content(tensors=[tensor(b"%d" % i, (0,)) for i in range(N)]),
}


@pytest.mark.parametrize("case", EXPENSIVE)
def test_the_most_that_a_header_may_hold_takes_a_moment(scratch: Path, case: str) -> None:
    scratch.write_bytes(EXPENSIVE[case])
    begin = time.process_time()
    if case.startswith("more"):
        assert "its arrays hold more than the 2097152 strings that are read" in refusal(scratch)
    else:
        assert len(list(READER.tensors(scratch))) == (N if case == "tensors" else 0)
    assert time.process_time() - begin < 2  # a fraction of it, but where others are at work


@pytest.mark.parametrize("case", [*DAMAGED, "a large header"])
def test_refusing_takes_little_memory(scratch: Path, case: str) -> None:
    """Also where a file has room for what it announces: zeros follow, 4 GiB of them."""
    large = content([key(b"a", STRING, string(b"", 2**26))])
    scratch.write_bytes(DAMAGED[case][0] if case in DAMAGED else large)
    with scratch.open("r+b") as file:
        file.truncate(2**32)
    tracemalloc.start()
    begin = time.process_time()
    refusal(scratch)
    assert time.process_time() - begin < 1
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()
    scratch.unlink()

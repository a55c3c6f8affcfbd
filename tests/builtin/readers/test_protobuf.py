"""Messages are walked as they were encoded, by offsets alone, and no length in them is trusted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.builtin.readers.protobuf import (
    BYTES,
    FIXED32,
    FIXED64,
    VARINT,
    Field,
    Messages,
    key,
    signed,
    unpack_varints,
)
from qcore.errors import ReadError
from qcore.stored_file import StoredFile

UINT64 = st.integers(0, 2**64 - 1) | st.integers(0, 300)
WIDTHS = {FIXED32: 4, FIXED64: 8}


def varint(value: int) -> bytes:
    digits = []
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])


def encoded(number: int, wire: int, value: int | bytes) -> bytes:
    content = varint(value) if isinstance(value, int) else value
    length = varint(len(content)) if wire == BYTES else b""
    return varint(number << 3 | wire) + length + content


FIELDS = st.tuples(st.integers(1, 2**29 - 1) | st.integers(1, 20), st.just(VARINT), UINT64) | (
    st.sampled_from([BYTES, FIXED32, FIXED64]).flatmap(
        lambda wire: st.tuples(
            st.integers(1, 2**29 - 1) | st.integers(1, 20),
            st.just(wire),
            # the window has 4,096 bytes
            st.integers(0, 9000).map(bytes) | st.binary(max_size=200)
            if wire == BYTES
            else st.binary(min_size=WIDTHS[wire], max_size=WIDTHS[wire]),
        )
    )
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("protobuf") / "message"


def stored(path: Path, content: bytes) -> StoredFile:
    path.write_bytes(content)
    return StoredFile(path)


def walked(file: StoredFile) -> list[Field]:
    return list(Messages(file).fields(0, file.size))


@settings(deadline=None)
@given(fields=st.lists(FIELDS, max_size=30))
def test_what_was_encoded_is_walked(
    scratch: Path, fields: list[tuple[int, int, int | bytes]]
) -> None:
    with stored(scratch, b"".join(encoded(*field) for field in fields)) as file:
        messages = Messages(file)
        found: list[tuple[int, int, int | bytes]] = []
        for field in messages.fields(0, file.size):
            content = messages.content(field.start, field.end)
            value = field.value if field.key & 7 == VARINT else content
            found.append((field.key >> 3, field.key & 7, value))
    assert found == fields


@settings(deadline=None)
@given(
    messages=st.lists(
        st.lists(st.binary(max_size=3) | st.integers(0, 5000).map(bytes), max_size=9), max_size=9
    )
)
def test_messages_inside_a_message_are_walked_in_between(
    scratch: Path, messages: list[list[bytes]]
) -> None:
    inner = [b"".join(encoded(3, BYTES, part) for part in parts) for parts in messages]
    with stored(scratch, b"".join(encoded(2, BYTES, message) for message in inner)) as file:
        walk = Messages(file)
        found = [
            [walk.content(part.start, part.end) for part in walk.inside(message)]
            for message in walk.fields(0, file.size)
        ]
    assert found == messages


def test_a_field_may_be_written_with_more_bytes_than_it_needs(scratch: Path) -> None:
    with stored(scratch, b"\x88\x80\x00\x85\x80\x80\x00") as file:
        assert walked(file) == [Field(key(1, VARINT), 3, 7, 5)]


def test_fields_are_filtered_by_their_keys(scratch: Path) -> None:
    parts = [encoded(1, VARINT, 5), encoded(2, BYTES, b"ab"), encoded(1, VARINT, 6)]
    with stored(scratch, encoded(7, BYTES, b"".join(parts))) as file:
        messages = Messages(file)
        (message,) = messages.fields(0, file.size)
        ones = [field.value for field in messages.inside(message, (key(1, VARINT),))]
        assert ones == [5, 6]
        first = messages.first_of_each(message, (key(1, VARINT), key(2, BYTES), key(3, BYTES)))
        assert first.keys() == {key(1, VARINT), key(2, BYTES)}
        assert first[key(1, VARINT)].value == 5
        assert messages.text(first[key(2, BYTES)]) == "ab"


def test_of_what_is_skipped_nothing_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as writer:  # a hole, that takes no room
        for _ in range(100):
            writer.write(varint(key(9, BYTES)) + varint(10**8))
            writer.seek(10**8, 1)
        writer.write(encoded(1, VARINT, 7))

    class Counted(StoredFile):
        asked = 0

        def read(self, offset: int, count: int, tensor: str | None = None) -> bytes:
            self.asked += count
            return super().read(offset, count, tensor)

    with Counted(path) as file:
        assert [field.value for field in walked(file)] == [*[10**8] * 100, 7]
        assert file.asked < 10**6


@given(st.integers(-(2**63), 2**63 - 1))
def test_negative_numbers_are_in_twos_complement(value: int) -> None:
    assert signed(value % 2**64) == value


LONG = b"\x80" * 10 + b"\x01"
AGAIN = "save or download it again"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x08", "damaged at byte 0: truncated, or no message: a field ends at byte 2, and what"),
        (b"\x88", "damaged at byte 0: truncated, or no message: a field ends at byte 3, and what"),
        (b"\x0a\x02a", "damaged at byte 0: truncated, or no message: a field ends at byte 4, and "
         f"what it is in at byte 3; {AGAIN}"),
        (b"\x08\x01\x0d123", "damaged at byte 2: truncated, or no message: a field ends at byte 7"),
        (b"\x09", "damaged at byte 0: truncated, or no message: a field ends at byte 9"),
        (b"\x0a" + varint(2**63), "damaged at byte 0: truncated, or no message: a field ends at "
         f"byte {2**63 + 11}, and what it is in at byte 11; {AGAIN}"),
        (b"\x08" + LONG, "damaged at byte 1: a number is cut off, or longer than 10 bytes; save"),
        (LONG, "damaged at byte 0: a number is cut off, or longer than 10 bytes"),
        (b"\x0a" + LONG, "damaged at byte 1: a number is cut off, or longer than 10 bytes"),
        (b"\x0b\x08\x01\x0c", f"damaged at byte 0: wire type 3 is not in use; {AGAIN}"),
        (b"\x08\x01\x0c", "damaged at byte 2: wire type 4 is not in use"),
        (b"\x0e", "damaged at byte 0: wire type 6 is not in use"),
        (b"\x0f", "damaged at byte 0: wire type 7 is not in use"),
        (b"\x00\x01", f"damaged at byte 0: no field is numbered 0; {AGAIN}"),
        (varint(1 << 32) + b"\1", f"damaged at byte 0: no field is numbered {1 << 29}"),
    ],
)  # fmt: skip
def test_damage_is_named(scratch: Path, content: bytes, message: str) -> None:
    with stored(scratch, content) as file, pytest.raises(ReadError) as caught:
        walked(file)
    assert str(caught.value).startswith(f"{scratch}: {message}")
    assert str(caught.value).isprintable()


@settings(deadline=None)
@given(content=st.binary(max_size=60))
def test_any_bytes_are_walked_or_refused(scratch: Path, content: bytes) -> None:
    with stored(scratch, content) as file:
        try:
            ends = [field.end for field in walked(file)]
        except ReadError:
            return
    assert ends == sorted(ends)
    assert (ends[-1] if ends else 0) == len(content)


def test_a_file_of_too_many_fields_is_refused(scratch: Path) -> None:
    with stored(scratch, encoded(1, VARINT, 0) * 10) as file:
        assert len(list(Messages(file, 20).fields(0, file.size))) == 10
        messages = Messages(file, 15)
        list(messages.fields(0, file.size))
        with pytest.raises(ReadError, match=r"it has more than 15 fields; refused$"):
            list(messages.fields(0, file.size))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"\xff", "damaged at byte 2: a text is not valid UTF-8; "),
        (b"a" * 65537, "damaged at byte 4: a text has more than 65536 bytes; "),
    ],
)
def test_a_text_that_is_none_is_refused(scratch: Path, text: bytes, message: str) -> None:
    with stored(scratch, encoded(1, BYTES, text)) as file:
        (field,) = walked(file)
        with pytest.raises(ReadError) as caught:
            Messages(file).text(field)
    assert str(caught.value) == f"{scratch}: {message}{AGAIN}"


def test_integers_stand_alone_or_packed(scratch: Path) -> None:
    packed = b"".join(map(varint, (3, 2**40, 5)))
    with stored(scratch, encoded(1, VARINT, 9) + encoded(1, BYTES, packed)) as file:
        alone, together = walked(file)
        messages = Messages(file)
        assert messages.integers(alone, 2) == [9]
        assert messages.integers(together, 9) == [3, 2**40, 5]
        assert messages.integers(together, 2) == [3, 2**40]
        assert messages.integers(together, 0) == messages.integers(alone, 0) == []


def test_packed_integers_that_are_cut_off_are_refused(scratch: Path) -> None:
    with stored(scratch, encoded(1, BYTES, b"\x01\x80")) as file:
        (field,) = walked(file)
        with pytest.raises(ReadError, match="a number is cut off, or longer than 10 bytes"):
            Messages(file).integers(field, 2)


def pieces(values: list[int], cuts: list[int]) -> Iterator[bytes]:
    """A repeated field of varints, some of them packed and the others alone."""
    while values:
        count, *cuts = cuts or [1]
        head, values = values[: max(1, count)], values[max(1, count) :]
        if count:
            yield encoded(5, BYTES, b"".join(map(varint, head)))
        else:
            yield encoded(5, VARINT, head[0])


@settings(deadline=None)
@given(values=st.lists(UINT64, max_size=20), cuts=st.lists(st.integers(0, 4), max_size=9))
def test_numbers_packed_and_alone_are_one_field(
    scratch: Path, values: list[int], cuts: list[int]
) -> None:
    other = encoded(6, VARINT, 1)
    with stored(scratch, other.join(pieces(values, cuts)) + other) as file:
        packed = Messages(file).packed(0, file.size, 5, VARINT)
    assert packed.tobytes() == b"".join(map(varint, values))


def test_numbers_of_one_piece_are_mapped(scratch: Path) -> None:
    with stored(scratch, encoded(4, BYTES, bytes(8))) as file:
        packed = Messages(file).packed(0, file.size, 4, FIXED32)
    with scratch.open("r+b") as writer:
        writer.seek(2)
        writer.write(b"\x05")
    assert packed.tolist() == [5, 0, 0, 0, 0, 0, 0, 0]


@settings(deadline=None)
@given(values=st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-300, 300)))
def test_varints_are_unpacked_as_the_official_library_packs_them(values: list[int]) -> None:
    written = onnx.TensorProto(int64_data=values).SerializeToString()
    start = len(written) - sum(len(varint(v % 2**64)) for v in values)
    data = np.frombuffer(written[start:], np.uint8)
    got = unpack_varints(data, len(values), np.dtype(np.uint64), "m")
    assert got.view(np.int64).tolist() == values
    narrow = unpack_varints(data, len(values), np.dtype(np.uint8), "m")
    assert narrow.tolist() == [value % 256 for value in values]


def test_many_varints_are_unpacked_in_pieces() -> None:
    values = np.random.default_rng(1).integers(0, 2**63, 30_000) >> np.arange(30_000) % 63
    data = np.frombuffer(b"".join(map(varint, values.tolist())), np.uint8)
    assert data.size > 2 << 16
    got = unpack_varints(data, values.size, np.dtype(np.uint64), "m")
    np.testing.assert_array_equal(got, values.astype(np.uint64))


@pytest.mark.parametrize(
    ("data", "count", "message"),
    [
        (b"\x01\x02", 2**50, f"{2**50} packed numbers are needed, and 2 bytes are there"),
        (b"\x80\x01\x02", 3, "3 packed numbers are needed, and 2 are there"),
        (b"\x01\x02", 1, "1 packed numbers are needed, and more are there"),
        (b"\x01\x80", 2, "2 packed numbers are needed, and the last is cut off, or longer than 10"),
        (LONG, 1, "1 packed numbers are needed, and one takes 11 bytes"),
        (b"\x80" * 70_000, 9, "9 packed numbers are needed, and the last is cut off, or longer"),
    ],
)
def test_varints_that_are_not_those_needed_are_refused(
    data: bytes, count: int, message: str
) -> None:
    with pytest.raises(ReadError) as caught:
        unpack_varints(np.frombuffer(data, np.uint8), count, np.dtype(np.uint8), "{m}")
    assert str(caught.value).startswith("{m}: " + message)

"""Protocol Buffers' wire format: the fields of a message in a file, found where they lie."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcore.errors import ReadError
from qcore.stored_file import StoredFile

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""The wire types in use; BYTES are bytes, text, messages, and numbers packed end to end."""

MOST_FIELDS = 1 << 20  # a second of walking
LONGEST_VARINT = 10  # bytes
LONGEST_TEXT = 1 << 16  # bytes; names and paths are shorter

_SIZED = frozenset((VARINT, BYTES))  # a varint follows the key
_FIXED = {FIXED64: 8, FIXED32: 4}
_WINDOW = 1 << 12  # bytes read at a time: small, since what is skipped is mostly larger
_PIECE = 1 << 16  # bytes of packed varints decoded at a time
_AGAIN = "save or download it again"


class Field(NamedTuple):
    """One field of a message.

    Attributes:
        key: its number and wire type, as `key()` gives them.
        start: where its value begins in the file.
        end: where it ends.
        value: of a varint the number, from 0 to 2⁶⁴ − 1; of bytes how many; else 0.
    """

    key: int
    start: int
    end: int
    value: int


class _Window(NamedTuple):
    """Bytes of the file, where they begin, and the last place from which a field can be read."""

    content: bytes
    first: int
    last: int


def key(number: int, wire: int) -> int:
    """What precedes a field of that number and wire type."""
    return number << 3 | wire


def signed(value: int) -> int:
    """A varint as the int64, int32 or enum that it stands for: two's complement of 64 bits."""
    return (value ^ 1 << 63) - (1 << 63)


class Messages:
    """The messages of a file, walked field by field through one small window.

    A message is a range of the file, and so are its fields: what is inside one is looked at only
    when its range is walked in turn. Nothing here calls itself, however deep messages nest.

    Args:
        file: an open file.
        most_fields: how many fields are walked in all before the file is refused.

    Source: https://protobuf.dev/programming-guides/encoding/
    """

    def __init__(self, file: StoredFile, most_fields: int = MOST_FIELDS) -> None:
        self._file = file
        self._most = most_fields
        self._budget = iter(range(most_fields))  # that all messages share
        self._window = _Window(b"", 0, -1)

    def fields(self, start: int, end: int, keys: Collection[int] | None = None) -> Iterator[Field]:
        """The fields of the message that lies from `start` to `end`; if given, those with `keys`.

        Raises:
            ReadError: they do not fill it exactly, or are too many.
        """
        at = start
        window, first, last = self._window
        for _ in self._budget:
            if at >= end:
                return
            if not first <= at <= last:
                window, first, last = self._reach(at)
            found, index, value = window[at - first], at - first + 1, 0
            if found > 0x7F:  # most numbers are of one byte, and need no call
                found, index = self._varint(window, index - 1, first)
            wire, begin = found & 7, first + index
            if wire in _SIZED:
                value, index = window[index], index + 1
                if value > 0x7F:
                    value, index = self._varint(window, index - 1, first)
            if wire == VARINT:
                after = first + index
            elif wire == BYTES:
                begin = first + index
                after = begin + value
            elif wire in _FIXED:
                after = begin + _FIXED[wire]
            else:
                raise self._damage(at, f"wire type {wire} is not in use")
            if not 8 <= found < 1 << 32:
                raise self._damage(at, f"no field is numbered {found >> 3}")
            if after > end:
                message = f"a field ends at byte {after}, and what it is in at byte {end}"
                raise self._damage(at, f"truncated, or no message: {message}")
            at = after
            if keys is None or found in keys:
                yield Field(found, begin, after, value)
        raise self._file.error(f"it has more than {self._most} fields; refused")

    def inside(self, message: Field, keys: Collection[int] | None = None) -> Iterator[Field]:
        """The fields of a message that is itself a field; if given, those with `keys`."""
        return self.fields(message.start, message.end, keys)

    def first_of_each(self, message: Field, keys: Collection[int]) -> dict[int, Field]:
        """Of a message's fields the first with each of the keys, by key."""
        found: dict[int, Field] = {}
        for field in self.inside(message, keys):
            found.setdefault(field.key, field)
        return found

    def content(self, start: int, end: int) -> bytes:
        """What lies from `start` to `end`."""
        window, first, _ = self._window
        if first <= start and end <= first + len(window):
            return window[start - first : end - first]
        return self._file.read(start, end - start)

    def text(self, field: Field) -> str:
        """A field of text.

        Raises:
            ReadError: it is no UTF-8, or too long for a name.
        """
        if field.end - field.start > LONGEST_TEXT:
            raise self._damage(field.start, f"a text has more than {LONGEST_TEXT} bytes")
        try:
            return self.content(field.start, field.end).decode()
        except UnicodeDecodeError as error:
            raise self._damage(field.start, "a text is not valid UTF-8") from error

    def integers(self, field: Field, most: int) -> list[int]:
        """Of what a field of integers holds, one or several packed, the first `most`."""
        if field.key & 7 == VARINT:
            return [field.value][:most]
        end = min(field.end, field.start + most * LONGEST_VARINT)
        packed, index = self.content(field.start, end), 0
        found: list[int] = []
        while index < len(packed) and len(found) < most:
            value, index = self._varint(packed, index, field.start)
            found.append(value)
        return found

    def packed(self, start: int, end: int, number: int, wire: int) -> NDArray[np.uint8]:
        """All of a repeated field of numbers, as the bytes that its packed form has.

        A number on its own is stored as in the packed form, so the values' bytes are joined either
        way; of one piece, as usual, they are mapped.

        Args:
            start: where the message that has the field begins.
            end: where it ends.
            number: the field.
            wire: the wire type of one number.

        Raises:
            ReadError: the message is damaged.
        """
        keys = (key(number, BYTES), key(number, wire))
        pieces = list(islice(self.fields(start, end, keys), 2))
        if len(pieces) < 2:
            at, after = (pieces[0].start, pieces[0].end) if pieces else (start, start)
            return self._file.bytes_at(at, after - at)
        joined = bytearray()
        for field in self.fields(start, end, keys):
            joined += self.content(field.start, field.end)
        return np.frombuffer(joined, np.uint8)

    def _reach(self, at: int) -> _Window:
        """A window in which a field's key, and the number after it, can be read from `at`."""
        if not self._window.first <= at <= self._window.last:
            content = self._file.read(at, min(_WINDOW, self._file.size - at))
            last = at + len(content) - 2 * LONGEST_VARINT
            if at + len(content) == self._file.size:
                content += bytes(2 * LONGEST_VARINT)  # ends any number; it is seen to be outside
                last = self._file.size
            self._window = _Window(content, at, last)
        return self._window

    def _varint(self, window: bytes, index: int, first: int) -> tuple[int, int]:
        """The varint at an index of a window, and the index after it."""
        value = 0
        for shift, byte in enumerate(window[index : index + LONGEST_VARINT]):
            value |= (byte & 0x7F) << 7 * shift
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, index + shift + 1
        raise self._damage(first + index, "a number is cut off, or longer than 10 bytes")

    def _damage(self, at: int, message: str) -> ReadError:
        return self._file.error(f"damaged at byte {at}: {message}; {_AGAIN}")


def unpack_varints(
    data: NDArray[np.uint8], count: int, dtype: np.dtype[Any], where: str
) -> NDArray[Any]:
    """Varints end to end, each cut to an unsigned dtype.

    Args:
        data: their bytes.
        count: how many there should be.
        dtype: unsigned; its low bits are kept, which is how the format narrows.
        where: what an error begins with.

    Raises:
        ReadError: there are more or fewer, or one is longer than ten bytes.
    """

    def wrong(message: str) -> ReadError:
        return ReadError(f"{where}: {count} packed numbers are needed, and {message}; {_AGAIN}")

    if count > data.size:  # each takes a byte, at least
        raise wrong(f"{data.size} bytes are there")
    values = np.empty(count, dtype)
    at = done = 0
    while at < data.size:
        piece = data[at : at + _PIECE]
        last = np.flatnonzero(piece < 0x80)
        if not last.size:
            raise wrong("the last is cut off, or longer than 10 bytes")
        first = np.concatenate(([0], last[:-1] + 1))
        lengths = last - first + 1
        longest = int(lengths.max())
        if longest > LONGEST_VARINT:
            raise wrong(f"one takes {longest} bytes")
        if done + last.size > count:
            raise wrong("more are there")
        decoded = np.zeros(last.size, np.uint64)
        for index in range(longest):
            reaching = np.flatnonzero(lengths > index)
            digits = piece[first[reaching] + index] & np.uint8(0x7F)
            decoded[reaching] |= digits.astype(np.uint64) << np.uint64(7 * index)
        values[done : done + last.size] = decoded.astype(dtype)
        done += last.size
        at += int(last[-1]) + 1
    if done < count:
        raise wrong(f"{done} are there")
    return values

"""A walk through a file's header: forwards, through a window, and never past the end."""

from __future__ import annotations

from struct import Struct
from typing import Any

from qcore import StoredFile

LARGEST_HEADER = 1 << 26  # bytes; the vocabularies of today take a quarter of it
MOST_STRINGS = 1 << 21  # in arrays; the vocabularies of today have 800 000
WINDOW = 1 << 20  # bytes that are read at once
LENGTH = Struct("<Q")


class Cursor:
    """A position in a file's header.

    Every length is checked against the bytes that are left before anything is made of it.

    Args:
        file: an open file; it is read from its first byte on.

    Attributes:
        at: how many bytes lie behind.
    """

    def __init__(self, file: StoredFile) -> None:
        self.at = 0
        self._file = file
        self._strings = 0
        self._window = b""
        self._window_at = 0

    def expect(self, count: int) -> None:
        """Check that `count` more bytes are there.

        Raises:
            ReadError: they are not, or the header would become too long.
        """
        end, size = self.at + count, self._file.size
        if end > size:
            message = f"its header needs at least {end} bytes and {size} are there"
            raise self._file.error(f"truncated: {message}; download it again")
        if end > LARGEST_HEADER:
            message = f"its header needs at least {end} bytes, and {LARGEST_HEADER} is the limit"
            raise self._file.error(f"{message}; save it again with less metadata")

    def expect_strings(self, count: int, least: int) -> None:
        """Check that `count` more strings of at least `least` bytes are there, for each takes time.

        Raises:
            ReadError: they are not, or the header would have too many.
        """
        self.expect(count * least)
        self._strings += count
        if self._strings > MOST_STRINGS:
            message = f"its arrays hold more than the {MOST_STRINGS} strings that are read"
            raise self._file.error(f"{message}; save it again with less metadata")

    def skip(self, count: int) -> None:
        """Go `count` bytes on, which are not read."""
        self.expect(count)
        self.at += count

    def skip_strings(self, count: int) -> None:
        """Go past `count` strings, each led by its length."""
        self.expect_strings(count, LENGTH.size)
        length_at = LENGTH.unpack_from
        while count:
            begin = offset = self._ahead(LENGTH.size)
            window, last = self._window, len(self._window) - LENGTH.size
            for _ in range(count):  # a tokenizer's 150 000 pass here
                offset += 8 + length_at(window, offset)[0]
                count -= 1
                if offset > last:
                    break
            self.skip(offset - begin)

    def unpack(self, layout: Struct) -> tuple[Any, ...]:
        """The numbers that come next."""
        offset = self._ahead(layout.size)
        self.at += layout.size
        return layout.unpack_from(self._window, offset)

    def string(self, longest: int, what: str) -> bytes:
        """The string that comes next, led by its length.

        Args:
            longest: the most bytes that it may have.
            what: what it is, for the error.
        """
        (length,) = self.unpack(LENGTH)
        if length > longest:
            message = f"{what} should be {length} bytes long, and {longest} is the limit"
            raise self._file.error(f"damaged: {message}; download it again")
        offset = self._ahead(length)
        self.at += length
        return self._window[offset : offset + length]

    def _ahead(self, count: int) -> int:
        """Where in the window the next `count` bytes are, which is moved to hold them."""
        offset = self.at - self._window_at
        if offset + count > len(self._window):
            self.expect(count)
            left = min(self._file.size, LARGEST_HEADER) - self.at
            self._window = self._file.read(self.at, min(max(count, WINDOW), left))
            self._window_at, offset = self.at, 0
        return offset

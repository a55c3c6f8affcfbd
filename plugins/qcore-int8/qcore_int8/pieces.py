"""How a matrix is gone through: tiles for BLAS, strips for what stays in cache."""

from __future__ import annotations

from collections.abc import Iterator

_TILE_ELEMENTS = 1 << 22
_STRIP_ELEMENTS = 1 << 15
_LONG_STRIP_ELEMENTS = 1 << 17


def tiles(rows: int, width: int) -> Iterator[slice]:
    """Rows, as many as are multiplied at a time, of at most `width` elements on either side."""
    return _runs(rows, width, _TILE_ELEMENTS)


def strips(rows: int, width: int) -> Iterator[slice]:
    """Rows that stay in a core's cache while they are gone through a few times."""
    return _runs(rows, width, _STRIP_ELEMENTS)


def long_strips(rows: int, width: int) -> Iterator[slice]:
    """The same where so much is done to each strip that starting it would cost more than cache."""
    return _runs(rows, width, _LONG_STRIP_ELEMENTS)


def _runs(rows: int, width: int, elements: int) -> Iterator[slice]:
    size = max(1, elements // max(1, width))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))

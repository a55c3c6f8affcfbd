"""How a matrix is gone through: tiles for BLAS, strips for what stays in cache."""

from __future__ import annotations

from collections.abc import Iterator

_TILE_ELEMENTS = 1 << 22
_STRIP_ELEMENTS = 1 << 15


def tiles(shape: tuple[int, ...]) -> Iterator[slice]:
    """Rows of a product, as many as are computed at a time."""
    return _runs(shape, _TILE_ELEMENTS)


def strips(shape: tuple[int, ...]) -> Iterator[slice]:
    """Rows that stay in a core's cache while they are gone through a few times."""
    return _runs(shape, _STRIP_ELEMENTS)


def _runs(shape: tuple[int, ...], elements: int) -> Iterator[slice]:
    rows, columns = shape
    size = max(1, elements // max(1, columns))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))

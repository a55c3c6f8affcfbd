"""Which elements of a small matrix share a scale, by granularity."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import qcore
from pictures.svg import Panel, page, square, text

ROWS, COLUMNS, CELL, GAP, TOP = 8, 8, 15, 26, 34
SPECS = ("tensor", "channel:0", "channel:1", "group:4", "block:4:4")
TINTS = ("#b6d5f5", "#54a3f0", "#ddeafa", "#8fbff4")


def drawing() -> str:
    """The whole picture."""
    width = len(SPECS) * (COLUMNS * CELL + GAP) + GAP
    return page(width, TOP + ROWS * CELL + 34, marks())


def marks() -> Iterator[str]:
    """A matrix for each granularity, neighbouring blocks in different tints."""
    matrix = np.ones((ROWS, COLUMNS), np.float32)
    for index, spec in enumerate(SPECS):
        scales = qcore.quantize(matrix, scheme="symmetric", granularity=spec).scale
        tall, wide = ROWS // scales.shape[0], COLUMNS // scales.shape[1]
        left = GAP + index * (COLUMNS * CELL + GAP)
        for row, column in np.ndindex(ROWS, COLUMNS):
            tint = TINTS[(row // tall) % 2 + 2 * ((column // wide) % 2)]
            yield square(left + column * CELL, TOP + row * CELL, CELL - 1, tint)
        yield text(left, TOP - 10, spec)
        count = f"{scales.size} scale{'s' * (scales.size > 1)}"
        yield text(left, Panel(left, TOP, 1, ROWS * CELL, (0, 1)).down(0) + 20, count)

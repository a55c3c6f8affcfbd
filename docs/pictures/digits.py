"""What the bundled network looks at: the first test image of each digit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pictures.network import NETWORK
from pictures.svg import page, square, text

PIXEL, GAP = 7, 12


def drawing() -> str:
    """The whole picture."""
    side = 8 * PIXEL
    return page(10 * side + 11 * GAP, side + 3 * GAP + 8, marks(side))


def marks(side: int) -> Iterator[str]:
    """Image after image, the digit below."""
    images, labels = NETWORK["test.images"], NETWORK["test.labels"]
    for digit in range(10):
        image = images[np.flatnonzero(labels == digit)[0]].reshape(8, 8)
        left = GAP + digit * (side + GAP)
        for (row, column), value in np.ndenumerate(image):
            grey = 255 - round(255 * float(value) / 16)
            tint = f"rgb({grey},{grey},{grey})"
            yield square(left + column * PIXEL, GAP + row * PIXEL, PIXEL, tint)
        yield text(left + side / 2, side + 2 * GAP + 8, str(digit), "middle")

"""What the bundled network misreads, by SQNR and by bits per weight."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import qcore
from pictures.network import WEIGHTS, misread
from pictures.svg import COLOURS, Panel, page, text

BITS = (2, 3, 4, 6, 8)
KINDS = {
    "symmetric": "symmetric",
    "asymmetric": "asymmetric",
    "apot": "apot",
    "symmetric, a scale a channel": "symmetric granularity=channel:0",
    "symmetric, mse observer": "symmetric observer=mse",
}
TOP, SIDE, LEFT, GAP = 34, 250, 52, 60
COUNTS = (1, 3, 10, 30, 100, 300)
SPAN = (0.8, 400)


@dataclass(frozen=True)
class Point:
    """What one recipe gives.

    Attributes:
        sqnr: of the weights, dB.
        bits: per weight.
        misread: test images.
        colour: of its kind.
    """

    sqnr: float
    bits: float
    misread: int
    colour: str


def points() -> Iterator[Point]:
    """Each kind at each width."""
    for colour, kind in zip(COLOURS, KINDS.values(), strict=True):
        for bits in BITS:
            recipe = f"{kind} bits={bits}"
            metrics = qcore.compare(WEIGHTS, recipe).summary()[0].metrics
            sqnr, size = metrics["sqnr_db"], metrics["bits_per_weight"]
            yield Point(sqnr, size, misread(recipe), colour)


def drawing() -> str:
    """The whole picture."""
    width, height = LEFT + 2 * SIDE + GAP + 16, TOP + SIDE + 62 + 20 * len(KINDS)
    return page(width, height, marks(list(points())))


def marks(measured: list[Point]) -> Iterator[str]:
    """Two panels, and what the colours mean."""
    by_error = Panel(LEFT, TOP, SIDE, SIDE, (0, 44), SPAN, log=True)
    by_size = Panel(LEFT + SIDE + GAP, TOP, SIDE, SIDE, (1.5, 8.5), SPAN, log=True)
    yield by_error.frame("images misread, of 360")
    yield by_error.beside(COUNTS)
    yield by_error.below([0, 10, 20, 30, 40], "SQNR of the weights, dB")
    yield by_size.frame("images misread, of 360")
    yield by_size.beside(COUNTS)
    yield by_size.below(list(BITS), "bits per weight")
    for point in measured:
        yield by_error.dot(point.sqnr, point.misread, point.colour)
        yield by_size.dot(point.bits, point.misread, point.colour)
    for index, (colour, words) in enumerate(zip(COLOURS, KINDS, strict=True)):
        yield text(LEFT, TOP + SIDE + 62 + 20 * index, f"● {words}", fill=colour)

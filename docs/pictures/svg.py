"""Just enough SVG for a chart: a page, and panels with axes on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from math import log

INK, FAINT = "#57606a", "#d0d7de"
COLOURS = ("#0969da", "#cf222e", "#1a7f37", "#9a6700", "#8250df")


def number(value: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    return f"{round(value, 1):g}"


def page(width: float, height: float, marks: Iterable[str]) -> str:
    """A whole picture."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" font-family="system-ui, sans-serif" '
        f'font-size="13" fill="{INK}">\n' + "\n".join(marks) + "\n</svg>\n"
    )


def text(x: float, y: float, words: str, anchor: str = "start", fill: str = INK) -> str:
    """Words at a place."""
    place = f'x="{number(x)}" y="{number(y)}" text-anchor="{anchor}" fill="{fill}"'
    return f"<text {place}>{escape(words)}</text>"


def path(points: str, stroke: str, fill: str = "none", width: float = 1.5) -> str:
    """A line, or an area."""
    return f'<path d="{points}" fill="{fill}" stroke="{stroke}" stroke-width="{width:g}"/>'


def square(x: float, y: float, side: float, fill: str) -> str:
    """A filled square."""
    return f'<path d="M{number(x)} {number(y)}h{side:g}v{side:g}h-{side:g}z" fill="{fill}"/>'


@dataclass(frozen=True)
class Panel:
    """A rectangle of the page with an axis along x and one along y.

    Attributes:
        left: where it begins on the page; as the next three, in pixels.
        top: the same, downwards.
        width: to the right.
        height: downwards.
        x: the values at its left and right edge.
        y: the values at its lower and upper edge.
        log: whether y goes by factors.
    """

    left: float
    top: float
    width: float
    height: float
    x: tuple[float, float]
    y: tuple[float, float] = (0, 1)
    log: bool = False

    def across(self, x: float) -> float:
        """Where a value lies on the page."""
        return self.left + self.width * (x - self.x[0]) / (self.x[1] - self.x[0])

    def down(self, y: float) -> float:
        """The same, along y."""
        low, high, at = map(log, (*self.y, y)) if self.log else (*self.y, y)
        return self.top + self.height * (high - at) / (high - low)

    def frame(self, title: str = "") -> str:
        """Its edges, and a title above."""
        box = f"M{self.left:g} {self.top:g}h{self.width:g}v{self.height:g}h-{self.width:g}z"
        return path(box, FAINT, width=1) + text(self.left, self.top - 10, title)

    def below(self, values: Sequence[float], label: str) -> str:
        """The values along x, and what they are."""
        bottom = self.top + self.height
        numbers = (text(self.across(v), bottom + 17, f"{v:g}", "middle") for v in values)
        name = text(self.left + self.width / 2, bottom + 36, label, "middle")
        return "".join(numbers) + name

    def beside(self, values: Sequence[float]) -> str:
        """The values along y, with lines across the panel."""
        lines = "".join(f"M{self.left:g} {number(self.down(v))}h{self.width:g}" for v in values)
        numbers = (text(self.left - 8, self.down(v) + 4, f"{v:g}", "end") for v in values)
        return path(lines, FAINT, width=0.5) + "".join(numbers)

    def dot(self, x: float, y: float, colour: str) -> str:
        """A point."""
        place = f'cx="{number(self.across(x))}" cy="{number(self.down(y))}"'
        return f'<circle {place} r="4.5" fill="{colour}" fill-opacity="0.85"/>'

    def bars(self, edges: Sequence[float], heights: Sequence[float], colour: str) -> str:
        """A histogram, as one area."""
        line = "".join(
            f"V{number(self.down(height))}H{number(self.across(right))}"
            for height, right in zip(heights, edges[1:], strict=True)
        )
        base = self.down(self.y[0])
        return path(
            f"M{number(self.across(edges[0]))} {number(base)}{line}V{number(base)}z", "none", colour
        )

    def ticks(self, values: Iterable[float], colour: str) -> str:
        """An upright line at each value that is in view."""
        seen = (self.across(v) for v in values if self.x[0] <= v <= self.x[1])
        return path("".join(f"M{number(x)} {self.top:g}v{self.height:g}" for x in seen), colour)

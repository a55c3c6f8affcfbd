"""A histogram of values, and below it the levels that recipes put there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

import qcore
from pictures.svg import COLOURS, FAINT, Panel, page, text

LEFT, WIDTH, TOP, HEIGHT, ROW = 16, 640, 30, 130, 40


def drawing(
    values: NDArray[np.float32],
    recipes: Mapping[str, str],
    view: tuple[float, float],
    axis: tuple[list[float], str],
) -> str:
    """The whole picture.

    Args:
        values: what is quantized.
        recipes: by the words that stand beside the levels.
        view: the ends of the part that is shown.
        axis: the numbers along it, and what they are.
    """
    height = TOP + HEIGHT + ROW * len(recipes) + 62
    return page(WIDTH + 2 * LEFT, height, marks(values, recipes, view, axis))


def marks(
    values: NDArray[np.float32],
    recipes: Mapping[str, str],
    view: tuple[float, float],
    axis: tuple[list[float], str],
) -> Iterator[str]:
    """The histogram, then a row for each recipe."""
    counts, edges = np.histogram(values, 96, view)
    panel = Panel(LEFT, TOP, WIDTH, HEIGHT, view, (0, 1.05 * counts.max()))
    yield panel.frame(f"{values.size:,} values")
    yield panel.bars(list(edges), list(counts), FAINT)
    row = panel
    for index, (words, recipe) in enumerate(recipes.items()):
        colour = COLOURS[index]
        row = Panel(LEFT, TOP + HEIGHT + ROW * index + 26, WIDTH, 12, view)
        levels = np.unique(qcore.fake_quantize(values, recipe))
        inside = int(((levels >= view[0]) & (levels <= view[1])).sum())
        yield text(LEFT, row.top - 5, f"{words}: {inside} levels used", fill=colour)
        yield row.ticks(levels.tolist(), colour)
    yield row.below(*axis)

"""The map x → x̂ of grid schemes as a picture, through Matplotlib."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qcore import whole_file
from qcore.errors import UnavailableError, UsageError
from qcore.level_table import LevelTable

_METADATA: dict[str, dict[str, None]] = {
    ".svg": {"Date": None, "Creator": None},
    ".png": {"Software": None},
}
"""What is left out, so that a picture is the same whenever it is drawn."""

_STYLE = {
    "svg.hashsalt": "qcore",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_PANEL = 3.2
"""Of a panel, in inches."""

_LINE, _FAINT = "#0969da", "#d0d7de"


def plot(schemes: Mapping[str, LevelTable], path: Path) -> None:
    """Draw the maps of schemes side by side, with a tick at the right for every level.

    Args:
        schemes: their levels, by what they are called.
        path: an SVG or a PNG, by its suffix; written whole or not at all.

    Raises:
        UsageError: another suffix, no scheme to draw, or a file that cannot be written.
        UnavailableError: Matplotlib is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in _METADATA:
        raise UsageError(f"cannot draw '{path}': name a file that ends in .svg or .png")
    if not schemes:
        raise UsageError(f"cannot draw '{path}': none of the schemes is a grid")
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        message = "drawing a file needs Matplotlib: pip install 'qcore-quant[plot]'"
        raise UnavailableError(message) from None
    drawn = io.BytesIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever the user's own settings are
        matplotlib.rcParams.update(_STYLE)
        figure = Figure(figsize=(_PANEL * len(schemes), _PANEL), layout="constrained")
        axes = figure.subplots(1, len(schemes), squeeze=False)[0]
        for each, (name, table) in zip(axes, schemes.items(), strict=True):
            _panel(each, name, table)
        figure.savefig(drawn, format=suffix[1:], metadata=_METADATA[suffix], dpi=200)
    with whole_file.replacing(path) as file:
        file.write(drawn.getvalue())


def _panel(axes: Any, name: str, table: LevelTable) -> None:
    inner = table.stairs.edges[1:-1]
    edges = np.concatenate([[table.lo], np.clip(inner, table.lo, table.hi), [table.hi]])
    axes.plot([table.lo, table.hi], [table.lo, table.hi], color=_FAINT, linewidth=1)
    axes.stairs(table.stairs.values, edges, baseline=None, color=_LINE, linewidth=1.5)
    right = np.full(table.values.size, 1.03)
    axes.plot(right, table.values, "_", color=_LINE, transform=axes.get_yaxis_transform(),
              clip_on=False, markersize=6)  # fmt: skip
    axes.set(title=name, xlim=(table.lo, table.hi), aspect="equal", xlabel="x", ylabel="x̂")
    ends = sorted({table.lo, 0.0, table.hi})
    axes.set(xticks=ends, yticks=ends)

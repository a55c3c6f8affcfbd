"""Draws docs/levels.svg: where uniform, power-of-two and additive power-of-two levels lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import qcore

SCHEMES = {
    "uniform": "uniform",
    "pot": "pot:signed=false",
    "apot": "apot:signed=false",
}
SIDE, GAP, TOP, LEFT = 180, 36, 34, 16
INK, LINE, FAINT = "#57606a", "#0969da", "#d0d7de"


def panel(title: str, scheme: str, left: int) -> str:
    """One map x → x̂ on [0, 1], with a tick at the right for every level."""
    x = np.linspace(0, 1, 1441, dtype=np.float32)
    recipe = qcore.Recipe(scheme, 4, observer="fixed:0:1")
    y = qcore.fake_quantize(x, recipe)
    turns = np.flatnonzero(np.diff(y)) + 1
    path = f"M{left:.1f} {TOP + SIDE:.1f}" + "".join(
        f"H{left + SIDE * x[i]:.1f}V{TOP + SIDE * (1 - y[i]):.1f}" for i in turns
    )
    ticks = "".join(f"M{left + SIDE + 4} {TOP + SIDE * (1 - v):.1f}h8" for v in np.unique(y))
    return (
        f'<text x="{left}" y="{TOP - 12}" fill="{INK}">{title}, 4 bits</text>'
        f'<path d="M{left} {TOP}h{SIDE}v{SIDE}h-{SIDE}z" fill="none" stroke="{FAINT}"/>'
        f'<path d="M{left} {TOP + SIDE}L{left + SIDE} {TOP}" stroke="{FAINT}"/>'
        f'<path d="{path}H{left + SIDE}" fill="none" stroke="{LINE}" stroke-width="1.5"/>'
        f'<path d="{ticks}" stroke="{LINE}"/>'
    )


def drawing() -> str:
    """The whole picture, as SVG."""
    panels = (
        panel(title, scheme, LEFT + i * (SIDE + GAP))
        for i, (title, scheme) in enumerate(SCHEMES.items())
    )
    width, height = 2 * LEFT + 3 * SIDE + 2 * GAP, TOP + SIDE + 12
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" font-size="14">\n'
        + "\n".join(panels)
        + "\n</svg>\n"
    )


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(drawing(), encoding="utf-8")

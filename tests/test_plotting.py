"""The picture has a step for each step, is the same every time, and is written whole."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import qcore
from qcore.description import Description
from qcore.level_table import LevelTable
from qcore.plotting import plot

SVG = "{http://www.w3.org/2000/svg}"


def schemes(*names: str) -> dict[str, LevelTable]:
    found = {name: Description.of(qcore.Recipe(name, 4)).levels for name in names}
    return {name: levels for name, levels in found.items() if levels is not None}


def test_a_panel_has_every_level_and_every_step(tmp_path: Path) -> None:
    plot(schemes("uniform", "apot:signed=false"), tmp_path / "maps.svg")
    root = ET.parse(tmp_path / "maps.svg").getroot()
    texts = [text for each in root.iter(f"{SVG}text") if (text := (each.text or "").strip())]
    assert {"uniform", "apot:signed=false"} <= set(texts)
    for number, count in [(1, 16), (2, 16)]:
        (panel,) = [g for g in root.iter(f"{SVG}g") if g.get("id") == f"axes_{number}"]
        paths = panel.iter(f"{SVG}path")
        (curve,) = [p for p in paths if "#0969da" in p.get("style", "") and p.get("clip-path")]
        points = re.findall(r"([\d.]+) ([\d.]+)", curve.get("d", ""))
        assert len({y for _, y in points}) == count
        assert len({x for x, _ in points}) == count + 1
        lines = [g for g in panel.iter(f"{SVG}g") if (g.get("id") or "").startswith("line2d")]
        assert max(len(list(line.iter(f"{SVG}use"))) for line in lines) == count


@pytest.mark.parametrize("name", ["a.svg", "a.png", "a.PNG"])
def test_a_picture_is_the_same_whatever_the_users_settings(tmp_path: Path, name: str) -> None:
    import matplotlib

    plot(schemes("pot"), tmp_path / name)
    with matplotlib.rc_context({"lines.linewidth": 9, "svg.hashsalt": "other", "font.size": 30}):
        plot(schemes("pot"), tmp_path / f"again-{name}")
        assert matplotlib.rcParams["font.size"] == 30
    assert (tmp_path / name).read_bytes() == (tmp_path / f"again-{name}").read_bytes()


def test_another_suffix_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(qcore.UsageError, match=r"maps.pdf': name a file that ends in .svg or .png"):
        plot(schemes("pot"), tmp_path / "maps.pdf")
    with pytest.raises(qcore.UsageError, match="none of the schemes is a grid"):
        plot({}, tmp_path / "maps.svg")
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_the_way_to_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(qcore.UnavailableError, match=r"pip install 'qcore-quant\[plot\]'"):
        plot(schemes("pot"), tmp_path / "maps.svg")


def test_what_cannot_be_written_leaves_the_old_picture(tmp_path: Path) -> None:
    with pytest.raises(qcore.UsageError, match="cannot write"):
        plot(schemes("pot"), tmp_path / "missing" / "maps.svg")
    assert list(tmp_path.iterdir()) == []

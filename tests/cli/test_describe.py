"""`qcore describe`: drawings show the map, tables show the codes, on any screen."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.cells import cell_len
from rich.console import Console

import qcore
from qcore.cli.description_page import DescriptionPage
from qcore.cli.dots import Canvas, filled
from qcore.cli.staircase_drawing import staircase
from qcore.description import Description
from qcore.level_table import LevelTable
from qcore.loading import plugins
from qcore.registry import Entry
from qcore.testing.stand_ins import Levels, Signs

Command = Callable[..., tuple[int, str, str]]
EXAMPLE = Path(__file__).parents[2] / "docs" / "example-plugin"


def description(scheme: str | qcore.Quantizer, bits: int | None = 4) -> Description:
    return Description.of(qcore.Recipe(scheme, bits))  # type: ignore[arg-type]


def levels(scheme: str, bits: int = 4) -> LevelTable:
    found = description(scheme, bits).levels
    assert found is not None
    return found


def page(*descriptions: Description, width: int = 80) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(DescriptionPage(descriptions))
    return [line.rstrip() for line in capture.get().splitlines()]


def dots_of(lines: list[str]) -> NDArray[np.bool_]:
    """Braille as dots, by the order of the standard: 1 2 3 7 down the left, 4 5 6 8 the right."""
    places = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (3, 0), (3, 1)]
    dots = np.zeros((4 * len(lines), 2 * len(lines[0])), bool)
    for row, line in enumerate(lines):
        for column, cell in enumerate(line):
            mark = 0 if cell == " " else ord(cell) - 0x2800
            for bit, (down, right) in enumerate(places):
                dots[4 * row + down, 2 * column + right] = mark >> bit & 1
    return dots


# --- drawings -------------------------------------------------------------------------------------


def test_braille_is_what_its_dots_are() -> None:
    canvas = Canvas(3, 5, ascii_only=False)
    canvas.dots[:] = np.random.default_rng(0).random(canvas.dots.shape) < 0.4
    np.testing.assert_array_equal(dots_of(canvas.lines()), canvas.dots)


def test_in_ascii_a_dot_has_three_heights_in_its_cell() -> None:
    canvas = Canvas(1, 5, ascii_only=True)
    canvas.dots[[0, 1, 2], [0, 1, 2]] = True
    canvas.dots[:2, 3] = True
    assert canvas.lines() == ["'-.| "]


def test_an_area_is_filled_from_below() -> None:
    heights = np.array([0, 1 / 16, 0.5, 0.75, 1])
    assert filled(heights, 2, ascii_only=False) == ["   ▄█", " ▁███"]
    assert filled(heights, 2, ascii_only=True) == ["   .#", "  ###"]


@pytest.mark.parametrize("scheme", ["uniform", "pot", "apot:signed=false", "asymmetric"])
def test_the_drawing_goes_where_values_go(scheme: str) -> None:
    table = levels(scheme)
    rows = staircase(table, 45, ascii_only=False).plain.splitlines()[:-2]
    dots = dots_of([row[3:43] for row in rows])
    height, width = dots.shape
    x = (table.lo + (np.arange(width) + 0.5) / width * (table.hi - table.lo)).astype(np.float32)
    recipe = qcore.Recipe(scheme, 4)
    x -= np.float32(1e-6)  # on no threshold
    values = qcore.quantize(x, recipe, params=table.stairs.params).dequantize()
    bottom, top = min(table.lo, table.values[0]), max(1, table.values[-1])
    path = np.rint((top - values) / (top - bottom) * (height - 1)).astype(int)
    assert dots[path, np.arange(width)].all()
    assert (np.diff(path) <= 0).all()
    risers = np.maximum(np.abs(np.diff(path)) - 1, 0).sum()
    assert dots.sum() == width + risers  # and nowhere else
    marks = dots_of([row.ljust(45)[44] for row in rows])
    assert np.flatnonzero(marks.any(axis=1)).tolist() == sorted(
        {round((top - value) / (top - bottom) * (height - 1)) for value in table.values}
    )


@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("width", [25, 30, 44])
def test_the_axes_name_the_ends_of_the_range(width: int, ascii_only: bool) -> None:
    for scheme, ends in [("apot", ["1", "0", "-1"]), ("apot:signed=false", ["1", "0"])]:
        lines = staircase(levels(scheme), width, ascii_only=ascii_only).plain.splitlines()
        assert [line[:2].strip() for line in lines[:-2] if line[:2].strip()] == ends
        assert lines[-1].split() == ends[::-1]
        assert max(map(len, lines)) <= width
        assert len(lines) == (width - 5) // 2 + 2


# --- one scheme -----------------------------------------------------------------------------------


def test_one_scheme_is_told_in_full(run: Command) -> None:
    status, out, err = run("describe", "apot", "--bits", 4)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "apot · 4 bits · half-even"
    assert lines[2].split(maxsplit=1) == [
        "equation", "x̂ = ±scale · (a + b), a ∈ {0, 1, 4, 8}, b ∈ {0, 2},",
    ]  # fmt: skip
    assert lines[3].strip() == "scale = max|x| / 10"
    assert "bits per weight  tensor 4.00, channel:0 4.01, group:128 4.25, group:32 5.00," in out
    assert "levels           15, largest gap 2 times the smallest" in out
    assert "fit int8         yes, as -10 … 10" in out
    table = [line[:33].split() for line in lines if line[:8].strip().lstrip("-").isdecimal()]
    assert table[0] == ["-7", "1001", "-10", "-1", "-0.9"]
    assert table[9] == ["2", "0010", "2", "0.2", "0.25"]
    assert table[-1] == ["7", "0111", "10", "1"]
    assert len(table) == 15
    assert max(map(len, lines)) <= 80


def test_of_a_long_table_the_ends_and_the_middle_are_shown_and_csv_has_all(run: Command) -> None:
    out = run("describe", "symmetric", "--bits", 8)[1]
    assert "224 codes left out; --format csv has all" in out
    shown = [line.split()[:2] for line in out.splitlines() if re.match(r" *-?\d+  [01]{8} ", line)]
    assert [int(code) for code, _ in shown] == [
        *range(-127, -117), *range(-5, 6), *range(118, 128),
    ]  # fmt: skip
    text = run("describe", "symmetric", "--bits", 8, "--format", "csv")[1]
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [int(row["code"]) for row in rows] == list(range(-127, 128))
    assert (rows[0]["stored"], rows[0]["scheme"], rows[-1]["threshold"]) == (
        "10000001", "symmetric", "",
    )  # fmt: skip


def test_neighbours_are_told_apart_and_rounding_errors_are_not_shown() -> None:
    rows = [line.split() for line in page(description("uniform", 16))]
    shown = [row[3] for row in rows if len(row) >= 5 and re.fullmatch("[01]{16}", row[1])]
    assert len(shown) == len(set(shown)) == 31
    middle = next(line.split() for line in page(description("uniform", 4)) if " 0111 " in line)
    assert middle[:6] == ["7", "0111", "7", "0.4667", "-0.06667", "0"]


def test_as_json_there_is_an_object_for_each(run: Command) -> None:
    out = run("describe", "apot:k=3", "uniform", "--bits", "4,7", "--format", "json")[1]
    told = json.loads(out)
    assert [(each["scheme"], each["options"], each["bits"]) for each in told] == [
        ("apot", {"k": 3}, 4), ("apot", {"k": 3}, 7), ("uniform", {}, 4), ("uniform", {}, 7),
    ]  # fmt: skip
    assert (
        told[0]["grid"]["units"] == qcore.create("scheme", "apot:k=3", bits=4).grid.units.tolist()
    )


# --- several --------------------------------------------------------------------------------------


def test_several_are_drawn_three_a_row_at_80_columns(run: Command) -> None:
    status, out, err = run("describe", "uniform,pot,apot,symmetric")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    heads = [
        line.split()
        for line in lines
        if line.split() and line.split()[0] in ("uniform", "symmetric")
    ]
    assert ["uniform", "pot", "apot"] in heads
    assert ["symmetric"] in heads
    assert lines[0] == "uniform    x̂ = lo + scale · code, scale = (hi − lo) / 15"


@pytest.mark.parametrize("width", [50, 80, 130, 200])
def test_every_line_fits_and_a_wider_screen_has_more_side_by_side(width: int) -> None:
    lines = page(*(description(s) for s in ("uniform", "pot", "apot", "symmetric")), width=width)
    assert max(map(cell_len, lines)) <= width
    side_by_side = max(line.count("└─") for line in lines)
    assert side_by_side == min(4, (width + 2) // 27)


def test_ticks_lie_where_levels_lie_on_the_gaussian() -> None:
    lines = page(*(description(s) for s in ("symmetric", "pot:signed=false")))
    start = next(i for i, line in enumerate(lines) if "entropy" in line)
    column = lines[start].index("levels")
    end = lines[start].index("±1σ") - 1
    bell = next(line for line in lines if line.startswith("N(0, σ²)"))
    full = bell[column:end].rstrip()
    assert full[len(full) // 2] == "█"
    ticks = dots_of([lines[start + 2].ljust(end)[column:end]])[0]
    at = np.flatnonzero(ticks)
    middle = at[len(at) // 2]
    assert (at - middle == -(at - middle)[::-1]).all()  # symmetric, and zero in the middle
    np.testing.assert_allclose((at - middle) / (at[-1] - middle), np.arange(-7, 8) / 7, atol=0.02)
    unsigned = dots_of([lines[start + 3].ljust(end)[column:end]])[0]
    assert np.flatnonzero(unsigned)[0] == middle
    assert "68%  95%" in bell


def test_several_widths_are_told_apart(run: Command) -> None:
    out = run("describe", "apot", "--bits", "2,8")[1]
    assert "apot 2 bits  x̂ = " in out
    assert "apot 8 bits  x̂ = " in out


# --- third parties --------------------------------------------------------------------------------


@pytest.fixture
def normal_float(monkeypatch: pytest.MonkeyPatch) -> qcore.Quantizer:
    """NF4, from the example of docs/."""
    monkeypatch.syspath_prepend(EXAMPLE)
    from qcore_normal_float.scheme import NormalFloat

    return NormalFloat(4)


def test_a_third_partys_grid_has_all_of_it(normal_float: qcore.Quantizer) -> None:
    lines = page(description(normal_float, None))
    assert lines[0] == "normal-float · 4 bits · half-even"
    assert lines[2].split(maxsplit=1)[1] == normal_float.formula
    grid = normal_float.grid  # type: ignore[attr-defined]
    codes = [line.split() for line in lines if re.match(r" *-?\d+ +[01]{4} ", line)]
    assert [row[3] for row in codes] == [f"{level:.4g}" for level in grid.levels]
    both = page(description(normal_float, None), description("symmetric"))
    assert any(line.split() == ["normal-float", "symmetric"] for line in both)


def test_of_what_is_no_grid_the_rest_is_told() -> None:
    alone = page(description(Signs(), None))
    assert alone[2] == "equation         the scheme gives none"
    assert alone[3] == "codes            -2 … 1, 2 bits each"
    assert alone[-1] == "levels           not available, since the scheme is no grid"
    beside = page(description(Signs(), None), description(Levels(), None))
    assert sum("└─" in line for line in beside) == 1
    assert beside[-1] == "signs 2 bits: levels not available, since the scheme is no grid"
    row = next(line.split() for line in reversed(beside) if line.startswith("signs 2 bits  "))
    assert row[3:] == ["-", "-", "-", "2.00", "2.01", "2.25", "3.00"]


def test_a_scheme_of_one_width_needs_none_and_has_no_code_table(
    run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = plugins().registry.entries["scheme"]
    monkeypatch.setitem(entries, "signs", Entry(Signs, "signs", "qcore-signs"))
    status, out, err = run("describe", "signs", "symmetric", "--format", "csv")
    assert (status, err) == (0, "signs is no grid, and has no table of codes\n")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert {(row["scheme"], row["bits"]) for row in rows} == {("symmetric", "4")}
    assert run("describe", "signs")[1].startswith("signs · 2 bits")
    assert json.loads(run("describe", "signs", "--format", "json")[1])[0]["grid"] is None
    assert (
        run("describe", "signs", "--bits", 4)[2] == "qcore: 'signs' has 2 bits; bits=4 cannot be\n"
    )


def test_a_picture_is_drawn_beside_what_is_told(run: Command, tmp_path: Path) -> None:
    file = tmp_path / "maps.svg"
    status, out, err = run("describe", "pot", "--bits", "2,4", "--plot", file)
    assert (status, err) == (0, f"drawn in '{file}'\n")
    assert out.startswith("pot 2 bits")
    assert all(f">pot {bits} bits</text>" in file.read_text() for bits in (2, 4))


# --- what cannot be -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["unifrm"], "unknown scheme 'unifrm', did you mean 'uniform'?"),
        (["pot", "--bits", "9"], "'pot' has 2 to 8 bits, not 9"),
        (["pot", "--bits", "four"], "--bits: 'four' is no whole number"),
        (["pot", "--rounding", "stochastic:1"], "choose one that does not, such as half-even"),
        (["pot", "--plot", "a.pdf"], "name a file that ends in .svg or .png"),
        (["apot:q=2"], "'apot' has no option 'q'"),
        ([","], "SCHEME: no value given"),
    ],
)
def test_a_mistake_is_one_line(run: Command, arguments: list[str], says: str) -> None:
    status, out, err = run("describe", *arguments)
    assert (status, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


def test_a_width_that_a_scheme_lacks_is_left_out(run: Command) -> None:
    status, out, err = run("describe", "pot", "--bits", "4,9")
    assert (status, err) == (0, "qcore: left out: 'pot' has 2 to 8 bits, not 9\n")
    assert out.startswith("pot · 4 bits")


# --- other screens --------------------------------------------------------------------------------


@pytest.mark.parametrize("schemes", ["uniform,pot,apot", "asymmetric"])
def test_without_unicode_all_of_it_is_ascii(
    run: Command, monkeypatch: pytest.MonkeyPatch, schemes: str
) -> None:
    in_unicode = run("describe", schemes)[1].splitlines()
    monkeypatch.setenv("LC_ALL", "C")
    out = run("describe", schemes)[1]
    lines = out.splitlines()
    assert out.isascii()
    assert max(map(len, lines)) <= 80
    assert "x^ = " in out
    assert "#####" in out  # the Gaussian
    for drawn, mark in [(lines, "1+"), (in_unicode, "1┤")]:
        assert max(line.count(mark) for line in drawn) == len(schemes.split(","))


def test_a_stream_without_unicode_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "")
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, "ascii")
    Console(file=stream, width=80).print(DescriptionPage([description("pot")]))
    stream.flush()
    assert b"x^ = scale * unit" in written.getvalue()

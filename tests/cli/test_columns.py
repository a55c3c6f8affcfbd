"""Cells are printable, whatever names they show, and take the room that they are given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from qcore.cli.columns import Column, Fitted, Kind
from qcore.cli.neutral import neutral
from qcore.cli.sizes import shown_bits, shown_bytes


def drawn(
    columns: list[Column], entries: list[str], caption: str = "", width: int = 40
) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(Fitted(columns, entries, caption))
    return [line.rstrip() for line in capture.get().splitlines()]


@given(st.text())
def test_neutral_text_is_printable_and_says_what_it_was(text: str) -> None:
    shown = neutral(text)
    assert shown.isprintable()
    if text.isprintable():
        assert shown == text
    elif "\\" not in text:
        back = shown.encode("latin-1", "backslashreplace").decode("unicode_escape")
        assert back == text


@pytest.mark.parametrize("kind", Kind)
@given(name=st.text(min_size=1, max_size=30))
def test_a_cell_of_any_kind_is_printable(kind: Kind, name: str) -> None:
    lines = drawn([Column("head", str, kind)], [name], name)
    assert all(line.isprintable() for line in lines)


def test_text_may_have_lines_of_its_own_and_a_name_may_not() -> None:
    assert drawn([Column("head", str, Kind.text)], ["a\nb"])[2:4] == ["a", "b"]
    for kind in (Kind.word, Kind.number, Kind.dotted):
        assert drawn([Column("head", str, kind)], ["a\nb"])[2].strip() == r"a\nb"


def test_a_name_is_cut_after_its_dots_and_never_into_an_empty_line() -> None:
    columns = [Column("tensor", str, Kind.dotted), Column("size", lambda _: "1 B", Kind.number)]
    assert drawn(columns, ["model.layers.attention.weight"], width=24)[2:5] == [
        "model.layers.       1 B", "attention.weight", "",
    ]  # fmt: skip
    assert drawn(columns, ["w" * 40], "caption", width=24)[2:] == [
        f"{'w' * 17}   1 B", "w" * 17, "w" * 6, "caption",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (None, "-"), (0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1234, "1.23 kB"),
        (90_900_000, "90.9 MB"), (999_499, "999 kB"), (999_500, "1 MB"), (999_999_999, "1 GB"),
        (10**12, "1.00 TB"), (1_234_567 * 10**9, "1,234.57 TB"),
    ],
)  # fmt: skip
def test_sizes_have_three_digits(count: int | None, shown: str) -> None:
    assert shown_bytes(count) == shown


def test_bits_are_those_of_an_element() -> None:
    assert [shown_bits(17, 32), shown_bits(None, 3), shown_bits(0, 0)] == ["4.25", "-", "-"]

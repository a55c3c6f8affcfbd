"""`qcore list`: what is registered, and which plugin gave it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable

import pytest
from rich.cells import cell_len

import qcore
from qcore.loading import plugins
from qcore.registry import KINDS

Command = Callable[..., tuple[int, str, str]]


def test_every_registered_class_is_listed_with_its_plugin(run: Command) -> None:
    status, out, err = run("list", "--format", "json")
    assert (status, err) == (0, "")
    found = {(entry["kind"], entry["id"]): entry["plugin"] for entry in json.loads(out)}
    assert found == {
        (kind, id): entry.plugin
        for kind, entries in plugins().registry.entries.items()
        for id, entry in entries.items()
    }
    assert found["scheme", "apot"] == "apot"
    assert found["rounding", "half-even"] == "builtin"


def test_options_are_listed_with_their_defaults(run: Command) -> None:
    options = {
        (entry["kind"], entry["id"]): entry["options"]
        for entry in json.loads(run("list", "--format", "json")[1])
    }
    assert options["scheme", "apot"] == "k=2, signed=true"
    assert options["granularity", "group"] == "size, axis=-1, tail=error"
    assert options["observer", "fixed"] == "lo, hi"
    assert options["scale_format", "pow2"] == "mode=up"
    assert options["rounding", "half-even"] == ""
    table = " ".join(run("list")[1].split())
    assert "(k=2, signed=true)" in table


def test_a_plugin_that_was_left_out_is_warned_of(
    run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QCORE_PLUGINS", "badd")
    status, out, err = run("list", "rounding")
    assert status == 0
    assert "half-even" in out
    assert err == (
        "qcore: plugin 'badd' (not installed) was left out: QCORE_PLUGINS names it, but no such "
        "plugin is installed\n"
    )


def test_every_summary_is_a_whole_sentence(run: Command) -> None:
    _, out, _ = run("list", "--format", "json")
    for entry in json.loads(out):
        doc = plugins().registry.get(entry["kind"], entry["id"]).__doc__ or ""
        text = " ".join(doc.split())
        assert entry["summary"], entry["id"]
        assert text.startswith(entry["summary"]), entry["id"]
        assert text[len(entry["summary"]) :][:1] in (".", ":"), f"{entry['id']} is cut short"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "written",
    [str, lambda k: f"{k}s", lambda k: k.replace("_", "-"), lambda k: k.replace("_", " ")],
)
def test_one_kind_is_listed_by_its_name_or_plural(
    run: Command, kind: str, written: Callable[[str], str]
) -> None:
    if kind == "granularity" and written(kind).endswith("s"):
        written = lambda _: "granularities"  # noqa: E731
    status, out, err = run("list", written(kind), "--format", "json")
    assert (status, err) == (0, "")
    assert [entry["id"] for entry in json.loads(out)] == qcore.ids(kind)


def test_an_unknown_kind_is_one_line_with_the_nearest(run: Command) -> None:
    status, out, err = run("list", "schem")
    assert (status, out) == (2, "")
    assert err.startswith("qcore: unknown kind 'schem', did you mean 'scheme'?; ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("columns", [80, 160])
def test_the_table_fits_the_terminal(
    run: Command, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    status, out, _ = run("list")
    assert status == 0
    assert max(map(cell_len, out.splitlines())) <= columns
    assert out.split()[:4] == ["kind", "id", "plugin", "summary"]
    for kind in KINDS:
        for id in qcore.ids(kind):
            assert any(id in line.split() for line in out.splitlines())


def test_csv_and_markdown_say_the_same(run: Command) -> None:
    _, as_json, _ = run("list", "--format", "json")
    _, as_csv, _ = run("list", "--format", "csv")
    _, as_markdown, _ = run("list", "--format", "markdown")
    assert list(csv.DictReader(io.StringIO(as_csv))) == json.loads(as_json)
    lines = as_markdown.splitlines()
    assert lines[0] == "| kind | id | plugin | options | summary |"
    assert len(lines) == 2 + len(json.loads(as_json))


def test_without_plugins_only_what_is_built_in_is_listed(run: Command) -> None:
    status, out, _ = run("--no-plugins", "list", "--format", "json")
    assert status == 0
    assert {entry["plugin"] for entry in json.loads(out)} == {"builtin"}


@pytest.mark.parametrize("format", ["table", "json", "csv", "markdown"])
def test_a_kind_of_which_there_is_nothing_is_no_failure(run: Command, format: str) -> None:
    status, out, err = run("--no-plugins", "list", "scheme", "--format", format)
    assert (status, err) == (0, "")
    if format == "json":
        assert json.loads(out) == []

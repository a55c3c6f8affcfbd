"""`qcore check`: whether a part keeps the laws of its interface."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from rich.cells import cell_len

import qcore
from qcore.loading import plugins
from qcore.registry import Entry
from qcore.testing.stand_ins import Signs

Command = Callable[..., tuple[int, str, str]]


@dataclass(frozen=True)
class Shrinking(Signs):
    """Breaks a law."""

    id: ClassVar[str] = "shrinking"

    def decode(self, codes: Any, params: Any) -> Any:
        return codes * params.scale * np.float32(0.4)


@pytest.fixture
def shrinking(monkeypatch: pytest.MonkeyPatch, run: Command) -> None:
    """A scheme that breaks a law, and has the id of a metric too."""
    entries = plugins().registry.entries["scheme"]
    monkeypatch.setitem(entries, "shrinking", Entry(Shrinking, "acme"))
    monkeypatch.setitem(entries, "mse", Entry(Signs, "acme"))


def test_a_healthy_part_passes(run: Command) -> None:
    status, out, err = run("check", "half-even")
    assert (status, err) == (0, "")
    head, _, line, caption = out.splitlines()
    assert head.split() == ["kind", "id", "objects", "passed", "failed", "skipped", "time"]
    assert line.split()[:6] == ["rounding", "half-even", "1", "14", "0", "0"]
    assert caption == "14 checks: 14 passed, 0 failed, 0 skipped"


@pytest.mark.usefixtures("shrinking")
def test_a_broken_law_is_shown_with_what_broke_it(run: Command) -> None:
    status, out, err = run("check", "shrinking")
    assert (status, err) == (1, "")
    assert "shrinking  check_scheme_keeps_what_it_gave" in out
    assert "Its own values stay" in out
    assert "given one element a block" in out
    assert "2 failed" in out
    assert max(map(cell_len, out.splitlines())) <= 80


@dataclass(frozen=True)
class Wide(Signs):
    """Fails in the same way at every width."""

    id: ClassVar[str] = "wide"
    bits: int

    def encode(self, blocks: Any, params: Any, rounding: Any) -> Any:
        raise SystemExit(self.id)


def test_what_fails_in_the_same_way_is_told_once(
    run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(plugins().registry.entries["scheme"], "wide", Entry(Wide, "acme"))
    status, out, _ = run("check", "wide")
    assert status == 1
    assert out.count("SystemExit: wide") == 1
    assert re.search(r"wide-bits=1 and 8 more {2}check_scheme_codes and \d+ more", out)
    assert "bits=0 is accepted; refuse widths with qcore.check_bits" in out
    monkeypatch.setenv("QCORE_DEBUG", "1")
    err = run("check", "wide")[2]
    assert "Traceback (most recent call last)" in err
    assert "raise SystemExit(self.id)\n" in err


@pytest.mark.usefixtures("shrinking")
def test_json_and_csv_have_every_check(run: Command) -> None:
    status, out, err = run("check", "shrinking", "--format", "json")
    assert status == 1
    assert err == "qcore: 2 checks failed\n"
    records = json.loads(out)
    failed, _ = [r for r in records if r["outcome"] == "failed"]
    assert (failed["kind"], failed["id"], failed["object"]) == ("scheme", "shrinking", "shrinking")
    assert failed["message"]
    rows = list(csv.DictReader(io.StringIO(run("check", "shrinking", "--format", "csv")[1])))
    assert [row["check"] for row in rows] == [r["check"] for r in records]
    lines = run("check", "shrinking", "--format", "markdown")[1].splitlines()
    assert len(lines) == 2 + len(records)
    assert len({line.count(" | ") for line in lines[2:]}) == 1


def test_a_spec_keeps_its_fields_at_every_width(run: Command) -> None:
    status, out, _ = run("check", "apot:k=3", "--format", "json")
    assert status == 0
    objects = {record["object"] for record in json.loads(out)}
    assert objects == {f"apot:k=3-bits={bits}" for bits in (2, 3, 4)}


@pytest.mark.usefixtures("shrinking")
@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("metric:mse", "metric"),
        ("scheme:mse", "scheme"),
        ("scale-format:pow2:floor", "scale_format"),
        ("scale_format:pow2:floor", "scale_format"),
    ],
)
def test_a_kind_may_lead(run: Command, text: str, kind: str) -> None:
    status, out, _ = run("check", text, "--format", "json")
    assert status == 0
    assert {record["kind"] for record in json.loads(out)} == {kind}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["apto"], "nothing that is installed has the id 'apto', did you mean 'apot'?; see "),
        (["scheme:apto"], "unknown scheme 'apto', did you mean 'apot'?; installed: "),
        (["mse"], "'mse' is an observer and a metric; write observer:mse or metric:mse"),
        (["apot:j=2"], "'apot' has no option 'j'"),
        (["apot:k=0"], "'apot': "),
        ([], "name what to check, such as 'qcore check apot', or pass --all"),
        (["apot", "--all"], "name what to check, such as 'qcore check apot', or pass --all"),
        (["npy", "--example", "absent.npy"], "--example: there is no 'absent.npy'"),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_usage_is_one_line(run: Command, arguments: list[str], line: str) -> None:
    status, out, err = run("check", *arguments)
    assert (status, out) == (2, "")
    assert err.startswith(f"qcore: {line}")
    assert err.count("\n") == 1


def test_a_reader_is_checked_on_an_example(run: Command, tmp_path: Path) -> None:
    path = tmp_path / "w.npy"
    np.save(path, np.ones((2, 3), np.float32))
    status, out, _ = run("check", "npy", "--format", "json")
    assert status == 0
    assert "skipped" in {r["outcome"] for r in json.loads(out)}
    status, out, _ = run("check", "npy", "--example", path, "--format", "json")
    assert status == 0
    assert {r["outcome"] for r in json.loads(out)} == {"passed"}


def test_a_backend_that_cannot_run_here_is_skipped_with_its_reason(
    run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    cls = plugins().get("backend", "reference")
    monkeypatch.setattr(cls, "available", lambda self: "there is no such device")
    status, out, _ = run("check", "backend:reference")
    assert status == 0
    assert "'reference' cannot run here: there is no such device (9 skipped)" in " ".join(
        out.split()
    )


def test_all_is_everything_that_is_installed(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qcore.testing, "run_checks", lambda part, examples: [result_of(part)])
    status, out, _ = run("check", "--all", "--format", "json")
    assert status == 0
    found = {(record["kind"], record["id"]) for record in json.loads(out)}
    assert found == {
        (kind, id) for kind, entries in plugins().registry.entries.items() for id in entries
    }


def result_of(part: Any) -> qcore.testing.CheckResult:
    from qcore.testing.configuration import kind_of

    return qcore.testing.CheckResult(kind_of(part), part.id, str(part), "c", "l", "passed", None, 0)

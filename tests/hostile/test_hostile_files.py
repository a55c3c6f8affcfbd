"""Every hostile file gets one line, in a moment and in little memory, and does nothing."""

from __future__ import annotations

import os
import sys

import pytest
from cases import Case, Threat
from make_files import CASES
from running import Runs, compare, inspect, measure

MOST_MEMORY = 64 << 20  # bytes
MOST_SECONDS = 2.5  # one, but a machine of CI is slower than those of people
LONGEST_LINE = 1000

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what is taken is told by Linux")

ALL = [(format, case) for format, cases in CASES.items() for case in cases]


def each(cases: list[tuple[str, Case]]) -> pytest.MarkDecorator:
    """A test for each of some cases."""
    ids = [f"{format}/{case.path}" for format, case in cases]
    return pytest.mark.parametrize(("format", "case"), cases, ids=ids)


@each(ALL)
def test_it_gets_one_line_that_names_the_file_and_the_tensor(
    runs: Runs, format: str, case: Case
) -> None:
    result = runs.refusal(format, case)
    line, *more = result.err.splitlines()
    assert not more
    assert line.isprintable()
    assert len(line) < LONGEST_LINE
    assert line.startswith("qcore: ")
    assert case.error in line
    assert shown(runs.path(format, case)) in line
    assert case.tensor is None or f"tensor {case.tensor!r}: " in line
    assert result.status == case.status
    assert bool(result.out) == (case.status == 3)


def shown(path: str) -> str:
    """A path as it is in an error line."""
    return path if path.isprintable() else repr(path)[1:-1]


def test_each_takes_a_moment_and_little_memory(runs: Runs) -> None:
    taken = {f"{format}/{case.path}": runs.refusal(format, case) for format, case in ALL}
    assert {name: run.seconds for name, run in taken.items() if run.seconds >= MOST_SECONDS} == {}
    assert {name: run.memory for name, run in taken.items() if run.memory >= MOST_MEMORY} == {}


def test_nothing_else_is_opened_and_nothing_run(runs: Runs) -> None:
    for format, case in ALL:
        own = os.path.realpath(runs.folder / format) + "/" + case.path.partition("/")[0]
        seen = runs.refusal(format, case).seen
        assert [event for event in seen if not event.startswith(f"read {own}")] == [], case.path


def test_nothing_is_made_or_changed(runs: Runs) -> None:
    assert runs.after == runs.before


@each([(format, case) for format, case in ALL if case.listed])
def test_a_header_that_is_sound_is_listed(runs: Runs, format: str, case: Case) -> None:
    result = runs.results[inspect(runs.path(format, case))]
    assert (result.status, result.err) == (0, "")
    assert case.tensor is None or neutral(case.tensor) in result.out


def neutral(name: str) -> str:
    """A name as it is in a table."""
    return name if name.isprintable() else repr(name)[1:-1]


@each([(format, cases[0]) for format, cases in CASES.items()])
def test_every_command_says_the_same(runs: Runs, format: str, case: Case) -> None:
    path = runs.path(format, case)
    listed, compared = runs.results[inspect(path)], runs.results[compare(path)]
    assert (compared.status, compared.err) == (listed.status, listed.err)


def test_whoever_reads_the_data_says_the_same_of_them(runs: Runs) -> None:
    for path in (runs.path(format, case) for format, case in ALL if case.listed):
        measured, compared = runs.results[measure(path)], runs.results[compare(path)]
        assert (measured.err, measured.status in (1, 3)) == (compared.err, True), path
        assert measured.seconds < MOST_SECONDS, path
        assert measured.memory < MOST_MEMORY, path


def test_every_threat_is_tried_on_every_format_that_it_can_be_tried_on() -> None:
    tried = {(format, case.threat) for format, case in ALL}
    missing = {(format, threat) for format in CASES for threat in Threat} - tried
    assert {pair for pair in missing if pair[0] not in ("hugging-face-cache", "other")} == {
        ("npy", Threat.DUPLICATE),  # a file of one tensor
        ("shards", Threat.OVERFLOW),  # as in each of them
    }

"""`qcore expect`: the theory as a table and as data."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import pytest

import qcore

Command = Callable[..., tuple[int, str, str]]


def test_by_default_it_shows_every_grid_best_first_and_says_the_rest(run: Command) -> None:
    status, out, err = run("expect", "--bits", "4")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["scheme", "bits", "alpha", "SQNR", "dB", "NSR", "clipping"]
    rows = [line.split() for line in lines[2:7]]
    assert sorted(row[0] for row in rows) == sorted(qcore.ids("scheme"))
    shown = [float(row[3]) for row in rows]
    assert shown == sorted(shown, reverse=True)
    best = qcore.expected_sqnr(f"{rows[0][0]} bits=4", "normal", size=4096)
    assert shown[0] == pytest.approx(best, abs=0.006)
    assert "distribution normal, range minmax of 4,096" in " ".join(lines[7:])
    assert max(map(len, lines)) <= 80


def test_everything_takes_several_values(run: Command) -> None:
    status, out, err = run(
        "expect", "--scheme", "symmetric", "--bits", "2,3", "--distribution",
        "normal,student-t:5", "--size", "64", "--alpha", "3,optimal", "--format", "json",
    )  # fmt: skip
    assert (status, err) == (0, "")
    records = json.loads(out)
    assert len(records) == 2 * 2 * 3
    for record in records:
        recipe = f"{record['scheme']} bits={record['bits']}"
        taken = {"size": record["size"]} if record["size"] else {"alpha": record["alpha"]}
        again = qcore.expected_sqnr(recipe, record["distribution"], **taken)
        assert record["sqnr_db"] == pytest.approx(again, abs=1e-6)
    assert {record["size"] for record in records} == {64, None}


def test_sigmas_are_shown_where_they_are_not_the_scale(run: Command) -> None:
    taken = ("expect", "--scheme", "symmetric", "--alpha", "2", "--distribution")
    assert "sigmas" not in run(*taken, "normal")[1]
    assert " 1.414 " in run(*taken, "laplace")[1]


def test_a_width_that_a_scheme_lacks_is_left_out_with_a_note(run: Command) -> None:
    status, out, err = run("expect", "--scheme", "apot", "--bits", "4,9", "--alpha", "3")
    assert status == 0
    assert err == "qcore: left out: 'apot' has 2 to 8 bits, not 9\n"
    assert [line.split()[1] for line in out.splitlines() if line.startswith("apot")] == ["4"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--alpha", "wide"], "alpha=wide is neither a number above 0 nor 'optimal'"),
        (["--size", "1.5"], "--size: '1.5' is no whole number"),
        (["--size", "1"], "size=1: a block of random values holds at least 2"),
        (["--distribution", "lapace"], "unknown distribution 'lapace', did you mean 'laplace'?"),
        (["--distribution", "student-t:1"], "needs df above 2"),
        (["--rounding", "stochastic:1"], "choose one that does not"),
        (["--bits", "x"], "--bits: 'x' is no whole number"),
    ],
)
def test_a_mistake_is_one_line(run: Command, options: list[str], message: str) -> None:
    status, out, err = run("expect", "--scheme", "symmetric", *options)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_without_scipy_it_says_what_to_install(
    run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    status, _, err = run("expect")
    assert (status, err) == (
        2,
        "qcore: expected errors need SciPy; pip install 'qcore-quant[theory]'\n",
    )

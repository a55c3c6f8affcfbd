"""`qcore new-plugin`: a package to start from, and what to type next."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_says_what_was_written_and_what_to_type_next(run: Command) -> None:
    status, out, err = run("new-plugin", "ternary")
    assert (status, err) == (0, "")
    assert out == (
        "wrote qcore-ternary, which gives scheme 'ternary':\n"
        "  pyproject.toml\n"
        "  README.md\n"
        "  qcore_ternary/__init__.py\n"
        "  qcore_ternary/scheme.py\n"
        "  qcore_ternary/py.typed\n"
        "  tests/test_ternary.py\n"
        "next:\n"
        "  pip install -e 'qcore-ternary[test]'\n"
        "  python -m pytest qcore-ternary\n"
        "  qcore compare --scheme ternary\n"
    )
    assert Path("qcore-ternary/qcore_ternary/scheme.py").is_file()


def test_the_kind_and_the_folder_may_be_given(run: Command) -> None:
    status, out, _ = run("new-plugin", "qcore-seven", "--kind", "scale-format", "-o", "here")
    assert status == 0
    assert out.startswith("wrote here, which gives scale format 'seven':\n")
    assert Path("here/qcore_seven/scale_format.py").is_file()
    assert os.listdir() == ["here"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "name"),
        (["apot"], "scheme 'apot' is given by plugin 'apot' already; take another name"),
        (["float"], "'float' is a word of qcore's own; take another name, such as 'my-float'"),
        (["Ternary"], "'Ternary' is no name for a plugin"),
        (["ternary", "--kind", "shceme"], "unknown kind 'shceme', did you mean 'scheme'?"),
        (["ternary", "-o", "no/such"], "'no/such': there is no folder 'no'"),
    ],
    ids=str,
)
def test_wrong_usage_is_one_line_and_writes_nothing(
    run: Command, arguments: list[str], says: str
) -> None:
    status, out, err = run("new-plugin", *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("qcore: ")
    assert err.count("\n") == 1
    assert says.lower() in err.lower()
    assert os.listdir() == []


def test_a_second_time_is_refused(run: Command) -> None:
    run("new-plugin", "ternary")
    status, out, err = run("new-plugin", "ternary")
    assert (status, out) == (2, "")
    assert err == "qcore: 'qcore-ternary' holds something already; name another folder\n"

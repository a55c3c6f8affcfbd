"""An error is told in one line, with the place in a plugin's own code that it came from."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from qcore.blame import contained, innermost, keep_traceback, package_of, told
from qcore.errors import SchemeError

SOURCE = """
import json

def raises():
    return [][1]

def calls():
    return json.loads("{")

def wraps():
    try:
        raises()
    except IndexError as error:
        raise ValueError("wrapped") from error

def exits():
    raise SystemExit("bye")
"""


@pytest.fixture
def acme(tmp_path: Path) -> ModuleType:
    """A module of a package."""
    folder = tmp_path / "acme" / "deep"
    folder.mkdir(parents=True)
    (folder / "code.py").write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("acme.deep.code", folder / "code.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def raised(acme: ModuleType, name: str) -> Exception:
    with pytest.raises(Exception) as caught, contained():  # noqa: PT011  # any, and which is asked
        getattr(acme, name)()
    return caught.value


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("raises", "acme/deep/code.py:5, in raises"),
        ("calls", "acme/deep/code.py:8, in calls"),
        ("wraps", "acme/deep/code.py:14, in wraps"),
        ("exits", "acme/deep/code.py:17, in exits"),
    ],
)
def test_the_place_is_the_last_line_of_the_package_s_own(
    acme: ModuleType, name: str, line: str
) -> None:
    place = innermost(raised(acme, name), {"acme", "other"})
    assert place is not None
    assert (place.package, place.line) == ("acme", line)


def test_an_error_of_other_code_has_no_place(acme: ModuleType) -> None:
    assert innermost(raised(acme, "raises"), {"other"}) is None
    assert innermost(ValueError("never raised"), {"acme"}) is None


def test_the_package_of_a_module_is_its_first_part() -> None:
    assert [package_of(m) for m in ("acme", "acme.deep.code")] == ["acme", "acme"]


class Silent(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("first\nsecond"), "ValueError: first"),
        (ValueError(), "ValueError"),
        (KeyError("x"), "KeyError: 'x'"),
        (SchemeError("gave nothing"), "gave nothing"),
        (Silent(), "Silent"),
    ],
)
def test_an_error_is_told_in_one_line(error: Exception, line: str) -> None:
    assert told(error) == line


@pytest.mark.parametrize(
    "write", [lambda a: a.fill(0), lambda a: a.sort(), lambda a: a.__iadd__(1)]
)
def test_what_writes_to_its_blocks_is_told_the_way_out(write: object) -> None:
    blocks = np.ones(3)
    blocks.flags.writeable = False
    with pytest.raises(ValueError, match="is read-only") as caught:
        write(blocks)  # type: ignore[operator]
    assert told(caught.value).endswith("is read-only (blocks are read-only; make a copy)")


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, ValueError])
def test_interrupts_and_ordinary_errors_pass(error: type[BaseException]) -> None:
    with pytest.raises(error), contained():
        raise error


@pytest.mark.parametrize(
    ("error", "says"), [(SystemExit(3), "SystemExit: 3"), (BaseException(), "BaseException")]
)
def test_what_is_no_ordinary_error_becomes_one(error: BaseException, says: str) -> None:
    with pytest.raises(SchemeError) as caught, contained():
        raise error
    assert str(caught.value) == says
    assert caught.value.__cause__ is error


def test_where_an_error_came_from_is_logged_and_not_shown(
    acme: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    error = raised(acme, "raises")
    with caplog.at_level(logging.DEBUG, "qcore"):
        keep_traceback(error)
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (
        logging.DEBUG, "IndexError: list index out of range",
    )  # fmt: skip
    assert "in raises" in caplog.text

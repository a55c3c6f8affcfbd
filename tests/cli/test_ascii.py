"""A terminal of ASCII gets ASCII: qcore's words spelt out, and names from outside never renamed."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from qcore.cli.ascii_form import ascii_form, ascii_only, escaped
from qcore.cli.main import app, run_command

Command = Callable[..., tuple[int, str, str]]

_TABLES = [
    ("list",),
    ("plugins",),
    ("compare", "--scheme", "symmetric,pot", "--bits", "4", "--per-tensor"),
    ("inspect",),
    ("describe", "pot"),
    ("describe", "uniform,apot"),
    ("expect", "--scheme", "symmetric,pot", "--bits", "4", "--size", "64"),
    ("calibrate",),
]
_COMMANDS = [
    command.name or command.callback.__name__.replace("_", "-")
    for command in app.registered_commands
]


@pytest.fixture
def in_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("from 2⁻²⁴ to 2¹²⁷", "from 2^-24 to 2^127"),
        ("up to 2ᵏ⁺¹, 2ᵏ", "up to 2^(k+1), 2^k"),
        ("10·log₁₀(Σx² / Σe²)", "10*log_10(sum x^2 / sum e^2)"),
        ("y = x · wᵀ, eᵢ", "y = x * w^T, e_i"),
        ("{0} ∪ {2} in (−∞, +∞)", "{0} u {2} in (-inf, +inf)"),
        ("x̂ = ŵ, ±2σ, √2", "x^ = w^, +-2sigma, sqrt 2"),
        ("½ … ¼", "1/2 ... 1/4"),
        ("Pébay", r"P\xe9bay"),
        ("'a×b.svg': 3 × 4", r"'a\xd7b.svg': 3 x 4"),
        ("754's default · C's × round", "754's default * C's x round"),
    ],
)
def test_signs_are_spelt_and_what_is_quoted_is_escaped(text: str, form: str) -> None:
    assert ascii_form(text) == form


@given(st.text())
def test_any_text_becomes_ascii_and_ascii_stays(text: str) -> None:
    assert ascii_form(text).isascii()
    assert ascii_form(escaped(text)) == escaped(text)


@given(st.text().filter(lambda text: "\\" not in text))
def test_an_escaped_name_is_told_from_every_other(name: str) -> None:
    assert escaped(name).isascii()
    back = escaped(name).encode().decode("unicode_escape")
    assert back == name


@pytest.mark.usefixtures("in_c")
@pytest.mark.parametrize("arguments", _TABLES, ids=" ".join)
def test_every_table_is_ascii_and_fits(run: Command, arguments: tuple[str, ...]) -> None:
    status, out, err = run(*arguments)
    assert (status, out.isascii(), err.isascii()) == (0, True, True)
    assert "\\" not in out  # all that qcore says has a form
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.usefixtures("in_c")
@pytest.mark.parametrize("command", ["", "bench", *_COMMANDS])
def test_every_help_is_ascii(run: Command, command: str) -> None:
    status, out, _ = run(*command.split(), "--help")
    assert (status, out.isascii()) == (0, True)
    assert "+- Options -" in out


def test_a_stream_without_unicode_takes_the_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "")
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, "ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    assert run_command(["list", "--help"]) == 0
    stream.flush()
    assert b"observer, ..." in written.getvalue()


def test_a_stream_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, "utf-8")
    with ascii_only(stream):
        stream.write("2⁻¹ × x̂")
    stream.write(" ×")
    stream.flush()
    assert written.getvalue().decode() == "2^-1 x x^ ×"
    assert stream.errors == "strict"


@pytest.mark.usefixtures("in_c")
def test_a_complaint_is_ascii(run: Command) -> None:
    status, out, err = run("describe", "pot", "--rounding", "stochastic:1")
    assert (status, out, err.isascii()) == (2, "", True)
    assert "x^" in err
    assert r"'\xd7.npz'" in run("inspect", "×.npz")[2]


@pytest.mark.usefixtures("in_c")
@pytest.mark.parametrize("arguments", [("inspect",), ("compare", "--bits", "4", "--per-tensor")])
def test_a_tensor_keeps_its_name_and_columns_their_places(
    run: Command, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    def lines(name: str) -> list[str]:
        file = tmp_path / "m.safetensors"
        save_file(
            {name: np.eye(32, dtype=np.float32), "w" * 12: np.eye(32, dtype=np.float32)}, file
        )
        return run(*arguments, file)[1].splitlines()

    def starts(lines: list[str]) -> list[int]:
        return [line.index(" 32") if " 32" in line else len(line) for line in lines]

    shown, plain = lines("σ×"), lines("_u03c3_xd7")
    assert any(r"\u03c3\xd7" in line for line in shown)
    assert sorted(starts(shown)) == sorted(starts(plain))

"""What is shown where the terminal has ASCII alone: qcore's words spelt out, and names escaped."""

from __future__ import annotations

import codecs
import io
import os
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any

_SIGNS = str.maketrans(
    {
        "\N{COMBINING CIRCUMFLEX ACCENT}": "^",
        "ŵ": "w^",
        "·": "*",
        "−": "-",
        "–": "-",
        "×": "x",
        "÷": "/",
        "⁄": "/",
        "…": "...",
        "±": "+-",
        "≤": "<=",
        "≥": ">=",
        "→": "->",
        "⌊": "floor(",
        "⌋": ")",
    }
)
_WORDS = {
    "∞": "inf",
    "∈": "in",
    "∪": "u",
    "√": "sqrt",
    "∫": "integral",
    "Σ": "sum",
    "Π": "prod",
    "Δ": "Delta",
    "Φ": "Phi",
    "α": "alpha",
    "δ": "delta",
    "σ": "sigma",
    "φ": "phi",
}
"""Signs that become words, kept apart from the letter or digit that follows."""

_WORD = re.compile(rf"([{''.join(_WORDS)}])(?=(\w?))")

_QUOTED = re.compile(r"(?<!\w)'[^'\n]*'(?!\w)")
"""What a message quotes comes from outside."""


def ascii_form(text: str) -> str:
    """The text in ASCII: mathematical signs spelt out; what it quotes, and all else, escaped."""
    if text.isascii():
        return text
    text = _QUOTED.sub(lambda quoted: escaped(quoted[0]), text)
    text = _in_line(text)
    text = _WORD.sub(lambda at: _WORDS[at[1]] + " " * bool(at[2]), text)
    return escaped(text.translate(_SIGNS))


def escaped(text: str) -> str:
    r"""The text with each letter outside ASCII as `\xe9`: a name stays the name that it was."""
    return text.encode("ascii", "backslashreplace").decode()


def _in_line(text: str) -> str:
    """The text with superscripts as `^-126`, subscripts as `_10`, and fractions as `1/2`."""
    runs = groupby(text, lambda letter: unicodedata.decomposition(letter).partition(">")[0])
    return "".join(_lowered(kind, "".join(letters)) for kind, letters in runs)


def _lowered(kind: str, letters: str) -> str:
    if kind not in ("<super", "<sub", "<fraction"):
        return letters
    plain = unicodedata.normalize("NFKC", letters)
    if any(sign in plain[1:] for sign in "+−"):  # 2ᵏ⁺¹ is 2^(k+1), and not 2^k + 1
        plain = f"({plain})"
    return {"<super": "^", "<sub": "_", "<fraction": ""}[kind] + plain


@contextmanager
def ascii_only(stream: Any) -> Iterator[None]:
    """Write a stream in ASCII where that is all it takes, for what is drawn by others: the help."""
    if not (is_ascii(stream) and isinstance(stream, io.TextIOWrapper)):
        yield
        return
    encoding, errors = stream.encoding, stream.errors
    codecs.register_error("qcore.ascii_form", _spelt)
    stream.reconfigure(encoding="ascii", errors="qcore.ascii_form")
    try:
        yield
    finally:
        stream.reconfigure(encoding=encoding, errors=errors)


def _spelt(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return ascii_form(error.object[error.start : error.end]), error.end


def is_ascii(stream: Any) -> bool:
    """Whether a stream takes ASCII alone, or LC_ALL=C asks for it: Python writes UTF-8 there."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    wanted = os.environ.get("LC_ALL") in ("C", "POSIX")
    return wanted or not encoding.lower().replace("-", "").startswith("utf")

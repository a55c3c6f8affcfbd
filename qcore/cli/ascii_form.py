"""What is shown where the terminal has ASCII alone."""

from __future__ import annotations

import os
from typing import Any

_FORMS = {
    "x̂": "x^",
    "·": "*",
    "−": "-",
    "–": "-",
    "×": "x",
    "…": "...",
    "±": "+-",
    "∈": "in",
    "≤": "<=",
    "≥": ">=",
    "Σ": "sum",
    "→": "->",
    "√": "sqrt",
    "σ": "sigma",
    "α": "alpha",
    "²": "^2",
}


def ascii_form(text: str) -> str:
    """The text with its mathematical signs spelt in ASCII."""
    for sign, form in _FORMS.items():
        text = text.replace(sign, form)
    return text


def is_ascii(stream: Any) -> bool:
    """Whether a stream takes ASCII alone, or LC_ALL=C asks for it: Python writes UTF-8 there."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    wanted = os.environ.get("LC_ALL") in ("C", "POSIX")
    return wanted or not encoding.lower().replace("-", "").startswith("utf")

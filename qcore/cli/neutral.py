"""Text from files, on a terminal: shown, and not obeyed."""

from __future__ import annotations


def neutral(text: str) -> str:
    r"""The text with all that cannot be printed, such as a terminal's escapes, as `\x1b`."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)

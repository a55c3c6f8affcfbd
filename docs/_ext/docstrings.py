"""Takes docstrings as they are written: `names` in single backticks, |x| and * as themselves."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_CODE = re.compile(r"(``.+?``|`[^`]+`)", re.DOTALL)
_ARRAY = re.compile(
    r"(~?)numpy\.ndarray\[tuple\[~?typing\.Any, \.\.\.\], ~?numpy\.dtype\[(~?[\w.]+)\]\]"
)
_OBJECT = re.compile(r"<[^,()]*>")  # a default that is shown as no code would write it
_BEFORE_NAPOLEON = 400


def setup(app: Sphinx) -> dict[str, bool]:
    """Rewrite each docstring before napoleon reads its sections, and each signature."""
    app.connect("autodoc-process-docstring", rewrite, priority=_BEFORE_NAPOLEON)
    app.connect("autodoc-process-signature", shorten)
    return {"parallel_read_safe": True}


def rewrite(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """In place: the code of reStructuredText, and its special characters outside of code."""
    pieces = _CODE.split("\n".join(lines))
    lines[:] = "".join(
        f"``{piece.strip('`')}``" if _CODE.fullmatch(piece) else re.sub(r"([*|])", r"\\\1", piece)
        for piece in pieces
    ).split("\n")


def shorten(
    app: Sphinx,
    what: str,
    name: str,
    thing: Any,
    options: Any,
    signature: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    """A signature with NDArray for what it stands for, and without what does not parse."""
    texts = (
        text and _ARRAY.sub(r"\1numpy.typing.NDArray[\2]", _OBJECT.sub("...", text))
        for text in (signature, returns)
    )
    return next(texts), next(texts)

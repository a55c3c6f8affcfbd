"""Makes it an error for a page to fetch anything: the site is read without a network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|audio|video|embed)\b[^>]*?\bsrc\s*=\s*["']?(?:https?:)?//[^"'\s>]+"""
    r"""|<link\b[^>]*?\bhref\s*=\s*["']?(?:https?:)?//[^"'\s>]+"""
    r"""|(?:@import|url\()\s*["']?(?:https?:)?//[^"'\s)]+""",
    re.IGNORECASE,
)


def setup(app: Sphinx) -> dict[str, bool]:
    """Look at the whole site once it is written."""
    app.connect("build-finished", look)
    return {"parallel_read_safe": True}


def look(app: Sphinx, failure: Exception | None) -> None:
    """Warn of everything that a browser would fetch from elsewhere."""
    from sphinx.util import logging

    if failure is not None:
        return
    for path in sorted(Path(app.outdir).rglob("*")):
        if path.suffix in {".html", ".css"}:
            for found in FETCHED.findall(path.read_text(encoding="utf-8")):
                logging.getLogger(__name__).warning("%s fetches %s", path.name, found)

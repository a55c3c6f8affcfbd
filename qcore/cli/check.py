"""`qcore check`: whether a part keeps the laws of its interface."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qcore.cli.output import Format, OutputFormat, note, warn_of_plugins, write

if TYPE_CHECKING:
    from qcore.spec import Configurable
    from qcore.testing import CheckResult


def check(
    ids: Annotated[
        list[str] | None,
        typer.Argument(
            help="What to check: an id, or a spec such as apot:k=3; lead with its kind, as in "
            "scheme:apot, where two kinds have the id.",
            metavar="ID...",
            show_default=False,
        ),
    ] = None,
    all: Annotated[
        bool, typer.Option("--all", help="Everything that is installed.", metavar="")
    ] = False,
    example: Annotated[
        list[Path] | None,
        typer.Option(
            "--example",
            help="A file that a reader reads, to check it on; may be repeated.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    format: OutputFormat = Format.table,
) -> int:
    """Check that schemes, backends and other parts keep the laws of their interfaces.

    A scheme is checked at several bit widths and with each of its choices. Exit status 1: a law is
    broken.

    Example: qcore check apot
    """
    from qcore.cli.check_tables import CheckTable
    from qcore.errors import UsageError
    from qcore.testing import examples, run_checks

    if all == bool(ids):
        raise UsageError("name what to check, such as 'qcore check apot', or pass --all")
    for path in example or ():
        if not path.exists():
            raise UsageError(f"--example: there is no '{path}'")
    warn_of_plugins()
    targets = _everything() if all else [_target(text) for text in ids or ()]
    results: list[CheckResult] = []
    for _, cls, spec in targets:
        for part in examples(cls, spec):
            results += run_checks(part, example or ())
    records = [dataclasses.asdict(result) for result in results]
    if format is not Format.json:  # a row is a line
        for record in records:
            record["message"] = " ".join((record["message"] or "").split())
    write(format, CheckTable(results).draw, records)
    failed = sum(result.outcome == "failed" for result in results)
    if failed and format is not Format.table:
        note(f"qcore: {failed} check{'s' * (failed != 1)} failed", style="red")
    return 1 if failed else 0


Target = tuple[str, "type[Configurable]", str | None]


def _everything() -> list[Target]:
    from qcore.loading import ids, plugins
    from qcore.registry import KINDS

    return [(kind, plugins().get(kind, id), None) for kind in KINDS for id in ids(kind)]


def _target(text: str) -> Target:
    """The class that `[KIND:]ID[:field=value]` names, and the spec.

    Raises:
        UsageError: no kind has the id, or several do.
    """
    from qcore.errors import UsageError, nearest
    from qcore.loading import ids, plugins
    from qcore.registry import KINDS
    from qcore.spec import split

    head, colon, rest = text.partition(":")
    kind = head.replace("-", "_")
    having = [k for k in KINDS if head in ids(k)]
    if kind in KINDS and colon and not having:
        return kind, plugins().get(kind, split(rest)[0]), rest
    if not having:
        known = sorted({id for k in KINDS for id in ids(k)} | set(KINDS))
        raise UsageError(
            f"nothing that is installed has the id '{head}'{nearest(head, known)}; see qcore list"
        )
    if len(having) > 1:
        kinds = " and ".join(_with_article(k) for k in having)
        choices = " or ".join(f"{k.replace('_', '-')}:{text}" for k in having)
        raise UsageError(f"'{head}' is {kinds}; write {choices}")
    return having[0], plugins().get(having[0], head), text


def _with_article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind.replace('_', ' ')}"

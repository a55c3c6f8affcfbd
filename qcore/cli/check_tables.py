"""The table that `qcore check` draws: a line for each id, and below it what is broken."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from qcore.cli.columns import Column, Kind, table
from qcore.testing.laws import PLACE

if TYPE_CHECKING:
    from qcore.testing import CheckResult

_MOST_FAILURES = 20


@dataclass(frozen=True)
class _Line:
    """One id: how many of its objects were checked, and what came of it."""

    kind: str
    id: str
    objects: int
    outcomes: Counter[str]
    seconds: float


class CheckTable:
    """The outcomes of many checks."""

    def __init__(self, results: Sequence[CheckResult]) -> None:
        self._results = results

    def draw(self, _: object) -> RenderableType:
        """A line for each id, then each failure, then why checks were skipped."""
        return Group(
            table(_COLUMNS, self._lines()),
            *self._failures(),
            Text(self._caption(), style="dim"),
        )

    def _lines(self) -> list[_Line]:
        by_id: dict[tuple[str, str], list[CheckResult]] = {}
        for result in self._results:
            by_id.setdefault((result.kind, result.id), []).append(result)
        return [
            _Line(
                kind,
                id,
                len({result.object for result in own}),
                Counter(result.outcome for result in own),
                sum(result.seconds for result in own),
            )
            for (kind, id), own in by_id.items()
        ]

    def _failures(self) -> list[RenderableType]:
        """Each once, however many objects and checks it is met in."""
        alike: dict[tuple[str, ...], list[CheckResult]] = {}
        for result in self._results:
            if result.outcome == "failed":
                alike.setdefault(_cause(result), []).append(result)
        groups = list(alike.values())
        texts: list[RenderableType] = []
        for group in groups[:_MOST_FAILURES]:
            first = group[0]
            objects = _and_more([result.object for result in group])
            checks = _and_more([result.check for result in group])
            texts.append(Text(""))
            texts.append(Text(f"{objects}  {checks}", style="bold red"))
            texts.append(_indented(first.law, 2))
            texts += [_indented(line.strip(), 4) for line in (first.message or "").splitlines()]
        if len(groups) > _MOST_FAILURES:
            left = sum(map(len, groups[_MOST_FAILURES:]))
            texts += [Text(""), Text(f"and {left} more failures")]
        return [*texts, Text("")] if texts else []

    def _caption(self) -> str:
        skipped = Counter(
            str(result.message)
            for result in self._results
            if result.outcome == "skipped" and result.kind == "backend"
        )
        lines = [f"{reason} ({count} skipped)" for reason, count in skipped.items()]
        total = Counter(result.outcome for result in self._results)
        counts = f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped"
        return "\n".join([*lines, f"{len(self._results)} checks: {counts}"])


def _cause(result: CheckResult) -> tuple[str, ...]:
    """What failures have in common: what was raised, and where; or the check and how it failed."""
    first, *more = (result.message or "").splitlines() or [""]
    if more and more[-1].startswith(PLACE):
        # the engine says of which recipe it is, and whose it is; the place says enough
        return re.sub(r"^'[^']*' failed: | \(plugin '.*$", "", first), more[-1]
    return result.check, first, *more


def _and_more(names: Sequence[str]) -> str:
    first, *others = dict.fromkeys(names)
    return f"{first} and {len(others)} more" if others else first


def _indented(text: str, by: int) -> RenderableType:
    return Padding(Text(text, overflow="fold"), (0, 0, 0, by))


_COLUMNS = [
    Column("kind", lambda line: line.kind.replace("_", " ")),
    Column("id", lambda line: line.id),
    Column("objects", lambda line: str(line.objects), Kind.number),
    Column("passed", lambda line: str(line.outcomes["passed"]), Kind.number),
    Column("failed", lambda line: str(line.outcomes["failed"]), Kind.number),
    Column("skipped", lambda line: str(line.outcomes["skipped"]), Kind.number),
    Column("time", lambda line: f"{line.seconds:.2f} s", Kind.number),
]

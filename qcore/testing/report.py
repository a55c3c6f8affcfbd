"""All the checks of an object, run one after the other; every outcome is kept."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from qcore.testing.catalogue import checks_for
from qcore.testing.configuration import kind_of
from qcore.testing.examples import label
from qcore.testing.laws import CheckFailure, CheckSkipped, statement

Outcome = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class CheckResult:
    """What came of one check of one object.

    Attributes:
        kind: what the object is, such as `scheme`.
        id: the object's.
        object: its spec, and its width if it has one.
        check: the check's name.
        law: what it states.
        outcome: `passed`, `failed` or `skipped`.
        message: how the law is broken, or why it was not tried; None if it holds.
        seconds: what it took.
    """

    kind: str
    id: str
    object: str
    check: str
    law: str
    outcome: Outcome
    message: str | None
    seconds: float


def run_checks(part: Any, examples: Sequence[Path] = ()) -> list[CheckResult]:
    """Run every check of an object.

    Args:
        part: the object.
        examples: files that a reader reads; for other kinds none.

    Raises:
        TypeError: it implements none of qcore's interfaces.
    """
    kind = kind_of(part)
    results = []
    for check in checks_for(part):
        outcome: Outcome = "passed"
        message = None
        start = time.perf_counter()
        try:
            if kind == "reader" and check.__name__.startswith("check_reader"):
                check(part, examples=examples)
            else:
                check(part)
        except CheckSkipped as reason:
            outcome, message = "skipped", str(reason)
        except CheckFailure as failure:
            outcome, message = "failed", str(failure).partition("\n")[2]
        seconds = time.perf_counter() - start
        results.append(
            CheckResult(
                kind, part.id, label(part), check.__name__, statement(check), outcome, message,
                seconds,
            )
        )  # fmt: skip
    return results

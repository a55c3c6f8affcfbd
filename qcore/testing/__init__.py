"""The conformance kit: the laws of every interface, as checks that plugin authors run."""

from __future__ import annotations

from qcore.testing.catalogue import checks_for
from qcore.testing.examples import examples
from qcore.testing.laws import CheckFailure, CheckSkipped
from qcore.testing.parametrize import parametrize_with_checks
from qcore.testing.report import CheckResult, run_checks

__all__ = [
    "CheckFailure",
    "CheckResult",
    "CheckSkipped",
    "checks_for",
    "examples",
    "parametrize_with_checks",
    "run_checks",
]

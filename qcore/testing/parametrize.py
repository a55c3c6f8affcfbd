"""The checks as tests: one named test for each object and each of its checks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from qcore.errors import UsageError, nearest
from qcore.spec import Configurable
from qcore.testing.catalogue import checks_for
from qcore.testing.examples import examples, label
from qcore.testing.laws import CheckFailure

Test = TypeVar("Test", bound=Callable[..., Any])
Reasons = Mapping[str, str]


def parametrize_with_checks(
    objects: Iterable[Configurable | type[Configurable]],
    expected_failures: Reasons | Mapping[Any, Reasons] | None = None,
) -> Callable[[Test], Test]:
    """Make a test of every check of every object, for pytest.

    The test takes the object as its first argument, by any name, and the check as `check`::

        @qcore.testing.parametrize_with_checks([Ternary()])
        def test_conforms(scheme, check):
            check(scheme)

    Args:
        objects: of any kinds; a class stands for its `examples`.
        expected_failures: by the check's name, why it fails: marked xfail, strictly. Or such a
            mapping for each object, by the object itself, its spec, or its id.

    Raises:
        UsageError: an expected failure names no check, or the test has not these arguments.
    """
    import pytest

    parts: list[Any] = []
    for given in objects:
        parts += examples(given) if isinstance(given, type) else [given]
    expected = expected_failures or {}
    _refuse_unknown(parts, expected)
    cases = []
    for part in parts:
        reasons = _reasons(part, expected)
        for check in checks_for(part):
            reason = reasons.get(check.__name__)
            marks = () if reason is None else (
                pytest.mark.xfail(reason=reason, strict=True, raises=CheckFailure),
            )  # fmt: skip
            cases.append(
                pytest.param(part, check, id=f"{label(part)}-{check.__name__}", marks=marks)
            )

    def decorate(test: Test) -> Test:
        mark = pytest.mark.parametrize((_object_argument(test), "check"), cases)
        decorated: Test = mark(test)
        return decorated

    return decorate


def _object_argument(test: Callable[..., Any]) -> str:
    names = [name for name in inspect.signature(test).parameters if name != "self"]
    if "check" not in names or names[0] == "check":
        message = f"{test.__name__} takes {', '.join(names) or 'nothing'}"
        raise UsageError(f"{message}; its first argument is the object, another is 'check'")
    return names[0]


def _keys(part: Any) -> tuple[Any, ...]:
    return part, label(part), str(part), part.id


def _reasons(part: Any, expected: Mapping[Any, Any]) -> Reasons:
    reasons: dict[str, str] = {k: v for k, v in expected.items() if isinstance(v, str)}
    for key in reversed(_keys(part)):
        if isinstance(expected.get(key), Mapping):
            reasons |= expected[key]
    return reasons


def _refuse_unknown(parts: Iterable[Any], expected: Mapping[Any, Any]) -> None:
    """A failure that is expected of nothing would be forgotten."""
    parts = list(parts)
    every: set[str] = {check.__name__ for part in parts for check in checks_for(part)}
    for key, value in expected.items():
        if isinstance(value, Mapping):
            if not any(key in _keys(part) for part in parts):
                raise UsageError(f"expected_failures names '{key}', which is not checked here")
            names = list(value)
        else:
            names = [key]
        for name in names:
            if name not in every:
                raise UsageError(f"expected_failures: no check '{name}'{nearest(name, every)}")

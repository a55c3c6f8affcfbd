"""Executors that are broken on purpose: each is caught by the check that should catch it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest

import qcore.testing
from qcore import Team, Workers
from qcore.error_stats import ErrorStats
from qcore.parcel import Reply
from qcore.testing import CheckFailure, CheckSkipped

BROKEN: list[tuple[type[Any], str]] = []


def caught_by(check: str) -> Any:
    def add(cls: type[Any]) -> type[Any]:
        BROKEN.append((dataclass(frozen=True)(cls), check))
        return cls

    return add


@dataclass(frozen=True)
class Threads(Workers):
    """Nothing is wrong with these."""

    id: ClassVar[str] = "pool"
    pool: ClassVar[type[ThreadPoolExecutor]] = ThreadPoolExecutor

    @contextlib.contextmanager
    def open(self, count: int | None) -> Iterator[Team]:
        size = count or 2
        with self.pool(size) as executor:
            yield Team(executor, lambda: size)


@caught_by("check_executor_available")
class NoReason(Threads):
    def available(self) -> Any:
        return False


@caught_by("check_executor_available")
class LongReason(Threads):
    def available(self) -> str:
        return "it is not there\nat all"


@caught_by("check_executor_works")
class NoTeam(Threads):
    @contextlib.contextmanager
    def open(self, count: int | None) -> Iterator[Any]:
        with ThreadPoolExecutor() as executor:
            yield executor


@caught_by("check_executor_works")
class LosesResults(Threads):
    class pool(ThreadPoolExecutor):
        def submit(self, call: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            return super().submit(bool)


@caught_by("check_executor_respects_the_count")
class AlwaysFour(Threads):
    def open(self, count: int | None) -> Any:
        return super().open(4)


@caught_by("check_executor_gives_errors_back")
class Wraps(Threads):
    class pool(ThreadPoolExecutor):
        def submit(self, call: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            return super().submit(wrapped, call, *args)


def wrapped(call: Any, *args: Any) -> Any:
    try:
        return call(*args)
    except Exception as error:
        raise RuntimeError(f"a task failed: {error}") from error


@caught_by("check_executor_gives_what_threads_give")
class Approximate(Threads):
    class pool(ThreadPoolExecutor):
        def submit(self, call: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            return super().submit(rounded, call, *args)


def rounded(call: Any, *args: Any) -> Any:
    result = call(*args)
    return without_last_bits(result) if isinstance(result, Reply) else result


def without_last_bits(value: Any) -> Any:
    if isinstance(value, ErrorStats):
        return replace(value, e2=float(f"{value.e2:.6g}"))
    if hasattr(value, "__dataclass_fields__"):
        own = {name: without_last_bits(getattr(value, name)) for name in value.__dataclass_fields__}
        return replace(value, **own)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(without_last_bits, value))
    if isinstance(value, list | tuple):
        return type(value)(map(without_last_bits, value))
    return value


POOL = ThreadPoolExecutor(2)


@caught_by("check_executor_ends")
class NeverEnds(Threads):
    @contextlib.contextmanager
    def open(self, count: int | None) -> Iterator[Team]:
        yield Team(POOL, lambda: count or 2)


@caught_by("check_executor_ends")
class Swallows(Threads):
    @contextlib.contextmanager
    def open(self, count: int | None) -> Iterator[Team]:
        with ThreadPoolExecutor(1) as executor, contextlib.suppress(KeyError):
            yield Team(executor, lambda: count or 1)


@pytest.mark.parametrize(("cls", "check"), BROKEN, ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_broken_is_caught(cls: type[Any], check: str) -> None:
    checks = {each.__name__: each for each in qcore.testing.checks_for(cls())}
    with pytest.raises(CheckFailure, match=check):
        checks[check](cls())


def test_what_is_not_is_not() -> None:
    results = qcore.testing.run_checks(Threads())
    assert [result for result in results if result.outcome != "passed"] == []


@dataclass(frozen=True)
class Absent(Threads):
    def available(self) -> str:
        return "there is no cluster"


def test_what_cannot_run_here_is_skipped() -> None:
    results = {result.check: result for result in qcore.testing.run_checks(Absent())}
    assert results["check_executor_works"].outcome == "skipped"
    assert "there is no cluster" in results["check_executor_works"].message
    assert issubclass(CheckSkipped, qcore.QcoreError)

"""The kit itself: tests with names, failures that are expected, reports, and what it imports."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

import qcore
import qcore.testing
from qcore import Quantizer
from qcore.testing import CheckFailure, examples, parametrize_with_checks, run_checks
from qcore.testing.examples import label
from qcore.testing.laws import law, require_close, require_same, require_unchanged
from qcore.testing.stand_ins import Signs, Steps


@dataclass(frozen=True)
class Lacking(Signs):
    """Breaks one law: one of its codes has no value."""

    id: ClassVar[str] = "lacking"

    def decode(self, codes: Any, params: Any) -> Any:
        if (codes < -1).any():
            raise ValueError("-2 stands for nothing")
        return codes * params.scale


BROKEN_LAW = "check_scheme_every_code_has_a_value"


@parametrize_with_checks(
    [Signs(), Lacking()], expected_failures={"lacking": {BROKEN_LAW: "one code is never given"}}
)
def test_a_failure_may_be_expected_of_one_object(scheme: Quantizer, check: Any) -> None:
    check(scheme)


@parametrize_with_checks([Lacking], expected_failures={BROKEN_LAW: "one code is never given"})
def test_a_failure_may_be_expected_of_all(anything: Quantizer, check: Any) -> None:
    check(anything)


class TestInAClass:
    @parametrize_with_checks([qcore.create("rounding", "half-up")])
    def test_methods_take_checks_too(self, policy: Any, check: Any) -> None:
        check(policy)


def marks_of(decorated: Any) -> list[Any]:
    (mark,) = decorated.pytestmark
    return mark.args[1]


def test_there_is_one_named_test_a_check() -> None:
    def test(scheme: Any, check: Any) -> None: ...

    cases = marks_of(parametrize_with_checks([Steps(4), Steps(8)])(test))
    names = [case.id for case in cases]
    assert names[0] == "steps-bits=4-check_class_can_be_registered"
    assert len(set(names)) == len(names) == 2 * len(qcore.testing.checks_for(Steps))
    assert test.pytestmark[0].args[0] == ("scheme", "check")


def test_an_expected_failure_is_strict_and_says_why() -> None:
    def test(scheme: Any, check: Any) -> None: ...

    reasons = {BROKEN_LAW: "because"}
    cases = marks_of(parametrize_with_checks([Signs()], expected_failures=reasons)(test))
    (marked,) = [case for case in cases if case.marks]
    (mark,) = marked.marks
    assert (mark.name, mark.kwargs["reason"], mark.kwargs["strict"]) == ("xfail", "because", True)


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"check_scheme_code": "why"}, "no check 'check_scheme_code', did you mean "),
        ({"other": {BROKEN_LAW: "why"}}, "names 'other', which is not checked here"),
    ],
)
def test_a_failure_that_is_expected_of_nothing_is_refused(expected: Any, message: str) -> None:
    with pytest.raises(qcore.UsageError, match=message):
        parametrize_with_checks([Signs()], expected_failures=expected)


def test_a_test_without_the_arguments_is_refused() -> None:
    def test(check: Any) -> None: ...

    with pytest.raises(qcore.UsageError, match="its first argument is the object"):
        parametrize_with_checks([Signs()])(test)


def test_what_is_no_part_of_qcore_is_refused() -> None:
    with pytest.raises(TypeError, match="int implements none of qcore's interfaces"):
        qcore.testing.checks_for(3)


def test_a_report_has_every_check_with_its_law() -> None:
    results = run_checks(Lacking())
    assert [r.check for r in results] == [c.__name__ for c in qcore.testing.checks_for(Lacking)]
    by_outcome = {
        o: [r for r in results if r.outcome == o] for o in ("passed", "failed", "skipped")
    }
    (failed,) = by_outcome["failed"]
    assert (failed.kind, failed.id, failed.object) == ("scheme", "lacking", "lacking")
    assert failed.check == BROKEN_LAW
    assert (
        failed.law == "Every code in code_range has a finite value, whether encode gives it or not."
    )
    *told, place = failed.message.splitlines()
    assert told == [
        "raised ValueError: -2 stands for nothing", "  given each code from -2 to 1",
    ]  # fmt: skip
    assert re.fullmatch(r"  at .*test_the_kit\.py:\d+, in decode", place)
    assert all(r.message for r in by_outcome["skipped"])
    assert all(r.message is None and r.seconds >= 0 for r in by_outcome["passed"])


def test_a_message_shows_the_first_difference() -> None:
    with pytest.raises(CheckFailure) as caught:
        require_same(
            "codes", np.array([[1, 2, 9]]), np.array([[1, 2, 3]]), x=np.float32([[0, 1, 5]])
        )
    assert str(caught.value) == (
        "codes: 1 of 3 differ; first at [0, 2]: expected 3, got 9, for x = 5.0"
    )
    with pytest.raises(CheckFailure, match=r"codes: expected shape \(2,\), got \(3,\)"):
        require_same("codes", np.zeros(3), np.zeros(2))
    require_same("nothing", np.array([np.nan]), np.array([np.nan]))
    require_close("sums", np.array([1 + 1e-7]), np.array([1.0]), 1e-6)
    with pytest.raises(CheckFailure, match="sums, to 1e-06: 1 of 1 differ"):
        require_close("sums", np.array([1.01]), np.array([1.0]), 1e-6)
    with pytest.raises(CheckFailure, match="blocks was written to"):
        require_unchanged("blocks", np.zeros(2), -np.zeros(2))


def test_whatever_is_raised_names_the_law() -> None:
    @law
    def check_nothing(part: object) -> None:
        """Nothing is divided by zero."""
        1 / part  # type: ignore[operator]

    check_nothing(1)
    with pytest.raises(CheckFailure) as caught:
        check_nothing(0)
    assert str(caught.value) == (
        "check_nothing: Nothing is divided by zero.\nraised ZeroDivisionError: division by zero"
    )


def test_what_is_no_ordinary_error_breaks_a_law_too() -> None:
    @dataclass(frozen=True)
    class Leaving(Signs):
        id: ClassVar[str] = "leaving"

        def encode(self, blocks: Any, params: Any, rounding: Any) -> Any:
            raise SystemExit(3)

    with pytest.raises(CheckFailure, match=r"SystemExit: 3\n  given one element a block"):
        qcore.testing.schemes.check_scheme_codes(Leaving())


def test_a_class_that_fails_at_some_widths_is_checked_at_the_others() -> None:
    @dataclass(frozen=True)
    class Narrow(Signs):
        id: ClassVar[str] = "narrow"
        bits: int

        def __post_init__(self) -> None:
            if not 2 <= self.bits <= 4:
                raise ValueError("too wide")

    assert [made.bits for made in examples(Narrow)] == [2, 3, 4]
    (failed,) = {
        (r.check, r.message) for r in run_checks(Narrow(2)) if r.check == "check_refuses_options"
    }
    assert (
        "bits=-1 raised ValueError: too wide; refuse it with qcore.UsageError, or widths "
        in (failed[1])
    )

    @dataclass(frozen=True)
    class Never(Signs):
        id: ClassVar[str] = "never"

        def __post_init__(self) -> None:
            raise ValueError("never")

    with pytest.raises(qcore.UsageError, match="'never' failed: ValueError: never"):
        examples(Never)


def test_every_check_states_a_law_in_one_sentence() -> None:
    checks = {check for kind in qcore.testing.catalogue.CHECKS.values() for check in kind}
    assert len({check.__name__ for check in checks}) == len(checks)
    for check in checks | set(qcore.testing.configuration.CHECKS):
        first = check.__doc__.partition("\n")[0]
        assert first.endswith("."), check.__name__
        assert check.__name__.startswith("check_")


@pytest.mark.parametrize(
    ("kind", "id", "spec", "labels"),
    [
        ("scheme", "apot", "apot:k=3", ["apot:k=3-bits=4", "apot:k=3-bits=2", "apot:k=3-bits=3"]),
        ("scheme", "pot", "pot", ["pot-bits=2", "pot:domain=linear-bits=4"]),
        ("granularity", "channel", None, ["channel:1", "channel:2", "channel:4"]),
        ("granularity", "group", None, ["group:1", "group:4:tail=short"]),
        ("observer", "fixed", None, ["fixed:1:2", "fixed:2:3", "fixed:4:5"]),
        ("scale_format", "pow2", None, ["pow2", "pow2:nearest", "pow2:floor"]),
    ],
)  # fmt: skip
def test_examples_show_widths_choices_and_required_fields(
    kind: str, id: str, spec: str | None, labels: list[str]
) -> None:
    cls = qcore.loading.plugins().get(kind, id)
    made = examples(cls, spec)
    assert set(labels) <= {label(part) for part in made}
    assert len(set(made)) == len(made)


def test_a_spec_that_no_width_fits_says_so() -> None:
    with pytest.raises(qcore.UsageError, match="do not split into terms of k=0 bits"):
        examples(qcore.loading.plugins().get("scheme", "apot"), "apot:k=0")


def test_the_kit_needs_no_pytest_and_no_terminal() -> None:
    code = (
        "import sys; sys.modules['pytest'] = None; import qcore.testing as t; "
        "import qcore.testing.stand_ins as s; t.run_checks(s.Signs()); "
        "print([m for m in ('typer', 'rich', 'hypothesis') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_checks_hold_with_assertions_switched_off() -> None:
    code = (
        "import qcore.testing as t\n"
        "from qcore.testing.stand_ins import Signs\n"
        "class Bad(Signs): id = 'BAD'\n"
        "print([r.check for r in t.run_checks(Bad()) if r.outcome == 'failed'])"
    )
    done = subprocess.run(
        [sys.executable, "-O", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['check_class_can_be_registered']"

"""Schemes and policies that the kernels do not know run on the device as they are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

import qcore
from against_reference import (
    REFERENCE,
    Floats,
    Levels,
    Ternary,
    Up,
    assert_same,
    context_of,
    normal,
    policy_for,
    quantizer_of,
)
from qcore import Backend, Quantizer, QuantParams, RoundingPolicy
from qcore_cupy.errors import ORDER
from qcore_cupy.rules import rule_of


@dataclass(frozen=True)
class Wide(Ternary):
    """Its values are float64, and it can tell what is clipped."""

    id: ClassVar[str] = "wide"

    def decode(self, codes: Any, params: QuantParams) -> Any:
        return (codes * params.scale.astype(np.float64) / 3).copy()

    def clipped(self, blocks: Floats, params: QuantParams) -> Any:
        return np.abs(blocks) > params.scale


@pytest.mark.parametrize("quantizer", [Ternary(), Wide()])
@pytest.mark.parametrize("rounding", ["half-even", "stochastic:3"])
def test_a_scheme_that_is_no_grid_runs_as_it_is_written(
    backend: Backend, quantizer: Quantizer, rounding: str
) -> None:
    blocks = normal(7, 60)
    params, policy = quantizer.fit(blocks, context_of(blocks)), policy_for(rounding, (7, 60))
    codes = REFERENCE.encode(quantizer, blocks, params, policy)
    expected = REFERENCE.measure(quantizer, blocks, params, policy, ORDER)
    for order in "CF":
        laid = np.array(blocks, order=order)
        np.testing.assert_array_equal(backend.encode(quantizer, laid, params, policy), codes)
        found = backend.measure(quantizer, laid, params, policy, ORDER)
        for name in ORDER:
            wanted = pytest.approx(getattr(expected, name), rel=1e-12, nan_ok=True)
            assert getattr(found, name) == wanted, name
    values = REFERENCE.decode(quantizer, codes, params)
    np.testing.assert_array_equal(backend.decode(quantizer, codes, params), values)


@pytest.mark.parametrize("scheme", ["symmetric", "asymmetric", "uniform"])
def test_a_third_partys_policy_runs_as_it_is_written(backend: Backend, scheme: str) -> None:
    quantizer, blocks = quantizer_of(scheme, 4), normal(7, 60)
    assert rule_of(Up()) is None
    assert_same(backend, quantizer, blocks, quantizer.fit(blocks, context_of(blocks)), Up())


def test_a_scheme_with_an_encode_of_its_own_is_not_taken_for_its_grid(backend: Backend) -> None:
    @dataclass(frozen=True)
    class Zeros(Levels):
        def encode(self, blocks: Floats, params: QuantParams, rounding: RoundingPolicy) -> Any:
            return np.zeros(blocks.shape, np.int8)

    blocks, params = np.ones((2, 3), np.float32), QuantParams(np.ones((2, 1), np.float32))
    codes = backend.encode(Zeros((-1.0, 0.0, 1.0)), blocks, params, policy_for("floor", (2, 3)))
    np.testing.assert_array_equal(codes, 0)


def test_what_a_written_scheme_gives_must_be_codes_and_values(backend: Backend) -> None:
    @dataclass(frozen=True)
    class Odd(Ternary):
        wrong: str = "codes"

        def encode(self, blocks: Floats, params: QuantParams, rounding: RoundingPolicy) -> Any:
            return blocks if self.wrong == "codes" else blocks.astype(np.int8)

        def decode(self, codes: Any, params: QuantParams) -> Any:
            return codes[:, 1:] * params.scale

    given = np.ones((2, 3), np.float32), QuantParams(np.ones((2, 1), np.float32)), Up()
    with pytest.raises(qcore.SchemeError, match=r"gave float32 codes \(2, 3\) for \(2, 3\) blocks"):
        backend.encode(Odd(), *given)
    with pytest.raises(
        qcore.SchemeError, match=r"gave float32 values \(2, 2\) for \(2, 3\) blocks"
    ):
        backend.measure(Odd(wrong="values"), *given, ORDER)


@pytest.mark.parametrize("what", ["encode", "measure"])
def test_a_scheme_that_cannot_work_on_the_device_is_named_with_what_does_run_it(
    backend: Backend, what: str
) -> None:
    given = (np.ones((1, 3), np.float32), QuantParams(np.float32([[1]])), Up())
    message = (
        r"^'ternary' cannot work on CuPy arrays \(TypeError: Implicit conversion to a NumPy array "
        r"is not allowed.\); --backend numpy runs it$"
    )
    with pytest.raises(qcore.SchemeError, match=message):
        getattr(backend, what)(Ternary(fails=True), *given, *([ORDER] if what == "measure" else []))

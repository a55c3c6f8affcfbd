"""Quantized layers on the device are the reference's, to a rounding of float64 on the way."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

import qcore
from against_reference import (
    REFERENCE,
    Ternary,
    Up,
    context_of,
    integers,
    policy_for,
    quantizer_of,
)
from cuda_on_cpu import OnDevice
from qcore import AffineRows, Backend, Epilogue, Gap, QuantParams, Requantize, RoundingPolicy


def rows_of(
    rng: np.random.Generator,
    shape: tuple[int, int],
    dtypes: tuple[Any, ...],
    group: int,
    *,
    per_row: bool,
    constant: bool,
) -> AffineRows:
    digits = tuple(integers(rng, dtype, shape) for dtype in dtypes)
    fields = shape[0] if per_row else 1, max(1, -(-shape[1] // group))
    scale = np.exp2(rng.uniform(-3, 3, fields))
    return AffineRows(digits, scale, rng.standard_normal(fields) if constant else None, group)


def assert_same_layer(
    backend: Backend, x: AffineRows, w: AffineRows, epilogue: Epilogue, ulps: int = 2
) -> None:
    expected = REFERENCE.linear(x, REFERENCE.prepare_weights(w), epilogue)
    found = backend.linear(x, backend.prepare_weights(w), epilogue)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    if epilogue.requantize is not None:
        # A float64 sum in another order may, once in a blue moon, round to the other neighbour.
        assert np.abs(found.astype(int) - expected).max(initial=0) <= 1
        assert np.count_nonzero(found != expected) <= found.size // 200
        return
    terms = np.abs(expected).max(initial=0) * 2.0**-23
    np.testing.assert_allclose(found, expected, rtol=ulps * 2.0**-24, atol=ulps * terms * 2.0**-20)


DIGITS = [(np.int8,), (np.uint8,), (np.uint8, np.int8), (np.uint8, np.uint8)]
GROUPS = [(70, 70), (70, 32), (32, 70), (16, 16), (70, 24), (24, 24)]
CONSTANTS = list(itertools.product([False, True], repeat=2))
LAYERS = [
    *itertools.product([DIGITS[2]], [DIGITS[1]], GROUPS, CONSTANTS),
    *(
        (*digits, GROUPS[number % 6], constants)
        for number, (*digits, constants) in enumerate(itertools.product(DIGITS, DIGITS, CONSTANTS))
    ),
]
"""Every choice of constants with every cut of K, and with every pair of digits."""


@pytest.mark.parametrize(("x_digits", "w_digits", "groups", "constants"), LAYERS)
def test_layers_are_the_references(
    backend: Backend,
    x_digits: tuple[Any, ...],
    w_digits: tuple[Any, ...],
    groups: tuple[int, int],
    constants: tuple[bool, bool],
) -> None:
    rng = np.random.default_rng(sum(groups))
    for per_row in itertools.product([False, True], repeat=2):
        x = rows_of(rng, (9, 70), x_digits, groups[0], per_row=per_row[0], constant=constants[0])
        w = rows_of(rng, (21, 70), w_digits, groups[1], per_row=per_row[1], constant=constants[1])
        bias = rng.standard_normal(21) if per_row[0] else None
        assert_same_layer(backend, x, w, Epilogue(bias, relu=per_row[1]))


def test_one_product_without_constants_is_the_reference_to_the_bit(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    for x_type, w_type in itertools.product([np.int8, np.uint8], repeat=2):
        x = rows_of(rng, (33, 50), (x_type,), 50, per_row=True, constant=False)
        w = rows_of(rng, (40, 50), (w_type,), 50, per_row=True, constant=False)
        epilogue = Epilogue(rng.standard_normal(40), relu=True)
        expected = REFERENCE.linear(x, REFERENCE.prepare_weights(w), epilogue)
        found = backend.linear(x, backend.prepare_weights(w), epilogue)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("scheme", ["symmetric", "asymmetric:signed=false", "apot", "pot"])
@pytest.mark.parametrize("rounding", ["half-away", "stochastic:5"])
def test_layers_give_codes_and_tiles_make_no_difference(
    backend: Backend, scheme: str, rounding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    x = rows_of(rng, (37, 64), (np.uint8,), 32, per_row=True, constant=True)
    w = rows_of(rng, (19, 64), (np.int8,), 32, per_row=True, constant=False)
    quantizer = quantizer_of(scheme, 4)
    params = quantizer.fit(np.zeros((1, 1), "f4"), context_of(np.float32([[-4e4, 5e4]])))
    policy = qcore.create("rounding", rounding)
    epilogue = Epilogue(None, requantize=Requantize(quantizer, params, policy))
    whole = backend.linear(x, backend.prepare_weights(w), epilogue)
    assert_same_layer(backend, x, w, epilogue)
    monkeypatch.setattr("qcore_cupy.layer._TILE_ELEMENTS", 200)
    np.testing.assert_array_equal(backend.linear(x, backend.prepare_weights(w), epilogue), whole)


def test_layers_requantize_with_what_third_parties_wrote(backend: Backend) -> None:
    @dataclass(frozen=True)
    class Placed(RoundingPolicy):
        """Every other element up, from the one at place 1 on."""

        id: ClassVar[str] = "placed"
        needs_positions: ClassVar[bool] = True
        index: Any = None

        def at(self, index: NDArray[np.uint64]) -> RoundingPolicy:
            return Placed(index)

        def goes_up(self, gap: Gap) -> Any:
            return self.index % 2 == 1

    rng = np.random.default_rng(0)
    x = rows_of(rng, (5, 16), (np.int8,), 16, per_row=True, constant=False)
    w = rows_of(rng, (7, 16), (np.int8,), 16, per_row=True, constant=False)
    params = QuantParams(np.float32([[9e3]]))
    for quantizer, policy in [(quantizer_of("symmetric", 4), Placed()), (Ternary(), Up())]:
        epilogue = Epilogue(requantize=Requantize(quantizer, params, policy))
        expected = REFERENCE.linear(x, REFERENCE.prepare_weights(w), epilogue)
        found = backend.linear(x, backend.prepare_weights(w), epilogue)
        np.testing.assert_array_equal(found, expected)


def test_an_output_that_is_not_finite_becomes_no_code(backend: Backend) -> None:
    ones = np.ones((2, 16), np.int8)
    x, w = (
        AffineRows((ones,), np.array([[1e300]]), None, 16),
        AffineRows((ones,), np.eye(1), None, 16),
    )
    quantizer, params = quantizer_of("symmetric", 4), QuantParams(np.float32([[1]]))
    epilogue = Epilogue(requantize=Requantize(quantizer, params, policy_for("half-even", (1, 1))))
    for engine in (REFERENCE, backend):
        with np.errstate(over="ignore"), pytest.raises(qcore.NonFiniteError, match="4 of 4 values"):
            engine.linear(x, engine.prepare_weights(w), epilogue)


@pytest.mark.parametrize("shape", [(0, 5, 3), (4, 5, 0), (4, 0, 3)])
def test_layers_without_inputs_or_outputs(backend: Backend, shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    rng = np.random.default_rng(0)
    x = rows_of(rng, (m, k), (np.uint8,), max(k, 1), per_row=False, constant=True)
    w = rows_of(rng, (n, k), (np.int8,), max(k, 1), per_row=False, constant=False)
    assert_same_layer(backend, x, w, Epilogue(rng.standard_normal(n), relu=True))


def test_a_group_longer_than_int32_holds(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    x = rows_of(rng, (2, 140_000), (np.uint8,), 140_000, per_row=True, constant=False)
    w = rows_of(rng, (3, 140_000), (np.uint8,), 140_000, per_row=True, constant=False)
    assert_same_layer(backend, x, w, Epilogue())


def test_layers_come_out_where_they_went_in_and_refuse_a_mixture(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    x = rows_of(rng, (5, 16), (np.int8,), 16, per_row=True, constant=True)
    w = rows_of(rng, (7, 16), (np.int8,), 16, per_row=True, constant=False)
    prepared = backend.prepare_weights(w)
    expected = backend.linear(x, prepared, Epilogue())
    assert x.constant is not None
    on = [array.view(OnDevice) for array in (x.digits[0], x.scale, x.constant)]
    moved = AffineRows((on[0],), on[1], on[2], 16)
    np.testing.assert_array_equal(backend.linear(moved, prepared, Epilogue()), expected)
    mixed = AffineRows((on[0],), x.scale, on[2], 16)
    with pytest.raises(qcore.UsageError, match=r"x.digits\[0\] is on the GPU .* but x.scale is in"):
        backend.linear(mixed, prepared, Epilogue())
    with pytest.raises(qcore.UsageError, match="prepared by 'reference', not by 'cupy'"):
        backend.linear(x, REFERENCE.prepare_weights(w), Epilogue())

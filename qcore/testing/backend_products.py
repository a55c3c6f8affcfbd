"""Checks of backends: integer products are exact, and layers are the reference's."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.builtin.backends import Reference
from qcore.errors import DtypeError, ShapeError, UsageError
from qcore.interfaces.backend import Backend
from qcore.interfaces.epilogue import Epilogue, Requantize
from qcore.interfaces.products import AffineRows, PreparedMatrix, PreparedWeights, sum_dtype
from qcore.params import QuantParams
from qcore.testing.backends import require_available
from qcore.testing.blocks import frozen
from qcore.testing.laws import given, law, require, require_close, require_same
from qcore.testing.scheme_runs import HALF_EVEN
from qcore.testing.stand_ins import Steps

_DTYPES = (np.int8, np.uint8)
_SHAPES = (
    (1, 1, 1),
    (3, 5, 2),
    (7, 64, 9),
    (0, 4, 3),
    (4, 0, 3),
    (4, 3, 0),
    (2, 1300, 5),
    (17, 33, 65),
)


def _operands() -> Iterator[tuple[str, NDArray[Any], NDArray[Any]]]:
    """Random matrices of every pair of dtypes, and matrices of their extremes."""
    random = np.random.default_rng(6)
    for left, right in itertools.product(_DTYPES, _DTYPES):
        a, b = np.iinfo(left), np.iinfo(right)
        pair = f"{np.dtype(left)} × {np.dtype(right)}"
        for m, k, n in _SHAPES:
            x = random.integers(a.min, a.max + 1, (m, k)).astype(left)
            y = random.integers(b.min, b.max + 1, (k, n)).astype(right)
            yield f"{pair}, ({m}, {k}) @ ({k}, {n})", frozen(x), frozen(y)
        ends = itertools.product((a.min, a.max), (b.min, b.max))
        for low, high in ends:
            x, y = np.full((2, 1100), low, left), np.full((1100, 3), high, right)
            yield f"{pair}, all {low} @ all {high}, (2, 1100) @ (1100, 3)", x, y


@law
def check_backend_products_are_exact(backend: Backend) -> None:
    """Products are those of int64, to the bit, prepared or not: any shape, int8 and uint8."""
    require_available(backend)
    for name, a, b in _operands():
        with given(name):
            expected = a.astype(np.int64) @ b.astype(np.int64)
            dtype = sum_dtype(len(b), a.dtype, b.dtype)
            for how, right in (("plain", b), ("prepared", backend.prepare(b))):
                product = backend.gemm(a, right)
                require_same(f"the product, {how},", product, expected)
                require(product.dtype == dtype, f"the product is {product.dtype}, not {dtype}")


@law
def check_backend_products_of_any_layout(backend: Backend) -> None:
    """Operands may be vectors or stacks of matrices; strided, turned or reversed in memory."""
    require_available(backend)
    random = np.random.default_rng(8)
    a, b = (random.integers(-128, 128, shape).astype(np.int8) for shape in ((2, 3, 10), (10, 4)))
    wide = np.zeros((20, 12), np.int8)
    wide[::2, ::3] = b
    rights = {
        "C order": b,
        "Fortran order": np.asfortranarray(b),
        "strided": wide[::2, ::3],
        "reversed": b[::-1, ::-1].copy()[::-1, ::-1],
    }
    lefts = {"(10,)": a[0, 0], "(3, 10)": a[0], "(2, 3, 10)": a, "turned": a.transpose(1, 0, 2)}
    for (left, x), (right, y) in itertools.product(lefts.items(), rights.items()):
        with given(f"a {left}, b in {right}"):
            expected = x.astype(np.int64) @ y.astype(np.int64)
            require_same("the product", backend.gemm(frozen(x.view()), frozen(y.view())), expected)


@law
def check_backend_refuses_other_operands(backend: Backend) -> None:
    """Other dtypes are a DtypeError, wrong shapes a ShapeError, another's matrix a UsageError."""
    require_available(backend)
    a, b = np.ones((2, 3), np.int8), np.ones((3, 4), np.int8)
    foreign = PreparedMatrix("another-backend", (3, 4), b.dtype, b)
    weights = PreparedWeights("another-backend", _rows(4, 3))
    cases: list[tuple[str, type[Exception], Any]] = [
        ("a float32 left operand", DtypeError, lambda: backend.gemm(a.astype(np.float32), b)),
        ("an int16 right operand", DtypeError, lambda: backend.gemm(a, b.astype(np.int16))),
        ("(2, 3) @ (2, 4)", ShapeError, lambda: backend.gemm(a, b[:2])),
        ("a vector to prepare", ShapeError, lambda: backend.prepare(b[0])),
        ("a matrix that another prepared", UsageError, lambda: backend.gemm(a, foreign)),
        (
            "weights that another prepared",
            UsageError,
            lambda: backend.linear(_rows(2, 3), weights, Epilogue()),
        ),
    ]
    for what, error, call in cases:
        with given(what):
            try:
                call()
            except error:
                continue
            require(False, f"expected a {error.__name__}, and nothing was raised")


@law
def check_backend_layers_are_the_reference_s(backend: Backend) -> None:
    """A layer is the reference's: with scales, constants, groups, wide integers and epilogue."""
    require_available(backend)
    reference = Reference()
    quantizer, params = Steps(8), QuantParams(np.array([[300.0]], np.float32))
    epilogues = {
        "no epilogue": Epilogue(),
        "bias and ReLU": Epilogue(np.arange(5.0) * 100 - 250, relu=True),
        "requantized": Epilogue(requantize=Requantize(quantizer, params, HALF_EVEN)),
    }
    sides = {
        "one scale": (_rows(7, 24, one=True), _rows(5, 24)),
        "constants": (_rows(7, 24, constant=True), _rows(5, 24, constant=True)),
        "groups": (_rows(7, 24), _rows(5, 24, group=8)),
        "a short last group, and constants": (
            _rows(7, 22, group=5, constant=True),
            _rows(5, 22, constant=True),
        ),
        "16 bits": (_rows(7, 24, digits=2), _rows(5, 24, digits=2)),
        "no inputs": (_rows(7, 0), _rows(5, 0)),
        "no rows": (_rows(0, 24), _rows(5, 24)),
    }
    for (side, (x, w)), (ending, epilogue) in itertools.product(sides.items(), epilogues.items()):
        with given(f"{side}; {ending}"):
            expected = reference.linear(x, reference.prepare_weights(w), epilogue)
            found = backend.linear(x, backend.prepare_weights(w), epilogue)
            require(found.dtype == expected.dtype, f"the layer is {found.dtype}")
            # The operands have so few bits that float64 holds every sum.
            require_close("the layer", found, expected, 2.0**-22)


def _rows(
    count: int,
    depth: int,
    *,
    group: int | None = None,
    one: bool = False,
    constant: bool = False,
    digits: int = 1,
) -> AffineRows:
    """Random integers with scales and constants of few bits."""
    random = np.random.default_rng(count * 1000 + depth + digits)
    size = group or max(1, depth)
    per_group = (1 if one else count, -(-depth // size))
    low = [random.integers(0, 256, (count, depth)).astype(np.uint8) for _ in range(digits - 1)]
    high = random.integers(-128, 128, (count, depth)).astype(np.int8)
    scale = random.integers(1, 8, per_group) / 2
    constants = random.integers(-9, 9, per_group) / 4 if constant else None
    return AffineRows((*low, high), scale, constants, size)


CHECKS = (
    check_backend_products_are_exact,
    check_backend_products_of_any_layout,
    check_backend_refuses_other_operands,
    check_backend_layers_are_the_reference_s,
)

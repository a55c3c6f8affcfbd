"""Checks of schemes at the edges: zero, empty, constant, huge, faint and non-finite tensors."""

from __future__ import annotations

import numpy as np

from qcore.engine import quantize
from qcore.errors import NonFiniteError, RangeError
from qcore.interfaces.quantizer import Quantizer
from qcore.testing.blocks import constants, extremes
from qcore.testing.laws import given, law, require, require_same
from qcore.testing.scheme_runs import decoded, encoded, fitted, recipe_of, run, squares


@law
def check_scheme_zero_blocks(scheme: Quantizer) -> None:
    """A block of zeros decodes to zeros, alone and beside others."""
    for shape in ((1, 1), (1, 5), (3, 4)):
        with given(f"{shape[0]} × {shape[1]} zeros"):
            zeros = np.zeros(shape, np.float32)
            require_same("values", run(scheme, zeros).values, zeros)
            require_same("values of −0", run(scheme, -zeros).values, zeros)
    beside = np.array([[0, 0, 0], [1, -2, 3]], np.float32)
    with given("a block of zeros and [1, -2, 3]"):
        require_same("values", run(scheme, beside).values[0], beside[0])


@law
def check_scheme_constant_blocks(scheme: Quantizer) -> None:
    """A block of one value is rendered no worse than by zeros: Σe² ≤ Σx²."""
    for sample in constants():
        with sample.tried() as blocks:
            values = run(scheme, blocks).values
            error = squares(values - blocks.astype(np.float64))
            energy = squares(blocks)
            require(
                error <= energy * (1 + 1e-6),
                f"Σe² is {error:.6g}, Σx² is {energy:.6g}; x = {blocks[0, 0]}, x̂ = {values[0, 0]}",
            )


@law
def check_scheme_extreme_values(scheme: Quantizer) -> None:
    """At the ends of float32 values are finite and codes in range, or fit raises a RangeError."""
    for sample in extremes():
        with sample.tried() as blocks:
            try:
                fitted(scheme, blocks)
            except RangeError:
                continue
            run(scheme, blocks)


@law
def check_scheme_clipped_range(scheme: Quantizer) -> None:
    """Far outside the range codes stay in range, and a large value is not taken for a small one."""
    inside = np.array([[-1e-3, 1e-3, 5e-4, 0]], np.float32)
    outside = np.array([[-3e38, -1e30, -1e9, 1e9, 1e30, 3e38]], np.float32)
    params = fitted(scheme, inside)
    with given("blocks that go from -3e38 to 3e38, with the params of [-1e-3, 1e-3]"):
        values = decoded(scheme, encoded(scheme, outside, params), params)
        highest = np.maximum.accumulate(values, axis=1)
        require_same("values, in ascending order", values, highest, x=outside)
        require(values[0, 0] < values[0, -1], f"every value is {values[0, 0]}")


@law
def check_scheme_empty_tensors(scheme: Quantizer) -> None:
    """A tensor without elements quantizes to none, with the fields of any other."""
    usual = quantize(np.ones((2, 3), np.float32), recipe_of(scheme))
    for shape in ((0,), (0, 4), (4, 0)):
        with given(f"a tensor of shape {shape}"):
            empty = quantize(np.zeros(shape, np.float32), recipe_of(scheme))
            require_same("values", empty.dequantize(), np.zeros(shape))
            found, expected = set(empty.params.fields()), set(usual.params.fields())
            require(found == expected, f"expected the fields {expected}, got {found}")
            require(empty.codes.dtype == usual.codes.dtype, f"codes are {empty.codes.dtype}")


@law
def check_scheme_nonfinite_tensors(scheme: Quantizer) -> None:
    """NaN and infinities are refused; with nonfinite='clip' values are finite, or out of range."""
    x = np.array([[1, np.nan, -2], [np.inf, 0.5, -np.inf]], np.float32)
    recipe = recipe_of(scheme, granularity="channel:0")
    try:
        quantize(x, recipe)
    except NonFiniteError as error:
        require(error.count == 3, f"counted {error.count} values that are not finite, of 3")
    else:
        require(False, "NaN and infinities were quantized")
    try:
        clipped = quantize(x, recipe, nonfinite="clip")
    except RangeError:
        return
    require(np.isfinite(clipped.dequantize()).all(), "values are not finite")


@law
def check_scheme_tails_and_shapes(scheme: Quantizer) -> None:
    """Tensors of any rank, with blocks that do not divide them, come back in their shape."""
    random = np.random.default_rng(3)
    for shape in ((), (1,), (7,), (3, 7), (2, 3, 5), (1, 1, 1, 2)):
        x = random.standard_normal(shape).astype(np.float32)
        for granularity in ("tensor", "token", "group:4:tail=short"):
            with given(f"shape {shape}, granularity={granularity}"):
                q = quantize(x, recipe_of(scheme, granularity=granularity), threads=1)
                require(q.codes.shape == shape, f"codes have shape {q.codes.shape}")
                values = q.dequantize()
                require(values.shape == shape, f"values have shape {values.shape}")
                require(np.isfinite(values).all(), "values are not finite")


CHECKS = (
    check_scheme_zero_blocks,
    check_scheme_constant_blocks,
    check_scheme_extreme_values,
    check_scheme_clipped_range,
    check_scheme_empty_tensors,
    check_scheme_nonfinite_tensors,
    check_scheme_tails_and_shapes,
)

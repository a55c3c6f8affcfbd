"""Codes, values and error sums of blocks: by the kernels, or as the scheme is written."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from qcore import (
    Backend,
    ErrorStats,
    Grid,
    LevelGrid,
    Quantizer,
    QuantParams,
    RangeError,
    RoundingPolicy,
    SchemeError,
)
from qcore_cupy.device import Device
from qcore_cupy.dispatch import attempt, device_params, device_rounding
from qcore_cupy.errors import measure_scheme, measure_values
from qcore_cupy.layout import Laid
from qcore_cupy.rules import Rule, rule_of
from qcore_cupy.schemes import known_grid, knows, scheme_for

_DECODED = frozenset(np.dtype(name) for name in ("i1", "u1", "i2", "u2", "i4", "u4", "i8"))
"""The dtypes of codes that the kernels decode."""


def codes_of(
    device: Device,
    quantizer: Quantizer,
    blocks: Laid,
    params: QuantParams,
    rounding: RoundingPolicy,
    first: int = 0,
) -> Any:
    """The codes of float32 blocks, (n, b) on the device.

    Args:
        device: where.
        quantizer: the scheme.
        blocks: what to encode.
        params: n rows, of the host or of the device.
        rounding: for these elements; or for all of a tensor, if it is known to the kernels.
        first: the first element's place in that tensor.

    Raises:
        SchemeError: the scheme is not known to the kernels, and cannot work on CuPy arrays.
    """
    found = _known(quantizer, params, rounding)
    if found is None:
        x, own = blocks.shaped(blocks.flat), device_params(device, params)
        policy = device_rounding(device, rounding)
        codes = attempt(quantizer, lambda: _written_codes(quantizer, x, own, policy))
        return device.xp.asarray(codes)
    grid, rule = found
    codes = device.xp.empty(blocks.flat.shape, grid.code_dtype)
    if blocks.groups:
        scheme = scheme_for(device, grid, params, blocks, rule._replace(position=first))
        arguments = (blocks.structure, scheme, blocks.flat, codes)
        device.launch(f"encode_{grid.code_dtype}", blocks.groups, *arguments)
    return blocks.shaped(codes)


def values_of(device: Device, quantizer: Quantizer, codes: Laid, params: QuantParams) -> Any:
    """The values of codes, (n, b) float32 on the device.

    Raises:
        RangeError: a code is none of the scheme's.
        SchemeError: the scheme is not known to the kernels, and cannot work on CuPy arrays.
    """
    grid, dtype = known_grid(quantizer), codes.flat.dtype
    if grid is None or not knows(grid, params) or dtype not in _DECODED:
        x, own = codes.shaped(codes.flat), device_params(device, params)
        return device.xp.asarray(attempt(quantizer, lambda: quantizer.decode(x, own)))
    values = device.xp.empty(codes.flat.shape, np.float32)
    outside = device.xp.zeros(1, np.int32)
    if codes.groups:
        scheme = scheme_for(device, grid, params, codes)
        arguments = (codes.structure, scheme, codes.flat, values, outside)
        device.launch(f"decode_{dtype}", codes.groups, *arguments)
    if isinstance(grid, LevelGrid) and int(outside[0]):
        low, high = grid.code_range
        raise RangeError(f"codes of this grid are {low} … {high}; got one outside")
    return codes.shaped(values)


def stats_of(
    backend: Backend,
    device: Device,
    quantizer: Quantizer,
    blocks: Laid,
    params: QuantParams,
    rounding: RoundingPolicy,
    sums: Collection[str],
) -> ErrorStats:
    """The error sums of decode(encode(blocks)).

    Raises:
        SchemeError: the scheme is not known to the kernels, and cannot work on CuPy arrays, or
            gives what is no rendering of the blocks.
    """
    found = _known(quantizer, params, rounding)
    if found is not None:
        grid, rule = found
        scheme = scheme_for(device, grid, params, blocks, rule)
        return measure_scheme(device, blocks, scheme, sums)
    x = blocks.shaped(blocks.flat)
    own, policy = device_params(device, params), device_rounding(device, rounding)

    def written() -> ErrorStats:
        codes = _written_codes(quantizer, x, own, policy)
        values = quantizer.decode(codes, own)
        if values.shape != x.shape or values.dtype.kind != "f":
            raise SchemeError(f"gave {values.dtype} values {values.shape} for {x.shape} blocks")
        stats = measure_values(device, blocks, blocks.alike(device, values), sums)
        return backend.count_clipped(stats, quantizer, x, own, sums)

    return attempt(quantizer, written)


def _written_codes(
    quantizer: Quantizer, x: Any, params: QuantParams, rounding: RoundingPolicy
) -> Any:
    codes = quantizer.encode(x, params, rounding)
    if codes.shape != x.shape or codes.dtype.kind not in "iu":
        raise SchemeError(f"gave {codes.dtype} codes {codes.shape} for {x.shape} blocks")
    return codes


def _known(
    quantizer: Quantizer, params: QuantParams, rounding: RoundingPolicy
) -> tuple[Grid, Rule] | None:
    """The grid and the rule, where the kernels know both; otherwise None."""
    grid, rule = known_grid(quantizer), rule_of(rounding)
    if grid is None or rule is None or not knows(grid, params):
        return None
    return grid, rule

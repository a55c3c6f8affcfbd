"""A scheme run on blocks as the engine runs it: fit, encode, decode, each result checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.builtin.roundings import HalfEven
from qcore.builtin.scale_formats import Float32
from qcore.interfaces.boundary import check_codes, check_params, check_values
from qcore.interfaces.quantizer import FitContext, Quantizer
from qcore.interfaces.rounding import RoundingPolicy
from qcore.interfaces.scale_format import ScaleFormat
from qcore.params import QuantParams
from qcore.recipe import Recipe
from qcore.testing.blocks import Floats
from qcore.testing.laws import require

HALF_EVEN = HalfEven()
FLOAT32 = Float32()


@dataclass(frozen=True, eq=False)
class Run:
    """What a scheme made of some blocks."""

    params: QuantParams
    codes: NDArray[Any]
    values: Floats


def context_of(
    scheme: Quantizer, blocks: Floats, scale_format: ScaleFormat = FLOAT32
) -> FitContext:
    """What the engine tells a scheme of blocks whose range is from least to greatest."""
    lo, hi = blocks.min(axis=1, keepdims=True), blocks.max(axis=1, keepdims=True)
    ends = (float(lo.min()), float(hi.max())) if scheme.needs_tensor_range else None
    return FitContext(lo, hi, scale_format.snap, ends)


def fitted(scheme: Quantizer, blocks: Floats, scale_format: ScaleFormat = FLOAT32) -> QuantParams:
    """The params of blocks, checked."""
    params = scheme.fit(blocks, context_of(scheme, blocks, scale_format))
    check_params(params, len(blocks))
    return params


def encoded(
    scheme: Quantizer,
    blocks: Floats,
    params: QuantParams,
    rounding: RoundingPolicy = HALF_EVEN,
) -> NDArray[Any]:
    """The codes of blocks, checked, in the dtype in which they are stored."""
    codes = scheme.encode(blocks, params, rounding)
    check_codes(codes, blocks.shape, scheme)
    return codes.astype(scheme.code_dtype)


def decoded(scheme: Quantizer, codes: NDArray[Any], params: QuantParams) -> Floats:
    """The values of codes, checked."""
    values: Floats = scheme.decode(codes, params)
    check_values(values, codes.shape)
    require(np.isfinite(values).all(), "decode gave values that are not finite")
    return values


def run(scheme: Quantizer, blocks: Floats, rounding: RoundingPolicy = HALF_EVEN) -> Run:
    """Fit, encode and decode."""
    params = fitted(scheme, blocks)
    codes = encoded(scheme, blocks, params, rounding)
    return Run(params, codes, decoded(scheme, codes, params))


def recipe_of(scheme: Quantizer, **axes: str) -> Recipe:
    """A recipe with this very object, which a recipe takes where it takes a spec."""
    return Recipe(scheme, **axes)  # type: ignore[arg-type]


def squares(errors: Any) -> float:
    """Σe², in float64."""
    wide = np.asarray(errors, np.float64).ravel()
    return float(wide @ wide)

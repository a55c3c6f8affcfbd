"""What the kernels are compared with the reference on, and how."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

import qcore
from qcore import (
    Backend,
    FitContext,
    Gap,
    GridQuantizer,
    LevelGrid,
    Quantizer,
    QuantParams,
    RoundingPolicy,
)
from qcore_cupy.errors import ORDER

Floats = NDArray[np.float32]

REFERENCE = qcore.create("backend", "reference")
LARGEST = float(np.finfo(np.float32).max)
POLICIES = (
    "half-even", "half-up", "half-down", "half-toward-zero", "half-away", "dpu", "floor", "ceil",
    "toward-zero", "stochastic:7",
)  # fmt: skip


def quantizer_of(scheme: str, bits: int) -> GridQuantizer:
    made = qcore.create("scheme", scheme, bits=bits)
    assert isinstance(made, GridQuantizer)
    return made


def context_of(blocks: Floats) -> FitContext:
    snap = qcore.create("scale_format", "float32").snap
    return FitContext(blocks.min(axis=1, keepdims=True), blocks.max(axis=1, keepdims=True), snap)


def policy_for(rounding: str, shape: tuple[int, ...]) -> RoundingPolicy:
    policy = qcore.create("rounding", rounding)
    assert isinstance(policy, RoundingPolicy)
    return policy.at(np.arange(math.prod(shape), dtype=np.uint64).reshape(shape) * np.uint64(3))


def normal(*shape: int) -> Floats:
    return np.random.default_rng(4).standard_normal(shape).astype(np.float32)


def integers(rng: np.random.Generator, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """Of the whole range, with the ends in abundance."""
    info = np.iinfo(dtype)
    drawn = rng.integers(info.min, info.max, shape, endpoint=True)
    ends = rng.choice([info.min, info.max], shape)
    return np.where(rng.random(shape) < 0.3, ends, drawn).astype(dtype)


# --- as third parties write them ------------------------------------------------------------------


@dataclass(frozen=True)
class Levels(GridQuantizer):
    """Any levels, with any thresholds."""

    id: ClassVar[str] = "levels"
    bits: ClassVar[int] = 8
    units: tuple[float, ...]
    thresholds: tuple[float, ...] | None = None

    @property
    def grid(self) -> LevelGrid:
        return LevelGrid(self.units, self.thresholds)

    def params(self, context: FitContext) -> QuantParams:
        return QuantParams(context.snap(np.maximum(context.largest(signed=True), np.float32(1))))


@dataclass(frozen=True)
class Ternary(Quantizer):
    """No grid. If it `fails`, it uses what only works on NumPy's own arrays."""

    id: ClassVar[str] = "ternary"
    bits: ClassVar[int] = 2
    fails: bool = False

    def fit(self, blocks: Floats, context: FitContext) -> QuantParams:
        return QuantParams(np.abs(blocks).mean(axis=1, keepdims=True))

    def encode(self, blocks: Floats, params: QuantParams, rounding: RoundingPolicy) -> Any:
        if self.fails:
            raise TypeError("Implicit conversion to a NumPy array is not allowed.\nUse .get().")
        return np.clip(rounding.round(blocks / params.scale), -1, 1).astype(np.int8)

    def decode(self, codes: Any, params: QuantParams) -> Any:
        return codes * params.scale


@dataclass(frozen=True)
class Up(RoundingPolicy):
    """A policy that the kernels do not know."""

    id: ClassVar[str] = "up"

    def goes_up(self, gap: Gap) -> Any:
        return gap.x > gap.lower + 0.25


# --- the comparison -------------------------------------------------------------------------------


def assert_same(
    backend: Backend,
    quantizer: Quantizer,
    blocks: Floats,
    params: QuantParams,
    rounding: RoundingPolicy,
    orders: str = "CF",
) -> None:
    """Codes, values and sums, of blocks in these orders in memory."""
    with np.errstate(all="ignore"):  # as the engine calls
        codes = REFERENCE.encode(quantizer, blocks, params, rounding)
        values = REFERENCE.decode(quantizer, codes, params)
        stats = REFERENCE.measure(quantizer, blocks, params, rounding, ORDER)
    for order in orders:
        laid = np.array(blocks, order=order)
        laid.flags.writeable = False
        found = backend.encode(quantizer, laid, params, rounding)
        assert found.dtype == codes.dtype
        np.testing.assert_array_equal(found, codes)
        decoded = backend.decode(quantizer, np.array(codes, order=order), params)
        assert decoded.dtype == np.float32
        np.testing.assert_array_equal(decoded.view(np.uint32), values.view(np.uint32))
        measured = backend.measure(quantizer, laid, params, rounding, ORDER)
        assert measured.count == stats.count
        for name in ORDER:
            size = math.sqrt(stats.x2 * stats.y2) if name == "xy" else 0.0
            wanted = pytest.approx(getattr(stats, name), rel=1e-12, abs=1e-12 * size, nan_ok=True)
            assert getattr(measured, name) == wanted, name
        assert measured.max_e == stats.max_e
        assert measured.clipped == stats.clipped

"""Schemes that are broken on purpose: each is caught by the check that should catch it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import pytest

import qcore
import qcore.testing
from qcore import FitContext, GridQuantizer, IntegerGrid, Quantizer, QuantParams, RoundingPolicy
from qcore.testing import CheckFailure


@dataclass(frozen=True)
class Ternary(Quantizer):
    """The scheme of the style guide: the scale is the block's mean magnitude."""

    id: ClassVar[str] = "ternary"
    bits: ClassVar[int] = 2

    def fit(self, blocks: Any, context: FitContext) -> QuantParams:
        scale = np.abs(blocks).mean(axis=1, keepdims=True)
        return QuantParams(context.snap(np.where(scale > 0, scale, 1)))

    def encode(self, blocks: Any, params: QuantParams, rounding: RoundingPolicy) -> Any:
        return np.clip(rounding.round(blocks / params.scale), -1, 1).astype(np.int8)

    def decode(self, codes: Any, params: QuantParams) -> Any:
        return codes * params.scale


@dataclass(frozen=True)
class Even(GridQuantizer):
    """A healthy grid of 4 bits."""

    id: ClassVar[str] = "even"
    bits: ClassVar[int] = 4

    @property
    def grid(self) -> IntegerGrid:
        return IntegerGrid(-7, 7)

    def params(self, context: FitContext) -> QuantParams:
        largest = context.largest(signed=True)
        return QuantParams(context.snap(np.where(largest > 0, largest / np.float32(7), 1)))


BROKEN: list[tuple[type[Any], str]] = []


def caught_by(check: str) -> Any:
    """Put a class on the list, as a frozen dataclass unless it says otherwise."""

    def add(cls: type[Any]) -> type[Any]:
        made = cls if "__dataclass_params__" in vars(cls) else dataclass(frozen=True)(cls)
        BROKEN.append((made, check))
        return made

    return add


# --- configuration --------------------------------------------------------------------------------


@caught_by("check_class_can_be_registered")
class Shouting(Ternary):
    id = "TERNARY"


@caught_by("check_class_can_be_registered")
@dataclass(unsafe_hash=True)
class Thawed(Quantizer):
    id: ClassVar[str] = "thawed"
    bits: ClassVar[int] = 2
    fit, encode, decode = Ternary.fit, Ternary.encode, Ternary.decode


@caught_by("check_is_a_value")
@dataclass(frozen=True, eq=False)
class NoValue(Quantizer):
    id: ClassVar[str] = "no-value"
    bits: ClassVar[int] = 2
    fit, encode, decode = Ternary.fit, Ternary.encode, Ternary.decode


@caught_by("check_config_round_trip")
class TupleField(Ternary):
    levels: tuple[float, ...] = (1.0, 2.0)


@caught_by("check_spec_round_trip")
class ColonInField(Ternary):
    name: str = "a:b=c"

    def __str__(self) -> str:
        return f"ternary:{self.name}"


@caught_by("check_refuses_options")
class RefusesByAnotherError(Ternary):
    mu: float = 1.0

    def __post_init__(self) -> None:
        if not self.mu > 0:
            raise ValueError("mu must be positive")


@caught_by("check_scheme_refuses_widths")
class TakesAnyWidth(Ternary):
    bits: int = 2


# --- fit ------------------------------------------------------------------------------------------


@caught_by("check_scheme_params")
class WideScale(Ternary):
    def fit(self, blocks: Any, context: FitContext) -> QuantParams:
        return QuantParams(super().fit(blocks, context).scale.astype(np.float64))


@caught_by("check_scheme_params")
class FlatScale(Ternary):
    def fit(self, blocks: Any, context: FitContext) -> QuantParams:
        return QuantParams(super().fit(blocks, context).scale.ravel())


@caught_by("check_scheme_scale_is_stored")
class UnstoredScale(Ternary):
    def fit(self, blocks: Any, context: FitContext) -> QuantParams:
        scale = np.abs(blocks).mean(axis=1, keepdims=True)
        return QuantParams(np.where(scale > 0, scale, np.float32(1)))


@caught_by("check_scheme_zero_blocks")
class NoScaleForZeros(Ternary):
    def fit(self, blocks: Any, context: FitContext) -> QuantParams:
        return QuantParams(np.abs(blocks).mean(axis=1, keepdims=True))


@caught_by("check_scheme_constant_blocks")
class OneOverSpread(Ternary):
    """A spread of 0 makes its inverse infinite."""

    def fit(self, blocks: Any, context: FitContext) -> QuantParams:
        spread = np.ptp(blocks, axis=1, keepdims=True)
        return QuantParams(context.snap(1 / context.snap(1 / spread)))


@caught_by("check_scheme_blocks_are_independent")
class OneMeanForAll(Ternary):
    def fit(self, blocks: Any, context: FitContext) -> QuantParams:
        return QuantParams(context.snap(np.full((len(blocks), 1), np.abs(blocks).mean() + 1e-9)))


@caught_by("check_scheme_granularity_is_all")
class NumberOfBlocks(Ternary):
    def fit(self, blocks: Any, context: FitContext) -> QuantParams:
        scale = super().fit(blocks, context).scale
        return QuantParams(context.snap(scale * (2 if len(blocks) > 1 else 1)))


@caught_by("check_scheme_blocks_may_come_in_pieces")
class ElementsOfPieces(Even):
    """Looks at the elements, without saying that it needs them all."""

    def fit(self, blocks: Any, context: FitContext) -> QuantParams:
        largest = np.abs(blocks).max(axis=1, keepdims=True)
        return QuantParams(context.snap(np.where(largest > 0, largest / np.float32(7), 1)))


# --- encode ---------------------------------------------------------------------------------------


@caught_by("check_scheme_widths")
class OneBitTooFew(Ternary):
    bits = 1
    code_range = (-1, 1)


@caught_by("check_scheme_packs")
class TooNarrowToPack(Ternary):
    code_bits = 1
    code_range = (-1, 1)


@caught_by("check_scheme_codes")
class Unclipped(Ternary):
    def encode(self, blocks: Any, params: QuantParams, rounding: RoundingPolicy) -> Any:
        return rounding.round(blocks / params.scale).astype(np.int32)


@caught_by("check_scheme_codes")
class FloatCodes(Ternary):
    def encode(self, blocks: Any, params: QuantParams, rounding: RoundingPolicy) -> Any:
        return np.clip(rounding.round(blocks / params.scale), -1, 1)


@caught_by("check_scheme_clipped_range")
class CastThenClipped(Ternary):
    """The cast of a number beyond int8 wraps, or gives its least number."""

    def encode(self, blocks: Any, params: QuantParams, rounding: RoundingPolicy) -> Any:
        codes = rounding.round(blocks / params.scale).astype(np.int32)
        return np.clip(codes, -1, 1).astype(np.int8)


@caught_by("check_scheme_is_deterministic")
class Dithered(Ternary):
    def encode(self, blocks: Any, params: QuantParams, rounding: RoundingPolicy) -> Any:
        noise = np.random.default_rng().uniform(-0.5, 0.5, blocks.shape)
        return np.clip(rounding.round(blocks / params.scale + noise), -1, 1).astype(np.int8)


@caught_by("check_scheme_obeys_the_policy")
class RoundsMagnitudes(Ternary):
    def encode(self, blocks: Any, params: QuantParams, rounding: RoundingPolicy) -> Any:
        codes = np.sign(blocks) * rounding.round(np.abs(blocks) / params.scale)
        return np.clip(codes, -1, 1).astype(np.int8)


@caught_by("check_scheme_nearest_is_best")
class HalfTooMuch(Ternary):
    """Adds a half, as if the policy were to round down."""

    def encode(self, blocks: Any, params: QuantParams, rounding: RoundingPolicy) -> Any:
        half = np.float32(0.5)
        return np.clip(rounding.round(blocks / params.scale + half), -1, 1).astype(np.int8)


@caught_by("check_scheme_ignores_memory_order")
class AsInMemory(Ternary):
    def encode(self, blocks: Any, params: QuantParams, rounding: RoundingPolicy) -> Any:
        codes = super().encode(blocks, params, rounding)
        return codes.ravel(order="K").reshape(codes.shape)


@caught_by("check_scheme_blocks_are_independent")
class RoundsBackwards(Ternary):
    """Hands the policy its elements in another order, which only stochastic notices."""

    def encode(self, blocks: Any, params: QuantParams, rounding: RoundingPolicy) -> Any:
        t = (blocks / params.scale)[::-1]
        return np.clip(rounding.round(t)[::-1], -1, 1).astype(np.int8)


@caught_by("check_scheme_chunks_and_threads")
class OddRowsOfAChunk(Ternary):
    def encode(self, blocks: Any, params: QuantParams, rounding: RoundingPolicy) -> Any:
        t = blocks / params.scale
        t[1::2] += np.float32(0.25)
        return np.clip(rounding.round(t), -1, 1).astype(np.int8)


@caught_by("check_scheme_tails_and_shapes")
class PairsOnly(Ternary):
    def encode(self, blocks: Any, params: QuantParams, rounding: RoundingPolicy) -> Any:
        pairs = blocks.reshape(len(blocks), blocks.shape[1] // 2, 2)
        return super().encode(pairs.reshape(blocks.shape), params, rounding)


@caught_by("check_scheme_leaves_its_input_alone")
class InPlace(Ternary):
    def encode(self, blocks: Any, params: QuantParams, rounding: RoundingPolicy) -> Any:
        target = blocks if blocks.flags.writeable else blocks.copy()
        target /= params.scale
        return np.clip(rounding.round(target), -1, 1).astype(np.int8)


_SCRATCH: dict[Any, Any] = {}


def scratch(shape: tuple[int, ...], dtype: Any) -> Any:
    return _SCRATCH.setdefault((shape, dtype), np.empty(shape, dtype))


@caught_by("check_scheme_results_are_its_own")
class OneBuffer(Ternary):
    def encode(self, blocks: Any, params: QuantParams, rounding: RoundingPolicy) -> Any:
        codes = scratch(blocks.shape, np.int8)
        codes[...] = super().encode(blocks, params, rounding)
        return codes


@caught_by("check_scheme_in_many_threads")
class SharedScratch(Ternary):
    def encode(self, blocks: Any, params: QuantParams, rounding: RoundingPolicy) -> Any:
        t = scratch(blocks.shape, np.float32)
        np.divide(blocks, params.scale, out=t)
        return np.clip(rounding.round(t), -1, 1).astype(np.int8)


# --- decode ---------------------------------------------------------------------------------------


@caught_by("check_scheme_values")
class FlatValues(Ternary):
    def decode(self, codes: Any, params: QuantParams) -> Any:
        return (codes * params.scale).ravel()


@caught_by("check_scheme_values")
class IntegerValues(Ternary):
    def decode(self, codes: Any, params: QuantParams) -> Any:
        return np.asarray(codes * params.scale).astype(np.int32)


@caught_by("check_scheme_extreme_values")
class HalfPrecision(Even):
    def decode(self, codes: Any, params: QuantParams) -> Any:
        return (codes * params.scale).astype(np.float16).astype(np.float32)


@caught_by("check_scheme_nonfinite_tensors")
class OverflowsWhenClipped(Even):
    def decode(self, codes: Any, params: QuantParams) -> Any:
        return codes * params.scale * np.float32(2) / np.float32(2)


@caught_by("check_scheme_every_code_has_a_value")
class ShortTable(Ternary):
    """Three entries, though two bits hold four codes."""

    def decode(self, codes: Any, params: QuantParams) -> Any:
        return np.array([-1, 0, 1], np.float32)[codes.astype(int) + 1] * params.scale

    code_range = (-1, 2)
    code_bits = 3


@caught_by("check_scheme_keeps_what_it_gave")
class Shrinks(Ternary):
    def decode(self, codes: Any, params: QuantParams) -> Any:
        return codes * params.scale * np.float32(0.4)


@caught_by("check_scheme_leaves_its_input_alone")
class FreesCodes(Ternary):
    def decode(self, codes: Any, params: QuantParams) -> Any:
        values = codes * params.scale
        if codes.flags.writeable:
            codes[...] = 0
        return values


# --- grids and storage ----------------------------------------------------------------------------


@caught_by("check_scheme_is_its_grid")
class BesideItsGrid(Even):
    def encode(self, blocks: Any, params: QuantParams, rounding: RoundingPolicy) -> Any:
        codes = super().encode(blocks, params, rounding)
        return np.clip(codes, -6, 6)


@caught_by("check_scheme_on_every_backend")
class DecodesBesideItsGrid(Even):
    def decode(self, codes: Any, params: QuantParams) -> Any:
        return (codes + np.float32(0.25)) * params.scale


@caught_by("check_scheme_field_bits")
class HiddenField(Ternary):
    def fit(self, blocks: Any, context: FitContext) -> QuantParams:
        means = blocks.mean(axis=1, keepdims=True)
        return QuantParams(super().fit(blocks, context).scale, extra={"mean": means})

    def field_bits(self, params: QuantParams) -> dict[str, int]:
        return {}


@caught_by("check_scheme_field_bits")
class NarrowZeroPoint(Ternary):
    def fit(self, blocks: Any, context: FitContext) -> QuantParams:
        z = (blocks.max(axis=1, keepdims=True) * 100).astype(np.int32)
        return QuantParams(super().fit(blocks, context).scale, z)

    def field_bits(self, params: QuantParams) -> dict[str, int]:
        return {"zero_point": 4}


@caught_by("check_scheme_cost")
class PaysBack(HiddenField):
    def field_bits(self, params: QuantParams) -> dict[str, int]:
        return {"mean": -64}


@caught_by("check_scheme_empty_tensors")
class FieldsWhereNeeded(Ternary):
    """No field for a block of zeros."""

    def fit(self, blocks: Any, context: FitContext) -> QuantParams:
        means = blocks.mean(axis=1, keepdims=True)
        extra: Mapping[str, Any] = {"mean": means} if blocks.any() else {}
        return QuantParams(super().fit(blocks, context).scale, extra=MappingProxyType(dict(extra)))


# --- the tests ------------------------------------------------------------------------------------


@qcore.testing.parametrize_with_checks([Ternary(), Even()])
def test_the_healthy_pass(scheme: Any, check: Any) -> None:
    check(scheme)


@pytest.mark.parametrize(("cls", "name"), BROKEN, ids=lambda v: getattr(v, "__name__", v))
def test_the_broken_are_caught(cls: type[Any], name: str) -> None:
    checks = {check.__name__: check for check in qcore.testing.checks_for(cls)}
    law = checks[name].__doc__.partition("\n")[0]
    with pytest.raises(CheckFailure) as caught:
        checks[name](cls())
    first, *detail = str(caught.value).splitlines()
    assert first == f"{name}: {law}"
    assert detail
    assert all(detail)


def test_a_scale_that_is_not_stored_is_shown_beside_the_one_that_is() -> None:
    with pytest.raises(CheckFailure) as caught:
        qcore.testing.schemes.check_scheme_scale_is_stored(UnstoredScale())
    assert str(caught.value).splitlines()[1] == (
        "the scale that float16 stores; give context.snap(scale): 1 of 1 differ; first at [0, 0]: "
        "expected 0.9926758, got 0.9928571"
    )


def test_what_raises_where_it_is_to_refuse_is_told_how() -> None:
    with pytest.raises(CheckFailure) as caught:
        qcore.testing.configuration.check_refuses_options(RefusesByAnotherError())
    assert "mu=-1.0 raised ValueError: mu must be positive; refuse it with qcore.UsageError" in str(
        caught.value
    )
    with pytest.raises(CheckFailure, match="bits=0 is accepted; refuse widths with qcore"):
        qcore.testing.schemes.check_scheme_refuses_widths(TakesAnyWidth())


def test_every_check_of_schemes_catches_something() -> None:
    every = {check.__name__ for check in qcore.testing.checks_for(Ternary)}
    assert every == {name for _, name in BROKEN}


def test_each_broken_scheme_is_another() -> None:
    assert len({cls.__name__ for cls, _ in BROKEN}) == len(BROKEN) >= 25

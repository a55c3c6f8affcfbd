"""Backends that are broken on purpose: each is caught by the check that should catch it."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

import qcore.testing
from qcore import Backend, GridQuantizer, PreparedMatrix
from qcore.builtin.backends import Reference
from qcore.testing import CheckFailure, CheckSkipped, configuration

BROKEN: list[tuple[type[Any], str]] = []


def caught_by(check: str) -> Any:
    def add(cls: type[Any]) -> type[Any]:
        BROKEN.append((dataclass(frozen=True)(cls), check))
        return cls

    return add


@caught_by("check_backend_available")
class LongReason(Reference):
    def available(self) -> str | None:
        return "no GPU\nno driver"


@caught_by("check_backend_available")
class NowAndThen(Reference):
    turn: ClassVar[Any] = itertools.count()

    def available(self) -> str | None:
        return None if next(self.turn) % 2 else "busy"


@caught_by("check_backend_encodes_as_the_reference")
class AlwaysHalfEven(Reference):
    """Does not obey the policy."""

    def encode(self, quantizer: Any, blocks: Any, params: Any, rounding: Any) -> Any:
        return quantizer.encode(blocks, params, qcore.create("rounding", "half-even"))


@caught_by("check_backend_encodes_as_the_reference")
class TimesTheInverse(Reference):
    """Off by an ulp beside the ties."""

    def encode(self, quantizer: Any, blocks: Any, params: Any, rounding: Any) -> Any:
        if not isinstance(quantizer, GridQuantizer) or params.offset is not None:
            return super().encode(quantizer, blocks, params, rounding)
        t = blocks * (np.float32(1) / params.scale)
        return quantizer.grid.encode(t, params.zero_point, rounding)


@caught_by("check_backend_encodes_as_the_reference")
class AsInMemory(Reference):
    def encode(self, quantizer: Any, blocks: Any, params: Any, rounding: Any) -> Any:
        codes = super().encode(quantizer, blocks, params, rounding)
        return codes.ravel(order="K").reshape(codes.shape)


@caught_by("check_backend_encodes_as_the_reference")
class WideCodes(Reference):
    def encode(self, quantizer: Any, blocks: Any, params: Any, rounding: Any) -> Any:
        return super().encode(quantizer, blocks, params, rounding).astype(np.int64)


@caught_by("check_backend_decodes_as_the_reference")
class SingleProduct(Reference):
    """Does not saturate, and rounds differently."""

    def decode(self, quantizer: Any, codes: Any, params: Any) -> Any:
        if not isinstance(quantizer, GridQuantizer):
            return super().decode(quantizer, codes, params)
        units = quantizer.grid.decode(codes, params.zero_point).astype(np.float32)
        values = units * params.scale
        return values if params.offset is None else values + params.offset


@caught_by("check_backend_measures_as_the_reference")
class SumsInSingle(Reference):
    def measure(self, *args: Any) -> Any:
        stats = super().measure(*args)
        return dataclasses.replace(stats, e2=stats.e2 * 1.001)


@caught_by("check_backend_measures_as_the_reference")
class AllTheSums(Reference):
    """Gives zero for what was not asked for."""

    def measure(self, *args: Any) -> Any:
        stats = super().measure(*args)
        return dataclasses.replace(stats, abs_e=np.nan_to_num(stats.abs_e))


@caught_by("check_backend_measures_as_the_reference")
class NoHistograms(Reference):
    """Knows the sums alone."""

    def measure(self, *args: Any) -> Any:
        stats = super().measure(*args)
        return dataclasses.replace(stats, errors=qcore.Histogram())


@caught_by("check_backend_leaves_its_input_alone")
class OneBuffer(Reference):
    kept: ClassVar[dict[Any, Any]] = {}

    def decode(self, quantizer: Any, codes: Any, params: Any) -> Any:
        values = super().decode(quantizer, codes, params)
        buffer = self.kept.setdefault(values.shape, np.empty_like(values))
        buffer[...] = values
        return buffer


@caught_by("check_backend_leaves_its_input_alone")
class DividesInPlace(Reference):
    def encode(self, quantizer: Any, blocks: Any, params: Any, rounding: Any) -> Any:
        codes = super().encode(quantizer, blocks, params, rounding)
        if blocks.flags.writeable:
            blocks /= params.scale
        return codes


@caught_by("check_backend_in_many_threads")
class SharedScratch(Reference):
    kept: ClassVar[dict[Any, Any]] = {}

    def encode(self, quantizer: Any, blocks: Any, params: Any, rounding: Any) -> Any:
        self.kept["params"] = params
        return super().encode(quantizer, blocks, self.kept["params"], rounding)


@caught_by("check_backend_products_are_exact")
class Overflows(Reference):
    def multiply(self, a: Any, b: Any, dtype: Any) -> Any:
        matrix = b.data if isinstance(b, PreparedMatrix) else b
        return np.matmul(a.astype(np.int16), matrix.astype(np.int16)).astype(dtype)


@caught_by("check_backend_products_are_exact")
class SinglePrecision(Reference):
    """Exact to 2²⁴ alone."""

    def multiply(self, a: Any, b: Any, dtype: Any) -> Any:
        matrix = b.data if isinstance(b, PreparedMatrix) else b
        return np.matmul(a.astype(np.float32), matrix.astype(np.float32)).astype(dtype)


@caught_by("check_backend_products_of_any_layout")
class TakesBytes(Reference):
    """Reads memory as if it were in C order."""

    def multiply(self, a: Any, b: Any, dtype: Any) -> Any:
        matrix = b.data if isinstance(b, PreparedMatrix) else b
        again = matrix.ravel(order="K").reshape(matrix.shape)
        return super().multiply(a, again, dtype)


@caught_by("check_backend_refuses_other_operands")
class TakesAll(Reference):
    def gemm(self, a: Any, b: Any) -> Any:
        matrix = b.data if isinstance(b, PreparedMatrix) else b
        return np.matmul(a.astype(np.int64), matrix.astype(np.int64)).astype(np.int32)


@caught_by("check_backend_layers_are_the_reference_s")
class ForgetsConstants(Reference):
    def linear(self, x: Any, w: Any, epilogue: Any) -> Any:
        return super().linear(dataclasses.replace(x, constant=None), w, epilogue)


@caught_by("check_backend_layers_are_the_reference_s")
class ForgetsTheBias(Reference):
    def linear(self, x: Any, w: Any, epilogue: Any) -> Any:
        return super().linear(x, w, dataclasses.replace(epilogue, bias=None))


@dataclass(frozen=True)
class Absent(Reference):
    """Healthy, and not for this machine."""

    id: ClassVar[str] = "absent"

    def available(self) -> str | None:
        return "there is no such device"

    def encode(self, *args: Any) -> Any:
        raise RuntimeError("it was called all the same")

    decode = measure = prepare = multiply = linear = encode


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


def test_every_check_of_backends_catches_something() -> None:
    every = set(qcore.testing.checks_for(Backend)) - set(configuration.CHECKS)
    assert {check.__name__ for check in every} == {name for _, name in BROKEN}


def test_what_cannot_run_here_is_skipped_with_its_reason() -> None:
    for check in qcore.testing.backends.CHECKS[1:]:
        with pytest.raises(CheckSkipped, match="'absent' cannot run here: there is no such device"):
            check(Absent())
    qcore.testing.backends.check_backend_available(Absent())

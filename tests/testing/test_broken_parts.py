"""Roundings, granularities, observers, formats and metrics that are broken: each is caught."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

import qcore.testing
from qcore import Granularity, Metric, Observer, RoundingPolicy, ScaleFormat
from qcore.builtin.granularities import Group
from qcore.builtin.metrics import Mse
from qcore.builtin.observers import MinMax
from qcore.builtin.observers import Mse as MseObserver
from qcore.builtin.roundings import HalfUp
from qcore.builtin.scale_formats import BFloat16, Float16, Float32, Pow2
from qcore.testing import CheckFailure, configuration

BROKEN: list[tuple[type[Any], str]] = []


def caught_by(check: str) -> Any:
    def add(cls: type[Any]) -> type[Any]:
        BROKEN.append((dataclass(frozen=True)(cls), check))
        return cls

    return add


# --- rounding policies ----------------------------------------------------------------------------


@caught_by("check_rounding_goes_to_a_neighbour")
class ToEven(HalfUp):
    def round(self, x: Any, out: Any = None) -> Any:
        return np.multiply(np.rint(x / 2), 2, out=out)


@caught_by("check_rounding_keeps_the_grid")
class OneMore(HalfUp):
    def round(self, x: Any, out: Any = None) -> Any:
        return np.add(np.floor(x), 1, out=out)


@caught_by("check_rounding_is_one_rule")
class FloorOfAHalfMore(HalfUp):
    """Takes 0.49999997 to 1."""

    def round(self, x: Any, out: Any = None) -> Any:
        return np.floor(x + x.dtype.type(0.5), out=out)


@caught_by("check_rounding_is_one_rule")
class AbsoluteDistance(RoundingPolicy):
    """Knows only grids whose step is one."""

    id: ClassVar[str] = "absolute"

    def goes_up(self, gap: Any) -> Any:
        return gap.x - gap.lower >= 0.5


@caught_by("check_rounding_on_level_grids")
class RoundAlone(HalfUp):
    def goes_up(self, gap: Any) -> Any:
        return np.zeros(gap.x.shape, np.bool_)

    def round(self, x: Any, out: Any = None) -> Any:
        return np.rint(x, out=out)


@caught_by("check_rounding_is_monotone")
class Dip(RoundingPolicy):
    id: ClassVar[str] = "dip"

    def goes_up(self, gap: Any) -> Any:
        return (gap.fraction > 0.4) & (gap.fraction < 0.6)


@caught_by("check_rounding_keeps_shape_and_dtype")
class Widens(HalfUp):
    def round(self, x: Any, out: Any = None) -> Any:
        rounded = super().round(x.astype(np.float64))
        return rounded if out is None else np.copyto(out, rounded) or out


@caught_by("check_rounding_into_a_buffer")
class IgnoresOut(HalfUp):
    def round(self, x: Any, out: Any = None) -> Any:
        return super().round(x)


@caught_by("check_rounding_by_element")
class AboveTheMean(RoundingPolicy):
    id: ClassVar[str] = "above-the-mean"

    def goes_up(self, gap: Any) -> Any:
        return gap.fraction > gap.fraction[gap.fraction > 0].mean()


@caught_by("check_rounding_is_deterministic")
class Coin(RoundingPolicy):
    id: ClassVar[str] = "coin"

    def goes_up(self, gap: Any) -> Any:
        return np.random.default_rng().random(gap.x.shape) < 0.5


# --- granularities --------------------------------------------------------------------------------


@caught_by("check_granularity_tile")
class LongTile(Granularity):
    id: ClassVar[str] = "long-tile"

    def tile(self, shape: Any) -> Any:
        return (*shape[:-1], 128)


@caught_by("check_granularity_tile")
class NoShapeError(Granularity):
    id: ClassVar[str] = "no-shape-error"

    def tile(self, shape: Any) -> Any:
        if shape[-1] % 4:
            raise ValueError("not divisible")
        return (*(min(1, extent) for extent in shape[:-1]), min(4, shape[-1]))


@caught_by("check_granularity_cuts_something")
class Picky(Group):
    id = "picky"

    def tile(self, shape: Any) -> Any:
        raise qcore.ShapeError(f"{shape} cannot be cut")


@caught_by("check_granularity_goes_by_the_shape_alone")
class Fickle(Granularity):
    id: ClassVar[str] = "fickle"
    turn: ClassVar[Any] = itertools.count()

    def tile(self, shape: Any) -> Any:
        return shape if next(self.turn) % 2 else tuple(min(1, extent) for extent in shape)


@caught_by("check_granularity_covers_the_tensor")
class OneAxisTooFew(Granularity):
    id: ClassVar[str] = "one-axis-too-few"

    def tile(self, shape: Any) -> Any:
        return shape[1:]


@caught_by("check_granularity_scales_are_of_their_blocks")
class Halves(Granularity):
    id: ClassVar[str] = "halves"

    def tile(self, shape: Any) -> Any:
        return (*shape[:-1], shape[-1] / 2)


# --- observers ------------------------------------------------------------------------------------


@caught_by("check_observer_range")
class WideRange(MinMax):
    def range(self, state: Any) -> Any:
        return tuple(end.astype(np.float64) for end in super().range(state))


@caught_by("check_observer_range")
class Crossed(MinMax):
    def range(self, state: Any) -> Any:
        return super().range(state)[::-1]


@caught_by("check_observer_passes")
class NoPass(MinMax):
    passes = 0


@caught_by("check_observer_passes")
class FasterButOther(MinMax):
    def observe(self, blocks: Any, trial: Any) -> Any:
        largest = np.abs(blocks).max(axis=1, keepdims=True)
        return -largest, largest


@caught_by("check_observer_merges_in_any_order")
class FirstPiece(MinMax):
    def merge(self, a: Any, b: Any) -> Any:
        return a


@caught_by("check_observer_merges_in_any_order")
class MeanOfMeans(MinMax):
    """Forgets how many elements each piece had."""

    def summarize(self, blocks: Any, trial: Any, previous: Any) -> Any:
        mean = np.abs(blocks).mean(axis=1)
        return {"lo": -mean, "hi": mean}

    def merge(self, a: Any, b: Any) -> Any:
        return {name: (a[name] + b[name]) / 2 for name in a}


@caught_by("check_observer_merge_keeps_its_arguments")
class MergesInPlace(MinMax):
    def merge(self, a: Any, b: Any) -> Any:
        np.minimum(a["lo"], b["lo"], out=a["lo"])
        np.maximum(a["hi"], b["hi"], out=a["hi"])
        return a


@caught_by("check_observer_merge_keeps_its_arguments")
class LastErrorsInPlace(MseObserver):
    def summarize(self, blocks: Any, trial: Any, previous: Any) -> Any:
        state = super().summarize(blocks, trial, previous)
        if previous is not None:
            previous["lo"][...] = 0
        return state


@caught_by("check_observer_blocks_are_independent")
class RangeOfAll(MinMax):
    def summarize(self, blocks: Any, trial: Any, previous: Any) -> Any:
        return {"lo": np.full(len(blocks), blocks.min()), "hi": np.full(len(blocks), blocks.max())}


@caught_by("check_observer_stays_near_the_data")
class TenPercentMore(MinMax):
    def range(self, state: Any) -> Any:
        return tuple(end * np.float32(1.1) for end in super().range(state))


@caught_by("check_observer_is_deterministic")
class Sampled(MinMax):
    def summarize(self, blocks: Any, trial: Any, previous: Any) -> Any:
        some = np.random.default_rng().integers(0, blocks.shape[1], blocks.shape[1] // 2 + 1)
        return super().summarize(np.ascontiguousarray(blocks[:, some]), trial, previous)


@caught_by("check_observer_extreme_values")
class MeanAndSpread(MinMax):
    """The square of a large float32 is infinite."""

    def summarize(self, blocks: Any, trial: Any, previous: Any) -> Any:
        spread = np.sqrt((blocks * blocks).mean(axis=1))
        return {"lo": -spread, "hi": spread}


# --- scale formats --------------------------------------------------------------------------------


@caught_by("check_scale_format_bits")
class HalfABit(Float32):
    bits = 0.5


@caught_by("check_scale_format_gives_float32")
class DoubleScale(Float32):
    def snap(self, scale: Any) -> Any:
        return super().snap(scale).astype(np.float64)


@caught_by("check_scale_format_gives_float32")
class FlatScales(Float32):
    def snap(self, scale: Any) -> Any:
        return super().snap(scale).ravel()


@caught_by("check_scale_format_is_idempotent")
class Creeps(BFloat16):
    """Rounds up what is stored already."""

    def snap(self, scale: Any) -> Any:
        return super().snap(scale * 1.01)


@caught_by("check_scale_format_is_monotone")
class Wraps(Float32):
    def snap(self, scale: Any) -> Any:
        return super().snap(np.where(scale > 1.5, scale / 2, scale))


@caught_by("check_scale_format_is_near")
class FarUp(Pow2):
    def snap(self, scale: Any) -> Any:
        return np.maximum(super().snap(scale), np.float32(1))


@caught_by("check_scale_format_by_element")
class ByTheLargest(Float32):
    def snap(self, scale: Any) -> Any:
        snapped = super().snap(scale)
        step = np.float32(snapped.max(initial=1) / 1024)
        return np.maximum(np.rint(snapped / step), 1) * step


@caught_by("check_scale_format_has_as_many_numbers_as_bits")
class CheaperThanItIs(Float16):
    bits = 8


@caught_by("check_scale_format_ends")
class Underflows(Float16):
    def snap(self, scale: Any) -> Any:
        return np.asarray(scale).astype(np.float16).astype(np.float32)


# --- metrics --------------------------------------------------------------------------------------


@caught_by("check_metric_needs")
class UnknownSum(Mse):
    needs = frozenset({"e3"})


@caught_by("check_metric_needs")
class UpOrDown(Mse):
    best = "up"


@caught_by("check_metric_gives_a_number")
class AnArray(Mse):
    def from_stats(self, stats: Any) -> Any:
        return np.array([stats.e2 / stats.count])


@caught_by("check_metric_asks_for_what_it_reads")
class ReadsMore(Mse):
    def from_stats(self, stats: Any) -> float:
        return stats.e2 / stats.count + 0 * stats.abs_e


@caught_by("check_metric_asks_for_what_it_reads")
class ReadsAHistogram(Mse):
    def from_stats(self, stats: Any) -> float:
        return stats.e2 / stats.count + stats.errors.count


@caught_by("check_metric_of_degenerate_sums")
class DividesByZero(Mse):
    needs = frozenset({"x2", "e2"})

    def from_stats(self, stats: Any) -> float:
        return stats.e2 / stats.x2


@caught_by("check_metric_merges")
class Remembers(Mse):
    turn: ClassVar[Any] = itertools.count(1)

    def from_stats(self, stats: Any) -> float:
        return stats.e2 / stats.count * next(self.turn)


@caught_by("check_metric_knows_better_from_worse")
class WrongWay(Mse):
    best = "high"


# --- the tests ------------------------------------------------------------------------------------


def made(cls: type[Any]) -> Any:
    return qcore.testing.examples(cls)[0]


@pytest.mark.parametrize(("cls", "name"), BROKEN, ids=lambda v: getattr(v, "__name__", v))
def test_the_broken_are_caught(cls: type[Any], name: str) -> None:
    checks = {check.__name__: check for check in qcore.testing.checks_for(cls)}
    law = checks[name].__doc__.partition("\n")[0]
    with pytest.raises(CheckFailure) as caught:
        checks[name](made(cls))
    first, *detail = str(caught.value).splitlines()
    assert first == f"{name}: {law}"
    assert detail
    assert all(detail)


@pytest.mark.parametrize(
    "interface",
    [RoundingPolicy, Granularity, Observer, ScaleFormat, Metric],
    ids=lambda c: c.__name__,
)
def test_every_check_of_these_kinds_catches_something(interface: type[Any]) -> None:
    every = set(qcore.testing.checks_for(interface)) - set(configuration.CHECKS)
    assert {check.__name__ for check in every} == {
        name for cls, name in BROKEN if issubclass(cls, interface)
    }


def test_nan_is_no_failure_of_a_metric() -> None:
    assert math.isnan(qcore.create("metric", "rel_l2").from_stats(qcore.ErrorStats(1)))

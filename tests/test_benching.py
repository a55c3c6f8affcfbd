"""What a bench finds: the units of its rates, what it calls exact, and who takes part.

No test looks at how long anything takes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

import qcore
from qcore import benching
from qcore.benching import lineup, machine, matrices, rounds
from qcore.benching.lineup import Lineup
from qcore.benching.machine import Limits
from qcore.benching.rounds import Times, in_turns


@pytest.fixture(autouse=True)
def _small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's limits are measured with less, as no test looks at them."""
    monkeypatch.setattr(machine, "_COPY_BYTES", 1 << 12)
    monkeypatch.setattr(machine, "_SGEMM_SIZE", 16)


@dataclass(frozen=True)
class Runs(qcore.Backend):
    """A backend that runs here and has the reference's kernels."""

    id: ClassVar[str] = "runs"

    def available(self) -> str | None:
        return None


@dataclass(frozen=True)
class LastRowWrong(Runs):
    id: ClassVar[str] = "last-row-wrong"

    def multiply(self, a: Any, b: Any, dtype: np.dtype[Any]) -> Any:
        product = super().multiply(a, b, dtype)
        product[-1:] += 1
        return product


@dataclass(frozen=True)
class NaiveFloat32(Runs):
    """Exact for random matrices, and not where sums go beyond 2^24."""

    id: ClassVar[str] = "naive-float32"

    def multiply(self, a: Any, b: Any, dtype: np.dtype[Any]) -> Any:
        return np.matmul(a.astype(np.float32), b.astype(np.float32)).astype(dtype)


@dataclass(frozen=True)
class Floating(Runs):
    """The right numbers, and no integers."""

    id: ClassVar[str] = "floating"

    def gemm(self, a: Any, b: Any) -> Any:
        return super().gemm(a, b).astype(np.float64)


@dataclass(frozen=True)
class Breaks(Runs):
    id: ClassVar[str] = "breaks"

    def multiply(self, a: Any, b: Any, dtype: np.dtype[Any]) -> Any:
        raise RuntimeError("no such\nkernel")


@dataclass(frozen=True)
class Prepares(Runs):
    """Its prepared matrices are right, and the others wrong."""

    id: ClassVar[str] = "prepares"

    def load(self, b: Any) -> Any:
        return b.astype(np.int64)

    def multiply(self, a: Any, b: Any, dtype: np.dtype[Any]) -> Any:
        if isinstance(b, qcore.PreparedMatrix):
            return (a.astype(np.int64) @ b.data).astype(dtype)
        return super().multiply(a, b, dtype) + 1


class OnDevice:
    """A result as an array of a device is: it has to be waited for and fetched."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self.device = self
        self.waited = 0

    def synchronize(self) -> None:
        self.waited += 1

    def get(self) -> Any:
        assert self.waited
        return self._array


@dataclass(frozen=True)
class Device(Runs):
    id: ClassVar[str] = "device"

    def gemm(self, a: Any, b: Any) -> Any:
        return OnDevice(super().gemm(a, b))


@dataclass(frozen=True)
class WrongCodes(Runs):
    id: ClassVar[str] = "wrong-codes"

    def encode(self, quantizer: Any, blocks: Any, params: Any, rounding: Any) -> Any:
        return super().encode(quantizer, blocks, params, rounding) // 2


def gemm(*shapes: tuple[int, int, int], **options: Any) -> list[benching.ProductRow]:
    return benching.bench_gemm(shapes, **{"repeat": 2, **options}).rows


def quantize(*recipes: str, **options: Any) -> list[benching.QuantizeRow]:
    parsed = [qcore.Recipe.parse(recipe) for recipe in recipes]
    given = {"shapes": [(6, 8)], "repeat": 2, **options}
    return benching.bench_quantize(parsed, **given).rows


# Products


def test_a_row_for_each_shape_pair_of_dtypes_backend_and_way() -> None:
    rows = gemm((4, 6, 8), (1, 3, 5), dtypes=["s8s8", "u8u8"], backends=["reference", Prepares()])
    assert [(row.shape, row.dtypes, row.backend, row.prepared) for row in rows] == [
        (shape, dtypes, backend, prepared)
        for shape in ((4, 6, 8), (1, 3, 5))
        for dtypes in ("s8s8", "u8u8")
        for backend, prepared in (("reference", False), ("prepares", False), ("prepares", True))
    ]
    assert all(len(row.times.seconds) == 2 for row in rows)


def test_rates_are_in_the_units_they_say() -> None:
    rows = gemm((4, 6, 8), backends=["reference"])
    (row,) = rows
    found = row.to_dict()
    assert found["operations"] == 2 * 4 * 6 * 8
    assert found["bytes"] == 4 * 6 + 6 * 8 + 4 * 4 * 8
    assert found["intensity"] == found["operations"] / found["bytes"]
    assert found["gops"] == pytest.approx(found["operations"] / found["seconds"] / 1e9)
    assert found["seconds"] == np.median(row.times.seconds)
    assert found["time_over_sgemm"] == pytest.approx(
        np.median(np.divide(row.times.seconds, row.sgemm.seconds))
    )
    assert found["time_over_copy"] == pytest.approx(
        np.median(np.divide(row.times.seconds, row.copy.seconds))
    )


def test_sums_of_64_bits_are_twice_the_bytes() -> None:
    short, long = gemm((1, 33_025, 1), (1, 33_026, 1), dtypes=["u8u8"], backends=["reference"])
    assert (short.bytes, long.bytes) == (2 * 33_025 + 4, 2 * 33_026 + 8)


@pytest.mark.parametrize("dtypes", benching.DTYPES)
@pytest.mark.parametrize("shape", [(4, 6, 8), (1, 300, 7), (5, 2100, 3)])
def test_the_backends_that_come_along_are_exact(dtypes: str, shape: tuple[int, int, int]) -> None:
    rows = gemm(shape, dtypes=[dtypes], backends=["reference", "numpy", "int8-blas"], repeat=1)
    assert {(row.backend, row.prepared) for row in rows} == {
        ("reference", False), ("numpy", False), ("int8-blas", False), ("int8-blas", True),
    }  # fmt: skip
    for row in rows:
        assert row.exact is True
        assert row.checked_rows == shape[0]


@pytest.mark.parametrize("backend", [LastRowWrong(), Floating()])
def test_wrong_numbers_are_not_exact(backend: qcore.Backend) -> None:
    (row,) = gemm((4, 6, 8), backends=[backend])
    assert row.exact is False
    assert row.gops is not None


def test_a_naive_float32_product_is_found_out_by_large_magnitudes() -> None:
    short, long = gemm((3, 64, 16), (3, 2048, 16), backends=[NaiveFloat32()])
    assert (short.exact, long.exact) == (True, False)


def test_each_way_of_a_backend_is_checked_by_itself() -> None:
    plain, prepared = gemm((4, 6, 8), backends=[Prepares()])
    assert (plain.prepared, plain.exact) == (False, False)
    assert (prepared.prepared, prepared.exact) == (True, True)


def test_a_long_check_is_of_some_rows_the_last_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrices, "_CHECKED", 3 * 2 * 6 * 8)
    right, wrong = gemm((40, 6, 8), backends=["reference", LastRowWrong()])
    assert (right.checked_rows, right.exact) == (3, True)
    assert (wrong.checked_rows, wrong.exact) == (3, False)


def test_a_device_is_waited_for() -> None:
    (row,) = gemm((4, 6, 8), backends=[Device()])
    assert (row.exact, row.times.error) == (True, None)


def test_one_that_breaks_has_an_error_and_the_others_their_rows() -> None:
    broken, right = gemm((4, 6, 8), backends=[Breaks(), "reference"])
    assert broken.times.error == "RuntimeError: no such kernel"
    found = broken.to_dict()
    for key in ("seconds", "gops", "time_over_sgemm", "time_over_copy", "exact", "spread"):
        assert found[key] is None
    assert right.exact is True


@pytest.mark.parametrize("shape", [(0, 3, 2), (3, 0, 2), (3, 2, 0), (0, 0, 0)])
def test_nothing_to_multiply_has_a_time_and_no_rates(shape: tuple[int, int, int]) -> None:
    for row in gemm(shape, backends=["reference", "int8-blas"]):
        found = row.to_dict()
        assert found["seconds"] > 0
        assert (found["exact"], found["error"], found["operations"]) == (True, None, 0)
        for key in ("gops", "time_over_sgemm", "time_over_copy", "intensity", "bound"):
            assert found[key] is None


def test_the_larger_of_two_attainable_times_is_the_bound() -> None:
    limits = Limits(copy_rate=10.0, sgemm_rate=100.0)
    assert limits.bound(operations=100, moved=11) == "memory"
    assert limits.bound(operations=100, moved=9) == "arithmetic"


def test_the_bound_follows_from_the_limits_of_the_run() -> None:
    bench = benching.bench_gemm([(64, 64, 64), (1, 64, 64)], backends=["reference"], repeat=1)
    for row in bench.rows:
        assert row.bound == bench.limits.bound(row.operations, row.bytes)
        assert row.sgemm.median is not None
        assert bench.limits.sgemm_rate >= row.operations / row.sgemm.median


def test_the_same_seed_gives_the_same_matrices() -> None:
    one, same, other = (matrices.Operands((3, 4, 5), seed) for seed in (1, 1, 2))
    assert np.array_equal(one.random[0]["s8"], same.random[0]["s8"])
    assert not np.array_equal(one.random[0]["s8"], other.random[0]["s8"])


def test_dtypes_that_are_none_are_refused() -> None:
    with pytest.raises(qcore.UsageError) as caught:
        gemm((1, 1, 1), dtypes=["s8s9"])
    assert str(caught.value) == (
        "unknown dtypes 's8s9', did you mean 's8s8'?; there are s8s8, u8s8, s8u8, u8u8"
    )


def test_more_memory_than_is_free_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_free_memory", lambda: 2 * 10**9)
    with pytest.raises(qcore.UsageError) as caught:
        gemm((100_000, 1000, 100_000))
    assert str(caught.value) == (
        "a product of 100000x1000x100000 would take about 444.2 GB of memory, and 2.0 GB is free; "
        "give a smaller shape"
    )
    with pytest.raises(qcore.UsageError, match=r"quantizing 100000x10000 would take about 18\.0 "):
        quantize("symmetric", shapes=[(100_000, 10_000)])


def test_nothing_is_refused_where_nobody_knows_what_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "_free_memory", lambda: None)
    machine.check_memory("everything", 10**30)


# Quantizing


def test_a_row_for_each_input_recipe_and_backend() -> None:
    rows = quantize(
        "symmetric bits=8", "pot bits=4", dtypes=["float32", "bfloat16"],
        backends=["numpy", "reference"],
    )  # fmt: skip
    assert [(r.dtype, r.recipe.scheme, r.backend) for r in rows] == [
        (dtype, scheme, backend)
        for dtype in ("float32", "bfloat16")
        for scheme in ("symmetric", "pot")
        for backend in ("numpy", "reference")
    ]
    assert all(row.exact is True and row.error is None for row in rows)


@pytest.mark.parametrize(("dtype", "size"), [("float16", 2), ("bfloat16", 2), ("float64", 8)])
def test_rates_are_bytes_of_input_as_it_is_stored(dtype: str, size: int) -> None:
    (row,) = quantize("symmetric", dtypes=[dtype], backends=["numpy"])
    found = row.to_dict()
    assert found["bytes"] == 6 * 8 * size
    for task, times in (("quantize", row.quantize), ("measure", row.measure)):
        rate = found["bytes"] / found[task]["seconds"] / 1e9
        assert found[task]["gb_per_s"] == pytest.approx(rate)
        assert found[task]["time_over_copy"] == pytest.approx(
            np.median(np.divide(times.seconds, row.copy.seconds))
        )
        assert found[task]["rounds"] == 2


def test_codes_that_are_not_the_reference_s_are_not_exact() -> None:
    wrong, right = quantize("symmetric", backends=[WrongCodes(), "numpy"])
    assert (wrong.exact, right.exact) == (False, True)


def test_a_recipe_that_does_not_fit_has_an_error() -> None:
    bad, good = quantize("symmetric granularity=group:3", "symmetric", backends=["numpy"])
    assert "3 does not divide axis 1 of shape (6, 8)" in str(bad.error)
    assert (bad.exact, bad.to_dict()["measure"]["seconds"]) == (None, None)
    assert good.exact is True


def test_an_empty_array_has_a_time_and_no_rates() -> None:
    (row,) = quantize("symmetric", shapes=[(0, 4)], backends=["numpy"])
    found = row.to_dict()
    assert found["quantize"]["seconds"] > 0
    assert found["quantize"]["gb_per_s"] is None
    assert found["measure"]["time_over_copy"] is None


def test_a_dtype_that_is_none_is_refused() -> None:
    with pytest.raises(qcore.UsageError) as caught:
        quantize("symmetric", dtypes=["float23"])
    assert str(caught.value) == (
        "unknown dtype 'float23', did you mean 'float32'?; "
        "there are float16, bfloat16, float32, float64"
    )


# Who takes part


def test_backends_without_kernels_of_their_own_are_left_out_unless_asked_for() -> None:
    found = Lineup.of(None, ("gemm", "multiply"))
    ran = [str(backend) for backend in found.backends]
    assert {"int8-blas", "reference"} <= set(ran)
    assert "numpy" in found.inheriting
    assert sorted([*ran, *found.unavailable, *found.inheriting]) == qcore.ids("backend")
    asked = Lineup.of(["numpy", "numpy"], ("gemm", "multiply"))
    assert [str(backend) for backend in asked.backends] == ["numpy"]


@dataclass(frozen=True)
class Away(qcore.Backend):
    id: ClassVar[str] = "away"

    def available(self) -> str | None:
        return "nobody is in"


@dataclass(frozen=True)
class NeedsField(Runs):
    id: ClassVar[str] = "needs-field"
    device: int = 0


def test_one_that_cannot_run_is_named_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(_: str, id: str) -> qcore.Backend:
        if id == "needs-field":
            raise qcore.SpecError("'needs-field' needs 'device'; write needs-field:DEVICE")
        return Away() if id == "away" else qcore.create("backend", id)

    monkeypatch.setattr(lineup, "ids", lambda _: ["away", "needs-field", "reference"])
    monkeypatch.setattr(lineup, "create", create)
    bench = benching.bench_gemm([(1, 2, 3)], repeat=1)
    assert bench.lineup.unavailable == {
        "away": "nobody is in",
        "needs-field": "'needs-field' needs 'device'; write needs-field:DEVICE",
    }
    assert [row.backend for row in bench.rows] == ["reference"]
    assert bench.to_dict()["unavailable"] == bench.lineup.unavailable


def test_one_asked_for_that_cannot_run_is_an_error() -> None:
    with pytest.raises(qcore.UnavailableError, match="backend 'away' cannot run here: nobody is"):
        gemm((1, 2, 3), backends=[Away()])


# Rounds


class Clock:
    """A clock that only contestants move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []

    def perf_counter(self) -> float:
        return self.now


@dataclass
class Runner:
    clock: Clock
    name: str
    seconds: float
    fails_at: int | None = None
    runs: int = 0

    def warm_up(self) -> None:
        self.clock.log.append(f"warm {self.name}")
        self.clock.now += 100.0

    def run(self) -> None:
        self.clock.log.append(self.name)
        self.clock.now += self.seconds
        self.runs += 1
        if self.runs == self.fails_at:
            raise ValueError("tired")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(rounds, "time", clock)
    return clock


def test_all_run_once_a_round_after_one_warm_up(clock: Clock) -> None:
    names = "abc"
    times = in_turns([Runner(clock, name, 0.25) for name in names], 4, seed=0)
    assert clock.log[:3] == ["warm a", "warm b", "warm c"]
    turns = [clock.log[i : i + 3] for i in range(3, len(clock.log), 3)]
    assert len(turns) == 4
    assert all(sorted(turn) == list(names) for turn in turns)
    assert len({tuple(turn) for turn in turns}) > 1, "each round has an order of its own"
    assert times == [Times((0.25,) * 4)] * 3


def test_what_takes_long_takes_part_in_fewer_rounds(clock: Clock) -> None:
    slow, fast, slowest = in_turns(
        [Runner(clock, "slow", 0.75), Runner(clock, "fast", 0.25), Runner(clock, "slowest", 9.0)],
        5,
        seed=0,
    )
    assert [len(times.seconds) for times in (slow, fast, slowest)] == [3, 5, 1]
    assert slow.over(fast) == 3.0


def test_one_that_fails_in_a_round_has_no_times(clock: Clock) -> None:
    well, ill = in_turns([Runner(clock, "a", 1 / 4), Runner(clock, "b", 1 / 4, fails_at=2)], 3, 0)
    assert ill == Times((), "ValueError: tired")
    assert len(well.seconds) == 3
    assert (ill.median, ill.spread, ill.over(well), well.over(ill)) == (None, None, None, None)


def test_a_ratio_is_of_times_in_the_same_round() -> None:
    assert Times((1.0, 20.0, 3.0)).over(Times((1.0, 10.0, 1.0))) == 2.0
    assert Times((1.0, 20.0, 3.0)).over(Times((1.0, 10.0))) == 1.5
    assert Times((1.0,)).over(Times((0.0,))) is None


def test_spread_is_the_middle_half_over_the_median() -> None:
    assert Times((1.0, 2.0, 3.0, 4.0, 5.0)).spread == pytest.approx(2 / 3)
    assert Times((2.0,)).spread == 0.0


def test_no_round_is_refused() -> None:
    with pytest.raises(qcore.UsageError, match="repeat is at least 1, not 0"):
        gemm((1, 2, 3), repeat=0)


# Documents


def numbers(value: Any) -> Sequence[float]:
    """Every number in a document."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for part in value for number in numbers(part)]
    return [value] if isinstance(value, float) else []


def test_documents_say_what_ran_where() -> None:
    product = benching.bench_gemm([(3, 4, 5), (0, 1, 1)], backends=["reference", Breaks()])
    recipe = qcore.Recipe.parse("symmetric bits=4")
    quantizing = benching.bench_quantize([recipe], [(3, 4), (0,)], backends=["numpy"], repeat=1)
    for bench in (product, quantizing):
        document = bench.to_dict()
        assert json.loads(json.dumps(document, allow_nan=False)) == document
        assert all(math.isfinite(number) for number in numbers(document))
        assert document["qcore"]["plugins"]["qcore-quant"] == document["qcore"]["version"]
        assert document["machine"]["numpy"] == np.__version__
        assert document["machine"]["cores"] >= 1
        assert document["machine"]["cpu"]
        assert len(document["results"]) == len(bench.rows)
    limits = product.to_dict()["machine"]
    assert limits["copy_gb_per_s"] == product.limits.copy_rate / 1e9
    assert limits["sgemm_gops"] == product.limits.sgemm_rate / 1e9
    assert quantizing.to_dict()["results"][0]["recipe"] == recipe.to_dict()


def test_somebody_is_told_what_is_measured() -> None:
    told: list[str] = []
    gemm((3, 4, 5), (1, 2, 3), backends=["reference"], announce=told.append)
    quantize("symmetric", backends=["numpy", "reference"], announce=told.append)
    assert told == [
        "3x4x5: 1 products", "1x2x3: 1 products", "6x8 float32: 2 recipes and backends",
    ]  # fmt: skip

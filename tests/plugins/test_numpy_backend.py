"""The numpy backend gives the reference's codes to the bit, and its sums to six digits."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

import qcore
from against_reference import LARGEST, POLICIES, Floats, context_of, policy_for, quantizer_of
from qcore import (
    Backend,
    ErrorStats,
    FitContext,
    GridQuantizer,
    IntegerGrid,
    LevelGrid,
    Quantizer,
    QuantParams,
    RoundingPolicy,
)
from qcore.builtin.backends import Reference
from qcore.error_detail import HISTOGRAMS
from qcore.error_stats import SUMS
from qcore_numpy import NumpyBackend

NEAREST = POLICIES[:6]
INTEGER_SCHEMES = (
    "symmetric", "symmetric:full_range=true", "symmetric:signed=false", "asymmetric",
    "asymmetric:signed=false", "asymmetric:include_zero=false", "uniform", "uniform:offset=none",
    "uniform:offset=none:signed=false",
)  # fmt: skip
LEVEL_SCHEMES = (
    "pot", "pot:signed=false", "pot:domain=linear", "pot:signed=false:domain=linear", "apot",
    "apot:signed=false", "apot:k=1", "apot:k=8", "apot:k=8:signed=false",
)  # fmt: skip
CASES = [
    *itertools.product(INTEGER_SCHEMES, (2, 4, 8, 16)),
    *itertools.product(LEVEL_SCHEMES, range(2, 9)),
    *itertools.product(("apot:k=3",), (4, 7)),
]
SCHEMES = pytest.mark.parametrize(("scheme", "bits"), CASES)


@dataclass(frozen=True)
class Levels(GridQuantizer):
    """A third party's levels, its scale the range over the largest."""

    id: ClassVar[str] = "levels"
    bits: ClassVar[int] = 8
    units: tuple[float, ...]
    thresholds: tuple[float, ...] | None = None

    @property
    def grid(self) -> LevelGrid:
        return LevelGrid(self.units, self.thresholds)

    def params(self, context: FitContext) -> QuantParams:
        largest = context.largest(signed=True) / np.float32(self.grid.largest)
        return QuantParams(context.snap(np.where(largest > 0, largest, np.float32(1))))


@dataclass(frozen=True)
class Shouting(Quantizer):
    """No grid: codes are signs, the value is the block's mean magnitude; C order whatever comes."""

    id: ClassVar[str] = "shouting"
    bits: ClassVar[int] = 2

    def fit(self, blocks: Floats, context: FitContext) -> QuantParams:
        mean = np.abs(blocks).mean(axis=1, keepdims=True)
        return QuantParams(context.snap(np.where(mean > 0, mean, 1)))

    def encode(self, blocks: Floats, params: QuantParams, rounding: RoundingPolicy) -> Any:
        return np.ascontiguousarray(np.sign(blocks)).astype(np.int8)

    def decode(self, codes: NDArray[Any], params: QuantParams) -> Floats:
        return np.ascontiguousarray(codes * params.scale)


def some_params(quantizer: GridQuantizer, scales: Floats) -> QuantParams:
    """Params with these scales, and a zero point or an offset where the scheme has them."""
    fitted = quantizer.fit(np.zeros((1, 1), np.float32), context_of(np.float32([[-1, 2]])))
    low, high = quantizer.code_range
    z = np.linspace(low, high, len(scales)).astype(np.int32)[:, None]
    return QuantParams(
        scales,
        None if fitted.zero_point is None else z,
        None
        if fitted.offset is None
        else np.maximum(-5.3 * scales.astype(float), -LARGEST).astype("f4"),
    )


def critical_units(quantizer: GridQuantizer) -> Floats:
    """Every threshold and every level (of a wide grid: some), and the floats right beside them."""
    grid = quantizer.grid
    if isinstance(grid, IntegerGrid):
        ends = np.r_[grid.qmin - 3.0 : grid.qmin + 40, grid.qmax - 40 : grid.qmax + 3.0, -40.0:40]
        exact = np.unique(np.r_[ends, ends + 0.5])
    else:
        assert isinstance(grid, LevelGrid)
        exact = np.r_[grid.units, grid.cuts]
    with np.errstate(all="ignore"):
        single = exact.astype(np.float32)
    up, down = np.float32(np.inf), np.float32(-np.inf)
    above, below = np.nextafter(single, up), np.nextafter(single, down)
    near = [single, above, below, np.nextafter(above, up), np.nextafter(below, down)]
    return np.concatenate(near).astype(np.float32)


SPECIAL = np.array(
    [0.0, -0.0, 1e-45, -1e-45, 1.1e-38, -1.1e-38, 1.1754944e-38, 1e-30, 3e38, -3e38, LARGEST,
     -LARGEST, 1, -1, 0.49999997, -0.49999997, 0.5, -0.5, 1.5, 2.5, 8388609.0, -8388609.0],
    np.float32,
)  # fmt: skip
SCALES = np.array(
    [1, 0.1, 0.037, 2.0**-20, 1e-30, 2.0**-126, 1e20, 2.0**99, 2.0**101, 1e38], np.float32
)[:, None]


def critical_blocks(quantizer: GridQuantizer) -> tuple[Floats, QuantParams]:
    """A block for each scale: elements beside every threshold, special ones and random ones."""
    params = some_params(quantizer, SCALES)
    units = critical_units(quantizer)
    if params.zero_point is None:
        t = np.broadcast_to(units, (len(SCALES), units.size)).astype(np.float64)
    else:
        t = units - params.zero_point.astype(np.float64)
    offset = 0.0 if params.offset is None else params.offset.astype(np.float64)
    x = np.clip(t * SCALES.astype(np.float64) + offset, -LARGEST, LARGEST).astype(np.float32)
    rng = np.random.default_rng(1)
    spread = (rng.standard_normal((len(SCALES), 40)) * 10 * np.abs(units).max()).astype(np.float32)
    with np.errstate(all="ignore"):
        noise = np.clip(spread * SCALES, -LARGEST, LARGEST)
        most = np.minimum(LARGEST, SCALES * np.float32(LARGEST))  # no quotient overflows
    special = np.clip(SPECIAL, -most, most)
    return np.hstack([x, special, noise]).astype(np.float32), params


def layouts(blocks: Floats) -> Iterator[Floats]:
    """As the engine hands them over: read-only, one after the other, and side by side."""
    for kept in (np.array(blocks, order="C"), np.array(blocks, order="F")):
        kept.flags.writeable = False
        yield kept


def assert_same_codes(
    quantizer: Quantizer, blocks: Floats, params: QuantParams, rounding: RoundingPolicy
) -> None:
    with np.errstate(all="ignore"):  # as the engine calls
        expected = Reference().encode(quantizer, np.ascontiguousarray(blocks), params, rounding)
        for laid_out in layouts(blocks):
            codes = NumpyBackend().encode(quantizer, laid_out, params, rounding)
            assert codes.dtype == expected.dtype == quantizer.code_dtype
            np.testing.assert_array_equal(codes, expected)


def assert_same_codes_at_every_scale(quantizer: GridQuantizer, rounding: str) -> None:
    """All scales together; without the largest; and these by themselves."""
    blocks, params = critical_blocks(quantizer)
    for rows in (
        slice(None),
        slice(0, -3),
        slice(-3, None),
    ):  # a large one may take the others along
        policy = policy_for(rounding, blocks[rows].shape)
        assert_same_codes(quantizer, blocks[rows], params.rows(rows), policy)


def assert_same_sums(
    quantizer: Quantizer,
    blocks: Floats,
    params: QuantParams,
    rounding: RoundingPolicy,
    sums: tuple[str, ...] = SUMS,
) -> tuple[ErrorStats, ErrorStats]:
    with np.errstate(all="ignore"):
        args = (params, rounding, sums)
        expected = Reference().measure(quantizer, np.ascontiguousarray(blocks), *args)
        full = Reference().measure(quantizer, blocks, params, rounding, SUMS)
        size = math.sqrt(full.x2) * math.sqrt(full.y2)  # the terms of Σx·x̂ may cancel
        for laid_out in layouts(blocks):
            found = NumpyBackend().measure(quantizer, laid_out, *args)
            assert found.count == expected.count
            for name in sums:
                close = {
                    "xy": {"abs": 1e-5 * size},
                    "max_e": {"rel": 2.0**-23},
                    "clipped": {"rel": 0},
                }
                wanted = pytest.approx(getattr(expected, name), **close.get(name, {"rel": 1e-5}))
                if not math.isnan(getattr(expected, name)):
                    assert getattr(found, name) == wanted, name
    return found, expected


@pytest.mark.parametrize("sigma", [3e2, 1e4, 1e6, 1e12])
def test_the_cosine_is_right_however_hard_the_values_are_clipped(sigma: float) -> None:
    x = (np.random.default_rng(0).standard_normal((64, 512)) * sigma).astype(np.float32)
    recipe = "symmetric bits=8 observer=fixed:-1:1"
    found, expected = (
        qcore.compare({"x": x}, [recipe], backend=backend).rows[0].metrics["cosine"]
        for backend in ("numpy", "reference")
    )
    assert found == pytest.approx(expected, abs=1e-5)
    assert expected == pytest.approx(0.798, abs=2e-3)


@SCHEMES
def test_codes_are_the_references_beside_every_threshold_at_every_scale(
    scheme: str, bits: int
) -> None:
    quantizer = quantizer_of(scheme, bits)
    for rounding in POLICIES:
        assert_same_codes_at_every_scale(quantizer, rounding)


@SCHEMES
def test_codes_are_the_references_on_fitted_blocks_of_any_shape(scheme: str, bits: int) -> None:
    quantizer = quantizer_of(scheme, bits)
    rng = np.random.default_rng(bits)
    for shape in [(1, 1), (1, 500), (500, 1), (40, 32), (3, 5000)]:
        blocks = (rng.standard_normal(shape) + (5 if "include_zero" in scheme else 0)).astype("f4")
        params = quantizer.fit(blocks, context_of(blocks))
        assert_same_codes(quantizer, blocks, params, policy_for("half-even", shape))


@SCHEMES
def test_sums_are_the_references_to_six_digits_fitted_or_clipped(scheme: str, bits: int) -> None:
    quantizer = quantizer_of(scheme, bits)
    blocks = np.random.default_rng(bits).standard_normal((6, 700)).astype(np.float32)
    fitted = quantizer.fit(blocks, context_of(blocks))
    narrow = QuantParams(fitted.scale * np.float32(0.3), fitted.zero_point, fitted.offset)
    for rounding in ("half-even", "half-away", "floor", "stochastic:7"):
        policy = policy_for(rounding, blocks.shape)
        assert_same_sums(quantizer, blocks, fitted, policy)
        _, expected = assert_same_sums(quantizer, blocks, narrow, policy)
        assert expected.clipped > 0


@pytest.mark.parametrize("scheme", ["symmetric", "asymmetric", "apot", "pot", "pot:domain=linear"])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_largest_error_of_a_nearest_policy_is_the_references_to_the_bit(
    scheme: str, bits: int
) -> None:
    """x and x̂ are within a factor of two, or one is zero: x̂ − x is exact in float32."""
    quantizer = quantizer_of(scheme, bits)
    blocks = np.random.default_rng(bits).standard_normal((6, 700)).astype(np.float32)
    params = quantizer.fit(blocks, context_of(blocks))
    for rounding in NEAREST:
        policy = policy_for(rounding, (6, 700))
        found, expected = assert_same_sums(quantizer, blocks, params, policy)
        assert found.max_e == expected.max_e, rounding


@pytest.mark.parametrize(
    ("scheme", "bits"),
    [("symmetric", 8), ("asymmetric", 4), ("uniform", 8), ("apot", 4), ("pot:signed=false", 8)],
)
@pytest.mark.parametrize("size", [1e-44, 1e-38, 1e-30, 1e-19, 1e-12, 1.0, 1e12, 1e19, 1e30, 3e38])
@pytest.mark.parametrize("shift", [1, 64])
def test_sums_are_finite_and_correct_from_faint_to_huge_tensors(
    scheme: str, bits: int, size: float, shift: int
) -> None:
    """Whichever sums are asked for, alone or together; `shift` clips most elements."""
    quantizer = quantizer_of(scheme, bits)
    x = np.random.default_rng(3).uniform(-1, 1, (2, 5000)) * size
    blocks = x.astype(np.float32)
    with np.errstate(all="ignore"):  # as the engine calls
        fitted = quantizer.fit(blocks, context_of(blocks))
    scale = np.maximum(fitted.scale / np.float32(shift), np.float32(2.0**-126))
    params = QuantParams(scale, fitted.zero_point, fitted.offset)
    for sums in [SUMS, ("x2", "e2"), ("xy",), ("abs_e",), ("max_e",)]:
        policy = policy_for("half-even", x.shape)
        found, _ = assert_same_sums(quantizer, blocks, params, policy, sums)
        assert all(math.isfinite(getattr(found, name)) for name in sums)


@pytest.mark.parametrize("scheme", ["symmetric", "asymmetric", "uniform", "apot", "pot"])
@pytest.mark.parametrize("sums", [(name,) for name in SUMS] + [("x2", "e2"), ()])
def test_sums_that_are_not_asked_for_are_nan(scheme: str, sums: tuple[str, ...]) -> None:
    quantizer = quantizer_of(scheme, 4)
    blocks = np.random.default_rng(0).standard_normal((3, 50)).astype(np.float32)
    params = quantizer.fit(blocks, context_of(blocks))
    policy = policy_for("half-even", blocks.shape)
    found = NumpyBackend().measure(quantizer, blocks, params, policy, sums)
    assert {name for name in SUMS if not math.isnan(getattr(found, name))} == set(sums)


@pytest.mark.parametrize("size", [1e-44, 1.0, 3e38])
@pytest.mark.parametrize("scheme", ["symmetric", "uniform", "apot"])
def test_histograms_are_the_references(scheme: str, size: float) -> None:
    """Squares beyond float32 too, where the sums are the reference's own."""
    quantizer = quantizer_of(scheme, 4)
    blocks = (np.random.default_rng(0).uniform(-1, 1, (40, 5000)) * size).astype(np.float32)
    with np.errstate(all="ignore"):
        args = (quantizer.fit(blocks, context_of(blocks)), policy_for("half-even", blocks.shape))
        expected = Reference().measure(quantizer, blocks, *args, HISTOGRAMS)
        found = [NumpyBackend().measure(quantizer, x, *args, HISTOGRAMS) for x in layouts(blocks)]
    for stats, name in itertools.product(found, HISTOGRAMS):
        own, wanted = getattr(stats, name), getattr(expected, name)
        np.testing.assert_array_equal(own.bins, wanted.bins)
        np.testing.assert_array_equal(own.counts, wanted.counts)
        for key, total in wanted.sums.items():
            np.testing.assert_allclose(own.sums[key], total, rtol=1e-12)


@SCHEMES
def test_quotients_beyond_float32_go_to_the_ends_of_the_grid(scheme: str, bits: int) -> None:
    """As a small scale that was given, or a fixed range, may bring about."""
    quantizer = quantizer_of(scheme, bits)
    blocks = np.float32([[LARGEST, -LARGEST, 1e30, -1e30, 1e38, 0, 1e-30, -1e-30]])
    params = some_params(quantizer, np.float32([[1e-30]]))
    for rounding in ("half-even", "ceil"):
        policy = policy_for(rounding, blocks.shape)
        assert_same_codes(quantizer, blocks, params, policy)
        assert_same_sums(quantizer, blocks, params, policy)


@pytest.mark.parametrize("shape", [(1, 140_000), (3, 50_000), (4375, 32), (50_000, 3), (280, 500)])
@pytest.mark.parametrize("rounding", ["half-even", "stochastic:7"])
@pytest.mark.parametrize("scheme", ["asymmetric", "uniform", "apot:k=1", "pot"])
def test_large_chunks_are_no_exception(scheme: str, rounding: str, shape: tuple[int, int]) -> None:
    quantizer = quantizer_of(scheme, 6)
    blocks = np.random.default_rng(4).standard_normal(shape).astype(np.float32)
    params = quantizer.fit(blocks, context_of(blocks))
    policy = policy_for(rounding, shape)
    assert_same_codes(quantizer, blocks, params, policy)
    assert_same_sums(quantizer, blocks, params, policy)


@pytest.mark.parametrize("scheme", ["symmetric", "asymmetric", "uniform", "apot", "pot"])
def test_blocks_that_are_not_in_one_piece_of_memory_are_taken_too(scheme: str) -> None:
    quantizer = quantizer_of(scheme, 6)
    blocks = np.random.default_rng(4).standard_normal((40, 600)).astype(np.float32)[:, ::2]
    params = quantizer.fit(blocks, context_of(blocks))
    args = (quantizer, blocks, params, policy_for("half-even", blocks.shape))
    np.testing.assert_array_equal(NumpyBackend().encode(*args), Reference().encode(*args))
    found, expected = (b.measure(*args, SUMS) for b in (NumpyBackend(), Reference()))
    assert found.xy == pytest.approx(expected.xy, abs=1e-5 * math.sqrt(expected.x2 * expected.y2))
    assert found.e2 == pytest.approx(expected.e2, rel=1e-5)


@pytest.mark.parametrize("sums", [SUMS, ("max_e",), ("abs_e",)])
def test_errors_larger_than_float32_are_measured(sums: tuple[str, ...]) -> None:
    quantizer = quantizer_of("uniform", 2)
    blocks = np.float32([[-3e38, 3e38, 1e38, -LARGEST]])
    params = QuantParams(np.float32([[1e38]]), offset=np.float32([[3e38]]))
    _, expected = assert_same_sums(quantizer, blocks, params, policy_for("half-even", (1, 4)), sums)
    assert expected.max_e > LARGEST or "max_e" not in sums


@pytest.mark.parametrize("rounding", POLICIES)
@pytest.mark.parametrize(
    "units",
    [
        (0.0, 0.1, 1 / 3, 1.0),
        (-1.0, -0.7, -0.1, 0.0, 0.1, 0.7, 1.0),
        tuple(i / 7 for i in range(40)),
        tuple(i / 7 - 3 for i in range(200)),
        tuple(math.sinh(i / 9) for i in range(-40, 41)),
        tuple(1 + i * 2.0**-30 for i in range(30)),
        (0.0, 2.0**-160, 1.0),
        (1e-300, 1e-200, 1e-46, 1.0),
        (-5.0, 3.0),
    ],
    ids=lambda units: f"{len(units)}-from-{units[0]:.3g}",
)
def test_units_that_float32_cannot_hold_give_the_references_codes_and_sums(
    units: tuple[float, ...], rounding: str
) -> None:
    quantizer = Levels(units)
    assert_same_codes_at_every_scale(quantizer, rounding)
    ordinary = np.random.default_rng(2).uniform(min(units), max(units), (3, 500)).astype("f4")
    policy = policy_for(rounding, ordinary.shape)
    assert_same_sums(quantizer, ordinary, QuantParams(np.ones((3, 1), np.float32)), policy)
    assert_same_sums(quantizer, ordinary, QuantParams(np.full((3, 1), 0.3, np.float32)), policy)


@pytest.mark.parametrize("rounding", POLICIES)
def test_thresholds_that_are_not_midpoints_are_kept(rounding: str) -> None:
    units = tuple(float(i) for i in range(-20, 21))
    quantizer = Levels(units, tuple(u + 0.125 for u in units[:-1]))
    assert_same_codes_at_every_scale(quantizer, rounding)


@pytest.mark.parametrize("rounding", POLICIES)
@pytest.mark.parametrize("domain", ["log", "linear"])
def test_unsigned_pot_of_8_bits_is_kept_though_float32_does_not_hold_its_levels(
    domain: str, rounding: str
) -> None:
    quantizer = quantizer_of(f"pot:signed=false:domain={domain}", 8)
    t = np.r_[np.exp2(np.linspace(-150, 1, 4000)), 0, -1, 1e-45].astype(np.float32)[None]
    params = QuantParams(np.float32([[1]]))
    policy = policy_for(rounding, t.shape)
    assert_same_codes(quantizer, t, params, policy)
    assert_same_sums(quantizer, t, params, policy)


@pytest.mark.parametrize("z", [0, 127, -128, 1 << 20, -(1 << 20), (1 << 25) + 3, -(1 << 30) - 1])
@pytest.mark.parametrize("signed", ["true", "false"])
def test_given_zero_points_far_outside_the_codes_give_the_references_codes(
    z: int, signed: str
) -> None:
    quantizer = quantizer_of(f"asymmetric:include_zero=false:signed={signed}", 8)
    x = np.random.default_rng(0).uniform(-1, 1, (1, 300)) * 300 - z
    params = QuantParams(np.float32([[1]]), np.int32([[z]]))
    policy = policy_for("half-even", x.shape)
    assert_same_codes(quantizer, x.astype(np.float32), params, policy)
    assert_same_sums(quantizer, x.astype(np.float32), params, policy)


@pytest.mark.parametrize("shape", [(1, 600), (600, 3), (30, 40)])
def test_a_scheme_that_is_no_grid_runs_as_it_is_written(shape: tuple[int, int]) -> None:
    """Its values may come back in another memory order than the blocks."""
    blocks = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    params = Shouting().fit(blocks, context_of(blocks))
    policy = policy_for("half-even", shape)
    assert_same_codes(Shouting(), blocks, params, policy)
    found, _ = assert_same_sums(Shouting(), blocks, params, policy)
    assert math.isnan(found.clipped)  # it cannot tell


@pytest.mark.parametrize("backend", [NumpyBackend(), Reference()])
@pytest.mark.parametrize("what", ["encode", "measure"])
def test_a_zero_point_for_a_level_grid_is_refused_by_every_backend(
    backend: Backend, what: str
) -> None:
    quantizer = quantizer_of("apot", 4)
    params = QuantParams(np.float32([[1]]), np.int32([[3]]))
    args = (quantizer, np.ones((1, 4), np.float32), params, policy_for("half-even", (1, 4)))
    with pytest.raises(qcore.UsageError, match="a level grid has no zero point"):
        getattr(backend, what)(*args, *([SUMS] if what == "measure" else []))


def test_codes_are_not_overwritten_by_the_next_call() -> None:
    quantizer, policy = quantizer_of("symmetric", 8), policy_for("half-even", (1, 4))
    params = QuantParams(np.float32([[1]]))
    backend = NumpyBackend()
    for scheme in (quantizer, quantizer_of("apot", 4), quantizer_of("apot", 7)):
        first = backend.encode(scheme, np.float32([[1, 2, 3, 4]]), params, policy)
        kept = first.copy()
        backend.encode(scheme, np.float32([[-4, -3, -2, -1]]), params, policy)
        backend.measure(scheme, np.float32([[-4, -3, -2, -1]]), params, policy, SUMS)
        np.testing.assert_array_equal(first, kept)


def test_it_is_installed_available_and_the_default() -> None:
    backend = qcore.create("backend", "numpy")
    assert isinstance(backend, NumpyBackend)
    assert backend.available() is None
    row = qcore.compare({"w": np.ones((2, 2), np.float32)}, ["symmetric"]).rows[0]
    assert row.backend == "numpy"


def test_any_thread_may_call_it() -> None:
    """Scratch memory is each thread's own."""
    x = np.random.default_rng(0).standard_normal((512, 600)).astype(np.float32)
    for scheme in ("symmetric", "apot", "pot"):
        expected = qcore.quantize(x, scheme=scheme, bits=6, backend="reference", threads=1)
        for _ in range(3):
            codes = qcore.quantize(x, scheme=scheme, bits=6, granularity="tensor", threads=8).codes
            np.testing.assert_array_equal(codes, expected.codes)

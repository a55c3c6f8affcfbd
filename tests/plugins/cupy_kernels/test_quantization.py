"""The CUDA kernels, compiled for the CPU, give the reference's codes and values to the bit."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import qcore
from against_reference import (
    LARGEST,
    POLICIES,
    REFERENCE,
    Floats,
    Levels,
    assert_same,
    context_of,
    normal,
    policy_for,
    quantizer_of,
)
from qcore import Backend, GridQuantizer, IntegerGrid, LevelGrid, QuantParams

INTEGER_SCHEMES = (
    "symmetric", "symmetric:full_range=true", "symmetric:signed=false", "asymmetric",
    "asymmetric:signed=false", "asymmetric:include_zero=false", "uniform", "uniform:offset=none",
    "uniform:offset=none:signed=false",
)  # fmt: skip
LEVEL_SCHEMES = (
    "pot", "pot:signed=false", "pot:domain=linear", "pot:signed=false:domain=linear", "apot",
    "apot:signed=false", "apot:k=1", "apot:k=8", "apot:k=8:signed=false",
)  # fmt: skip
WIDTHS = [
    *itertools.product(INTEGER_SCHEMES, (2, 3, 8, 16)),
    *itertools.product(LEVEL_SCHEMES, (2, 3, 5, 8)),
    *(("apot:k=3", 4), ("apot:k=3", 7)),
]
"""All but four bits."""
CASES = [
    *((scheme, 4, rounding) for scheme in INTEGER_SCHEMES + LEVEL_SCHEMES for rounding in POLICIES),
    *((*width, "stochastic:7") for width in WIDTHS),  # which goes through loops of its own
    *((*width, POLICIES[number % 9]) for number, width in enumerate(WIDTHS)),  # the rest in turn
]
"""Every scheme with every policy at one width, and at every width with two."""

SCALES = np.array(
    [1, 0.1, 0.037, 2.0**-20, 1e-30, 2.0**-126, 1e-41, 1e20, 2.0**99, 2.0**101, 1.5e37, 1e38],
    np.float32,
)[:, None]
SPECIAL = np.array(
    [0.0, -0.0, 1e-45, -1e-45, 1.1e-38, -1.1e-38, 1.1754944e-38, 1e-30, 3e38, -3e38, LARGEST,
     -LARGEST, 1, -1, 0.49999997, -0.49999997, 0.5, -0.5, 1.5, 2.5, 8388609.0, -8388609.0],
    np.float32,
)  # fmt: skip


def some_params(quantizer: GridQuantizer, scales: Floats) -> QuantParams:
    """Params with these scales, and zero points and offsets, wide ones too, where it has them."""
    fitted = quantizer.fit(np.zeros((1, 1), np.float32), context_of(np.float32([[-1, 2]])))
    low, high = quantizer.code_range
    z = np.linspace(low, high, len(scales)).astype(np.int32)[:, None]
    wide = np.maximum(-5.3 * scales.astype(float), -LARGEST).astype("f4")
    return QuantParams(
        scales,
        None if fitted.zero_point is None else z,
        None if fitted.offset is None else wide,
    )


def critical_units(quantizer: GridQuantizer) -> Floats:
    """Every threshold and every level (of a wide grid: some), and the floats right beside them."""
    grid = quantizer.grid
    if isinstance(grid, IntegerGrid):
        ends = np.r_[grid.qmin - 3.0 : grid.qmin + 20, grid.qmax - 20 : grid.qmax + 3.0, -20.0:20]
        exact = np.unique(np.r_[ends, ends + 0.5])
    else:
        assert isinstance(grid, LevelGrid)
        exact = np.r_[grid.units, grid.cuts]
    with np.errstate(all="ignore"):
        single = exact.astype(np.float32)
    up, down = np.float32(np.inf), np.float32(-np.inf)
    return np.concatenate([single, np.nextafter(single, up), np.nextafter(single, down)])


@functools.cache
def critical_blocks(scheme: str, bits: int) -> tuple[GridQuantizer, Floats, QuantParams]:
    """A block for each scale: elements beside every threshold, special ones and random ones."""
    quantizer = quantizer_of(scheme, bits)
    units, params = critical_units(quantizer), some_params(quantizer, SCALES)
    z = 0.0 if params.zero_point is None else params.zero_point.astype(np.float64)
    offset = 0.0 if params.offset is None else params.offset.astype(np.float64)
    x = (units.astype(np.float64) - z) * SCALES.astype(np.float64) + offset
    x = np.clip(x, -LARGEST, LARGEST).astype(np.float32)
    rng = np.random.default_rng(1)
    spread = rng.standard_normal((len(SCALES), 40)) * 10 * np.abs(units).max()
    noise = np.clip(spread * SCALES, -LARGEST, LARGEST)
    special = np.broadcast_to(SPECIAL, (len(SCALES), SPECIAL.size))
    return quantizer, np.hstack([x, special, noise]).astype(np.float32), params


@pytest.mark.parametrize(
    ("scheme", "bits", "rounding", "order"),
    [(*case, "CF"[number % 2]) for number, case in enumerate(CASES)],
)
def test_codes_values_and_sums_are_the_references_beside_every_threshold_at_every_scale(
    backend: Backend, scheme: str, bits: int, rounding: str, order: str
) -> None:
    quantizer, blocks, params = critical_blocks(scheme, bits)
    assert_same(backend, quantizer, blocks, params, policy_for(rounding, blocks.shape), order)


floats = st.floats(-LARGEST, LARGEST, width=32)
scales = st.one_of(st.floats(2.0**-149, LARGEST, width=32), st.floats(2.0**-20, 2.0**20, width=32))


@given(
    case=st.sampled_from(CASES),
    rows=st.lists(st.tuples(scales, st.integers(-(2**31), 2**31 - 1), floats), min_size=1),
    data=st.data(),
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_float_any_params_any_policy(
    backend: Backend,
    case: tuple[str, int, str],
    rows: list[tuple[float, int, float]],
    data: st.DataObject,
) -> None:
    scheme, bits, rounding = case
    quantizer = quantizer_of(scheme, bits)
    like = some_params(quantizer, np.float32([[1]]))
    params = QuantParams(
        np.array([[scale] for scale, _, _ in rows], np.float32),
        None if like.zero_point is None else np.array([[z] for _, z, _ in rows], np.int32),
        None if like.offset is None else np.array([[o] for _, _, o in rows], np.float32),
    )
    length = data.draw(st.integers(1, 8))
    element = st.one_of(floats, st.sampled_from(SPECIAL.tolist()))
    drawn = data.draw(st.lists(element, min_size=length * len(rows), max_size=length * len(rows)))
    blocks = np.array(drawn, np.float32).reshape(len(rows), length)
    assert_same(backend, quantizer, blocks, params, policy_for(rounding, blocks.shape))


@given(
    units=st.lists(st.floats(-1e300, 1e300), min_size=2, max_size=40, unique=True).map(sorted),
    elements=st.lists(floats, min_size=1, max_size=30),
    share=st.floats(0.01, 1),
    rounding=st.sampled_from(POLICIES),
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_levels_with_any_thresholds(
    backend: Backend, units: list[float], elements: list[float], share: float, rounding: str
) -> None:
    between = [low + (high / 2 - low / 2) * 2 * share for low, high in itertools.pairwise(units)]
    pairs = zip(units, between, units[1:], strict=False)
    if not all(low < t <= high for low, t, high in pairs):
        between = units[1:]
    near = np.clip(np.array([*units, *between]), -LARGEST, LARGEST).astype(np.float32)
    blocks = np.concatenate([near, np.array(elements, np.float32)])[None]
    params, policy = QuantParams(np.float32([[1]])), policy_for(rounding, blocks.shape)
    assert_same(backend, Levels(tuple(units), tuple(between)), blocks, params, policy)


def test_a_thousand_levels_take_codes_of_two_bytes(backend: Backend) -> None:
    quantizer = Levels(tuple(math.sinh(i / 90) for i in range(-500, 501)))
    blocks = np.random.default_rng(0).uniform(-140, 140, (3, 2000)).astype(np.float32)
    params = QuantParams(np.float32([[1], [0.5], [3]]))
    assert quantizer.code_dtype == np.int16
    assert_same(backend, quantizer, blocks, params, policy_for("half-away", blocks.shape))


@pytest.mark.parametrize("signed", ["true", "false"])
def test_given_zero_points_far_outside_the_codes_give_the_references(
    backend: Backend, signed: str
) -> None:
    """Up to where float32 holds the codes less the zero point, and beyond."""
    quantizer = quantizer_of(f"asymmetric:include_zero=false:signed={signed}", 8)
    far = [
        *(0, 127, -128, 1 << 20, 1 << 22, (1 << 22) + 1, -(1 << 22), -(1 << 22) - 1),
        *((1 << 25) + 3, -(1 << 30) - 1, 2**31 - 1),
    ]
    z = np.repeat(np.array(far, np.int32), 2)[:, None]
    scale = np.tile(np.float32([1, 0.3]), len(far))[:, None]
    x = (np.random.default_rng(0).uniform(-1, 1, (len(z), 300)) * 300 - z) * scale
    params, policy = QuantParams(scale, z), policy_for("half-even", x.shape)
    assert_same(backend, quantizer, x.astype(np.float32), params, policy)


def test_one_row_of_params_serves_all_blocks(backend: Backend) -> None:
    params = QuantParams(np.float32([[0.2]]), np.int32([[3]]))
    policy = policy_for("dpu", (7, 60))
    assert_same(backend, quantizer_of("asymmetric", 4), normal(7, 60), params, policy)


def test_params_of_other_dtypes_are_taken_as_the_scheme_takes_them(backend: Backend) -> None:
    quantizer, blocks = quantizer_of("asymmetric", 8), normal(7, 60)
    z, policy = np.full((7, 1), 3), policy_for("half-even", (7, 60))
    for scale in (np.full((7, 1), 0.1), np.full((7, 1), 0.1, np.float32)):
        assert_same(backend, quantizer, blocks, QuantParams(scale, z.astype(np.int64)), policy)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, "i4", "u4", "i8", "u8"])
@pytest.mark.parametrize("scheme", ["symmetric", "uniform", "apot:signed=false"])
def test_codes_of_any_integer_dtype_are_decoded(backend: Backend, scheme: str, dtype: Any) -> None:
    quantizer = quantizer_of(scheme, 4)
    params = some_params(quantizer, np.float32([[0.3], [7]]))
    codes = np.arange(8).reshape(2, 4).astype(dtype)
    expected = REFERENCE.decode(quantizer, codes, params)
    np.testing.assert_array_equal(backend.decode(quantizer, codes, params), expected)


@pytest.mark.parametrize("code", [-9, 8, 100, -128])
@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64])
def test_codes_that_no_level_has_are_refused(backend: Backend, code: int, dtype: Any) -> None:
    quantizer, params = quantizer_of("apot", 4), QuantParams(np.float32([[1]]))
    codes = np.array([[0, code, 1]], dtype)
    texts = []
    for engine in (REFERENCE, backend):
        with pytest.raises(qcore.RangeError) as caught:
            engine.decode(quantizer, codes, params)
        texts.append(str(caught.value))
    assert texts[0] == texts[1]


@pytest.mark.parametrize("what", ["encode", "decode", "measure"])
def test_a_zero_point_for_a_level_grid_is_refused(backend: Backend, what: str) -> None:
    params, policy = QuantParams(np.float32([[1]]), np.int32([[3]])), policy_for("floor", (1, 4))
    blocks = np.ones((1, 4), np.int8 if what == "decode" else np.float32)
    rest = {"encode": [policy], "decode": [], "measure": [policy, ["e2"]]}[what]
    with pytest.raises(qcore.UsageError, match="a level grid has no zero point"):
        getattr(backend, what)(quantizer_of("apot", 4), blocks, params, *rest)

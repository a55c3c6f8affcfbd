"""Observers find what their definitions say, in one piece or in many."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

import qcore
from qcore.builtin.observers import Fixed, Mse
from qcore.builtin.percentile import Percentile
from qcore.errors import UsageError
from qcore.interfaces.observer import Observer, Range, Trial

Floats = NDArray[np.float32]

LARGEST = float(np.finfo(np.float32).max)
TIED = st.sampled_from([-2.0, -1.0, -0.5, 0.0, -0.0, 0.5, 1.0, 2.0])
FLOATS = st.floats(-LARGEST, LARGEST, width=32)
BLOCKS = st.one_of(
    *(
        hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 40)), elements=elements)
        for elements in (TIED, FLOATS, FLOATS.map(abs), FLOATS.map(lambda v: -abs(v)))
    )
)
PERCENTS = st.sampled_from([50.001, 51, 60, 75, 90, 99, 99.9, 99.99, 100]) | st.floats(50.5, 100)


def in_pieces(observer: Observer, pieces: Sequence[Floats], trial: Trial | None = None) -> Range:
    """The range of blocks that come in pieces, merged in the order given."""
    state = None
    for _ in range(observer.passes):
        states = [observer.summarize(piece, trial, state) for piece in pieces]
        state = functools.reduce(observer.merge, states)
    assert state is not None
    return observer.range(state)


@st.composite
def split_blocks(draw: st.DrawFn) -> tuple[Floats, list[Floats]]:
    """Blocks, and their columns cut into pieces in some order."""
    blocks = draw(BLOCKS)
    cuts = draw(st.sets(st.integers(1, blocks.shape[1]), max_size=5))
    bounds = sorted({0, blocks.shape[1], *cuts})
    pieces = [blocks[:, a:b] for a, b in itertools.pairwise(bounds)]
    return blocks, draw(st.permutations(pieces))


def trial_of(scheme: str, bits: int, rounding: str = "half-even", scale: str = "float32") -> Trial:
    parts = qcore.Recipe(scheme, bits, rounding=rounding, scale_format=scale).parts
    return Trial(parts.quantizer, parts.scale_format, parts.rounding)


def bits_of(ends: Range) -> bytes:
    return b"".join(np.ascontiguousarray(end).tobytes() for end in ends)


@settings(deadline=None, max_examples=80)
@given(split_blocks())
def test_minmax_is_the_least_and_the_greatest_whole_or_in_pieces(
    case: tuple[Floats, list[Floats]],
) -> None:
    blocks, pieces = case
    observer = qcore.create("observer", "minmax")
    for lo, hi in (observer.observe(blocks, None), in_pieces(observer, pieces)):
        assert lo.dtype == hi.dtype == np.float32
        np.testing.assert_array_equal(lo, [[min(row)] for row in blocks.tolist()])
        np.testing.assert_array_equal(hi, [[max(row)] for row in blocks.tolist()])


@settings(deadline=None, max_examples=50)
@given(split_blocks())
def test_fixed_is_what_it_was_told(case: tuple[Floats, list[Floats]]) -> None:
    blocks, pieces = case
    observer = Fixed(-0.25, 3)
    for lo, hi in (observer.observe(blocks, None), in_pieces(observer, pieces)):
        assert lo.dtype == hi.dtype == np.float32
        assert lo.tolist() == [[-0.25]] * len(blocks)
        assert hi.tolist() == [[3]] * len(blocks)


@pytest.mark.parametrize("spec", ["fixed:1:0", "fixed:0:1e39", "fixed:-inf:0", "fixed:nan:1"])
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_a_fixed_range_needs_two_finite_numbers_in_order(spec: str) -> None:
    with pytest.raises(UsageError, match=r"needs two float32 numbers, the lower one first$"):
        qcore.create("observer", spec)


@pytest.mark.parametrize(
    "spec",
    ["fixed:0:1", "fixed:-1.5:2.25", "fixed:2:2", "fixed:0:0", "percentile:99", "minmax", "mse"],
)
def test_specs_round_trip(spec: str) -> None:
    observer = qcore.create("observer", spec)
    assert str(observer) == spec
    assert type(observer).from_config(observer.config()) == observer


def nearest_rank(row: list[float], p: float) -> tuple[float, float]:
    """The oracle: hi has at least p% at or below it, lo at least p% at or above it."""
    share = Fraction(Decimal(str(p))) / 100 * len(row)
    hi = min(v for v in row if sum(other <= v for other in row) >= share)
    lo = max(v for v in row if sum(other >= v for other in row) >= share)
    return lo, hi


@settings(deadline=None, max_examples=100)
@given(split_blocks(), PERCENTS)
def test_percentile_is_the_nearest_rank_whole_or_in_pieces(
    case: tuple[Floats, list[Floats]], p: float
) -> None:
    blocks, pieces = case
    expected = np.array([nearest_rank(row, p) for row in blocks.tolist()], np.float32)
    for lo, hi in (Percentile(p).observe(blocks, None), in_pieces(Percentile(p), pieces)):
        assert lo.dtype == hi.dtype == np.float32
        np.testing.assert_array_equal(np.hstack([lo, hi]), expected)


@settings(deadline=None, max_examples=100)
@given(split_blocks(), PERCENTS)
@example((np.float32([[0.0, -0.0]]), [np.float32([[-0.0]]), np.float32([[0.0]])]), 100)
@example((np.float32([[0.0, 0.0, -0.0]]), [np.float32([[-0.0, 0.0]]), np.float32([[0.0]])]), 60)
def test_percentile_in_pieces_is_the_whole_bit_for_bit(
    case: tuple[Floats, list[Floats]], p: float
) -> None:
    blocks, pieces = case
    assert bits_of(in_pieces(Percentile(p), pieces)) == bits_of(Percentile(p).observe(blocks, None))


@settings(deadline=None, max_examples=80)
@given(split_blocks(), PERCENTS, st.randoms())
def test_percentile_pieces_merge_in_any_order_and_grouping(
    case: tuple[Floats, list[Floats]], p: float, random: Any
) -> None:
    _, pieces = case
    observer, state = Percentile(p), None
    for _ in range(observer.passes):
        states = [observer.summarize(piece, None, state) for piece in pieces]
        while len(states) > 1:
            random.shuffle(states)
            states.append(observer.merge(states.pop(), states.pop()))
        state = states[0]
    assert state is not None
    assert bits_of(observer.range(state)) == bits_of(in_pieces(observer, pieces))


@pytest.mark.parametrize("p", [55, 62.5, 87.5, 93.7, 99.3])
@pytest.mark.parametrize("count", [1, 2, 7, 40, 999, 4096])
def test_percentile_agrees_with_numpy_inverted_cdf(p: float, count: int) -> None:
    rank = Fraction(Decimal(str(p))) * count / 100
    if rank.denominator == 1:
        count += 3  # on a whole rank NumPy's float may fall on either side
    blocks = np.random.default_rng(count).standard_normal((3, count)).astype(np.float32)
    lo, hi = Percentile(p).observe(blocks, None)
    numpy_hi = np.percentile(blocks, p, axis=1, method="inverted_cdf", keepdims=True)
    numpy_lo = -np.percentile(-blocks, p, axis=1, method="inverted_cdf", keepdims=True)
    np.testing.assert_array_equal(hi, numpy_hi)
    np.testing.assert_array_equal(lo, numpy_lo)


@pytest.mark.parametrize(
    ("p", "count", "rank"),
    [(99.9, 1000, 999), (99.9, 999, 999), (99.9, 1001, 1000), (60, 5, 3), (99.99, 10**8, 99990000),
     (100, 7, 7), (70, 10, 7), (57, 100, 57), (50.001, 1, 1)],
)  # fmt: skip
def test_the_rank_is_exact_in_decimal(p: float, count: int, rank: int) -> None:
    assert Percentile(p).rank(count) == rank


def test_percentile_leaves_out_one_in_a_thousand_on_each_side() -> None:
    blocks = np.arange(1000, dtype=np.float32)[None]
    lo, hi = Percentile().observe(blocks, None)
    assert (lo.item(), hi.item()) == (1, 998)
    lo, hi = Percentile(100).observe(blocks, None)
    assert (lo.item(), hi.item()) == (0, 999)


@pytest.mark.parametrize("p", [50, 0, -1, 100.001, float("nan")])
def test_a_percentile_is_above_50_and_at_most_100(p: float) -> None:
    with pytest.raises(UsageError, match=r"p is above 50 and at most 100$"):
        Percentile(p)


SCHEMES = [
    ("symmetric", 4), ("symmetric:signed=false", 3), ("asymmetric", 4), ("uniform", 3),
    ("uniform:offset=none", 4), ("pot", 4), ("apot", 5), ("symmetric", 8),
]  # fmt: skip
TRIALS = [
    *((scheme, bits, "half-even", "float32") for scheme, bits in SCHEMES),
    ("symmetric", 4, "floor", "float32"),
    ("asymmetric", 4, "half-away", "float16"),
    ("apot", 4, "ceil", "pow2"),
]


def gaussian(rows: int = 5, length: int = 64) -> Floats:
    rng = np.random.default_rng(0)
    blocks = rng.standard_normal((rows, length)) * 10.0 ** np.arange(-2, rows - 2)[:, None]
    blocks[:, 0] *= 6  # an outlier, so that shrinking pays
    return blocks.astype(np.float32)


@pytest.mark.parametrize("trial", TRIALS, ids=lambda t: "-".join(map(str, t)))
def test_mse_is_the_best_of_the_documented_shrinkages(trial: tuple[Any, ...]) -> None:
    made, blocks = trial_of(*trial), gaussian()
    least, most = blocks.min(axis=1, keepdims=True), blocks.max(axis=1, keepdims=True)
    lo, hi = Mse().observe(blocks, made)
    factors = np.arange(1, 0.1875, -0.025, dtype=np.float64)
    assert len(factors) == 33
    for row, block in enumerate(blocks):
        energies = []
        for factor in factors.astype(np.float32):
            ends = (least[row] * factor)[:, None], (most[row] * factor)[:, None]
            context = qcore.FitContext(*ends, made.scale_format.snap)
            params = made.quantizer.fit(block[None], context)
            codes = made.quantizer.encode(block[None], params, made.rounding)
            error = made.quantizer.decode(codes, params)[0].astype(np.float64) - block
            energies.append(float(error @ error))
        best = factors.astype(np.float32)[int(np.argmin(energies))]
        assert lo[row, 0] == least[row, 0] * best
        assert hi[row, 0] == most[row, 0] * best


@settings(deadline=None, max_examples=40)
@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 30)),
               elements=st.floats(-(2.0**40), 2.0**40, width=32)),
    st.sampled_from(TRIALS),
)  # fmt: skip
def test_mse_is_never_worse_than_minmax(blocks: Floats, trial: tuple[Any, ...]) -> None:
    made = trial_of(*trial)
    with np.errstate(all="ignore"):  # as the engine calls
        try:
            full = made.errors(blocks, *qcore.create("observer", "minmax").observe(blocks, None))
        except qcore.RangeError:  # a scale too large for float16
            return
        searched = made.errors(blocks, *Mse().observe(blocks, made))
    assert (searched <= full).all()


@pytest.mark.parametrize("trial", TRIALS, ids=lambda t: "-".join(map(str, t)))
@pytest.mark.parametrize("cuts", [(1,), (31, 32), (5, 20, 21, 60)])
def test_mse_in_pieces_is_the_whole(trial: tuple[Any, ...], cuts: tuple[int, ...]) -> None:
    made, blocks = trial_of(*trial), gaussian()
    expected = Mse().observe(blocks, made)
    pieces = np.split(blocks, cuts, axis=1)
    for order in (pieces, pieces[::-1]):
        assert bits_of(in_pieces(Mse(), order, made)) == bits_of(expected)


def test_mse_takes_the_widest_of_equal_ranges() -> None:
    blocks = np.float32([[0, 0, 0]])
    lo, hi = Mse().observe(blocks, trial_of("symmetric", 8))
    assert (lo.item(), hi.item()) == (0, 0)
    blocks = np.float32([[127, 0, -127, 5]])  # exact at full range
    lo, hi = Mse().observe(blocks, trial_of("symmetric", 8))
    assert (lo.item(), hi.item()) == (-127, 127)


@pytest.mark.parametrize("observer", ["minmax", "percentile:90", "mse", "fixed:-1:1"])
@pytest.mark.parametrize("scheme", ["symmetric", "asymmetric", "pot"])
def test_the_engine_observes_in_pieces_as_it_does_in_one(observer: str, scheme: str) -> None:
    """A per-tensor block longer than a chunk, against the same elements handed over whole."""
    x = np.random.default_rng(5).standard_normal(200_000).astype(np.float32)
    recipe = qcore.Recipe(scheme, 4, observer=observer)
    parts = recipe.parts
    trial = Trial(parts.quantizer, parts.scale_format, parts.rounding)
    ends = parts.observer.observe(x[None], trial)
    context = qcore.FitContext(*ends, parts.scale_format.snap)
    expected = parts.quantizer.fit(x[None], context)
    assert qcore.quantize(x, recipe).scale.item() == expected.scale.item()

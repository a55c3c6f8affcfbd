"""Layers of integers with scales and constants: exact where float64 is, on every backend."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import qcore
from qcore import AffineRows, Epilogue, QuantParams, Requantize
from qcore.interfaces.products import sum_dtype
from qcore_int8 import backend as int8_backend
from qcore_int8 import pieces

IDS = ["int8-blas", "reference", "numpy"]
BACKENDS = pytest.mark.parametrize("id", IDS)
ROUNDINGS = [
    "half-even", "half-up", "half-down", "half-toward-zero", "half-away", "dpu", "floor", "ceil",
    "toward-zero", "stochastic:3",
]  # fmt: skip


def backend(id: str) -> qcore.Backend:
    made = qcore.create("backend", id)
    assert isinstance(made, qcore.Backend)
    return made


def layer(id: str, x: AffineRows, w: AffineRows, epilogue: Epilogue | None = None) -> NDArray[Any]:
    made = backend(id)
    return made.linear(x, made.prepare_weights(w), epilogue or Epilogue())


def values(rows: AffineRows) -> NDArray[np.float64]:
    """scale · Σ 256^j · digit + constant, element by element."""
    u = sum(256.0**j * digit for j, digit in enumerate(rows.digits))
    group_of = np.arange(rows.shape[1]) // rows.group
    scaled: NDArray[np.float64] = rows.scale[:, group_of] * u
    return scaled if rows.constant is None else scaled + rows.constant[:, group_of]


def some_rows(
    random: np.random.Generator,
    shape: tuple[int, int],
    digits: tuple[str, ...] = ("int8",),
    group: int | None = None,
    one_scale: bool = False,
    constant: bool = True,
) -> AffineRows:
    """Any integers, with scales and constants of so few bits that float64 loses none."""
    count, depth = shape
    group = group or max(1, depth)
    per_group = (1 if one_scale else count, -(-depth // group))
    made = [np.iinfo(digit) for digit in digits]
    return AffineRows(
        tuple(random.integers(i.min, i.max + 1, shape).astype(i.dtype) for i in made),
        random.integers(1, 8, per_group) / 2,
        random.integers(-99, 99, per_group) / 8 if constant else None,
        group,
    )


DIGITS = [("int8",), ("uint8",), ("uint8", "int8"), ("uint8", "uint8")]


@st.composite
def sides(draw: st.DrawFn) -> tuple[AffineRows, AffineRows]:
    """Inputs and weights that may be multiplied, either in groups or both."""
    depth = draw(st.sampled_from([0, 1, 5, 16, 23, 64, 300]))
    group = draw(st.sampled_from([1, 8, 16, 23, 100]))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    made = [
        some_rows(
            random,
            (draw(st.sampled_from([0, 1, 2, 3, 6])), depth),
            draw(st.sampled_from(DIGITS)),
            group if draw(st.booleans()) else None,
            draw(st.booleans()),
            draw(st.booleans()),
        )
        for _ in range(2)
    ]
    return made[0], made[1]


# --- laws -----------------------------------------------------------------------------------------


@BACKENDS
@settings(deadline=None, max_examples=70)
@given(sides())
def test_the_product_of_values_is_exact_but_for_one_rounding_to_float32(
    id: str, xw: tuple[AffineRows, AffineRows]
) -> None:
    x, w = xw
    y = layer(id, x, w)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, (values(x) @ values(w).T).astype(np.float32), strict=True)


@settings(deadline=None, max_examples=40)
@given(sides(), st.integers(1, 30), st.integers(1, 20), st.booleans(), st.booleans())
def test_the_size_of_the_pieces_changes_nothing(
    xw: tuple[AffineRows, AffineRows], tile: int, strip: int, relu: bool, requantized: bool
) -> None:
    x, w = xw
    quantizer = qcore.create("scheme", "symmetric", bits=8)
    rounding = qcore.create("rounding", "stochastic:3")
    params = QuantParams(np.float32([[37.5]]))
    epilogue = Epilogue(
        np.arange(w.shape[0]) / 4,
        relu,
        Requantize(quantizer, params, rounding) if requantized else None,
    )
    expected = layer("reference", x, w, epilogue)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "_TILE_ELEMENTS", tile)
        patch.setattr(pieces, "_STRIP_ELEMENTS", strip)
        patch.setattr(int8_backend, "_CAST_ELEMENTS", tile)
        np.testing.assert_array_equal(layer("int8-blas", x, w, epilogue), expected, strict=True)


@BACKENDS
@settings(deadline=None, max_examples=40)
@given(sides(), st.booleans(), st.booleans())
def test_bias_comes_before_relu(
    id: str, xw: tuple[AffineRows, AffineRows], bias: bool, relu: bool
) -> None:
    x, w = xw
    added = np.arange(w.shape[0]) * 1000.0 - 500 if bias else None
    expected = values(x) @ values(w).T + (0 if added is None else added)
    if relu:
        expected = np.maximum(expected, 0)
    y = layer(id, x, w, Epilogue(added, relu))
    np.testing.assert_array_equal(y, expected.astype(np.float32), strict=True)


@BACKENDS
@pytest.mark.parametrize(
    ("scheme", "bits"),
    [("symmetric", 8), ("asymmetric", 4), ("uniform", 8), ("apot", 4), ("pot", 8),
     ("asymmetric:signed=false", 12)],
)  # fmt: skip
def test_codes_of_the_output_are_those_of_its_float32_values(
    id: str, scheme: str, bits: int
) -> None:
    random = np.random.default_rng(bits)
    x, w = some_rows(random, (9, 40)), some_rows(random, (7, 40))
    y = layer(id, x, w, Epilogue(np.arange(7.0), relu=True))
    for rounding in ROUNDINGS:
        recipe = qcore.Recipe(scheme, bits, rounding=rounding)
        once = qcore.quantize(y, recipe)
        parts = recipe.parts
        requantize = Requantize(parts.quantizer, once.params, parts.rounding)
        codes = layer(id, x, w, Epilogue(np.arange(7.0), relu=True, requantize=requantize))
        np.testing.assert_array_equal(codes, once.codes, strict=True, err_msg=rounding)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 9), st.integers(0, 5), st.sets(st.integers(1, 8)), st.sampled_from(ROUNDINGS))
def test_an_epilogue_may_be_finished_in_pieces(
    rows: int, columns: int, cuts: set[int], rounding: str
) -> None:
    quantizer = qcore.create("scheme", "asymmetric", bits=4)
    params = QuantParams(np.float32([[0.5]]), np.int32([[-3]]))
    requantize = Requantize(quantizer, params, qcore.create("rounding", rounding))
    y = np.random.default_rng(rows).normal(size=(rows, columns)) * 2
    for last in (None, requantize):
        epilogue = Epilogue(np.arange(columns) / 7, False, last)
        whole, found = (np.empty(y.shape, epilogue.dtype) for _ in range(2))
        epilogue.finish(y.copy(), whole, 0)
        for start, stop in itertools.pairwise(sorted({0, rows, *(c for c in cuts if c < rows)})):
            epilogue.finish(y[start:stop].copy(), found[start:stop], start)
        np.testing.assert_array_equal(found, whole)


@settings(deadline=None, max_examples=50)
@given(sides())
def test_corrections_are_all_that_constants_add(xw: tuple[AffineRows, AffineRows]) -> None:
    x, w = xw
    for id in ("reference", "int8-blas"):
        prepared = backend(id).prepare_weights(w)
        corrections = prepared.corrections(x)
        assert (corrections is None) == (x.constant is None and w.constant is None)
        without = [AffineRows(side.digits, side.scale, None, side.group) for side in xw]
        added = values(x) @ values(w).T - values(without[0]) @ values(without[1]).T
        if corrections is None:
            assert not added.any()
        else:
            left, right = corrections
            assert left.shape[0] == x.shape[0]
            assert right.shape[1] == w.shape[0]
            np.testing.assert_array_equal(left @ right, added)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(DIGITS), st.integers(0, 5), st.integers(0, 40), st.integers(1, 12))
def test_sums_of_rows_are_exact_in_any_spans(
    digits: tuple[str, ...], rows: int, depth: int, group: int
) -> None:
    made = some_rows(np.random.default_rng(depth), (rows, depth), digits, group)
    u = sum(256**j * d.astype(np.int64) for j, d in enumerate(made.digits))
    expected = [u[:, k : k + group].sum(axis=1) for k in range(0, depth, group)]
    found = made.sums(made.spans)
    assert found.shape == (rows, len(expected))
    np.testing.assert_array_equal(found, np.reshape(expected, (len(expected), rows)).T)


@BACKENDS
def test_operands_are_left_as_they_were_and_results_stay(id: str) -> None:
    random = np.random.default_rng(0)
    x, w = some_rows(random, (6, 40), ("uint8", "int8"), 16), some_rows(random, (5, 40), group=16)
    arrays = [*x.digits, *w.digits, x.scale, w.scale, x.constant, w.constant]
    kept = [np.array(array) for array in arrays]
    for array in arrays:
        assert array is not None
        array.flags.writeable = False
    made = backend(id)
    prepared = made.prepare_weights(w)
    first = made.linear(x, prepared, Epilogue())
    copy = first.copy()
    other = made.linear(some_rows(random, (6, 40), group=16), prepared, Epilogue())
    assert not np.shares_memory(first, other)
    np.testing.assert_array_equal(first, copy)
    for array, before in zip(arrays, kept, strict=True):
        np.testing.assert_array_equal(np.asarray(array), before)


@BACKENDS
def test_threads_share_weights(id: str) -> None:
    random = np.random.default_rng(0)
    made = backend(id)
    jobs = []
    for depth, columns in [(40, 300), (600, 20), (1500, 64)]:
        w = some_rows(random, (columns, depth), ("uint8", "int8"))
        prepared = made.prepare_weights(w)
        for rows in (1, 30, 200):
            x = some_rows(random, (rows, depth))
            jobs.append((x, prepared, (values(x) @ values(w).T).astype(np.float32)))
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda job: made.linear(job[0], job[1], Epilogue()), jobs * 6))
    for y, (_, _, expected) in zip(found, jobs * 6, strict=True):
        np.testing.assert_array_equal(y, expected)


# --- int32, and beyond ----------------------------------------------------------------------------

LAST = {
    ("int8", "int8"): 131_071,
    ("int8", "uint8"): 65_793,
    ("uint8", "int8"): 65_793,
    ("uint8", "uint8"): 33_025,
}


@pytest.mark.parametrize("pair", LAST, ids=" × ".join)
def test_sums_are_int32_up_to_the_longest_that_cannot_overflow(pair: tuple[str, str]) -> None:
    left, right = (np.dtype(name) for name in pair)
    assert sum_dtype(0, left, right) == np.int32
    assert sum_dtype(LAST[pair], left, right) == np.int32
    assert sum_dtype(LAST[pair] + 1, left, right) == np.int64


@BACKENDS
def test_a_layer_longer_than_int32_holds_does_not_wrap(id: str) -> None:
    depth = 2**17 + 1
    least = np.full((1, depth), -128, np.int8)
    rows = AffineRows((least,), np.ones((1, 1)), None, depth)
    assert layer(id, rows, rows).tolist() == [[np.float32(depth * 2.0**14)]]


# --- worked examples ------------------------------------------------------------------------------


@BACKENDS
def test_a_layer_worked_by_hand(id: str) -> None:
    x = AffineRows((np.int8([[1, 2, 3, 4]]),), np.array([[0.5, 2]]), np.array([[1, -1.0]]), 2)
    w = AffineRows((np.int8([[1, 0, -1, 2]]),), np.array([[0.25]]), np.array([[3.0]]), 4)
    # x̂ = 1.5 2 5 7, ŵ = 3.25 3 2.75 3.5
    assert layer(id, x, w).tolist() == [[4.875 + 6 + 13.75 + 24.5]]


@BACKENDS
def test_two_digits_a_side_are_four_products(id: str) -> None:
    x = AffineRows((np.uint8([[255]]), np.int8([[-128]])), np.ones((1, 1)), None, 1)
    w = AffineRows((np.uint8([[1]]), np.uint8([[2]])), np.ones((1, 1)), None, 1)
    assert layer(id, x, w).tolist() == [[(255 - 128 * 256) * (1 + 2 * 256)]]


def test_an_epilogues_dtype_is_that_of_the_codes() -> None:
    assert Epilogue().dtype == np.float32
    params = QuantParams(np.float32([[1]]))
    rounding = qcore.create("rounding", "half-even")
    for bits, dtype in ((8, np.int8), (12, np.int16)):
        quantizer = qcore.create("scheme", "symmetric", bits=bits)
        assert Epilogue(requantize=Requantize(quantizer, params, rounding)).dtype == dtype


def test_sums_over_the_weights_are_computed_once() -> None:
    random = np.random.default_rng(0)
    prepared = backend("int8-blas").prepare_weights(some_rows(random, (3, 20)))
    assert prepared.sums is prepared.sums


# --- what is refused ------------------------------------------------------------------------------


@BACKENDS
def test_sides_of_different_depths_are_refused(id: str) -> None:
    random = np.random.default_rng(0)
    with pytest.raises(qcore.ShapeError) as caught:
        layer(id, some_rows(random, (2, 5)), some_rows(random, (3, 4)))
    assert str(caught.value) == "x has 5 inputs a row, but the weights, (3, 4), take 4"


@BACKENDS
def test_groups_of_different_sizes_are_refused(id: str) -> None:
    random = np.random.default_rng(0)
    x, w = some_rows(random, (2, 48), group=16), some_rows(random, (3, 48), group=24)
    with pytest.raises(qcore.ShapeError) as caught:
        layer(id, x, w)
    assert str(caught.value) == (
        "x has a scale for every 16 inputs, the weights for every 24; give both the same group size"
    )


@pytest.mark.parametrize(("own", "other"), list(itertools.permutations(IDS, 2)))
def test_weights_that_another_backend_prepared_are_refused(own: str, other: str) -> None:
    rows = some_rows(np.random.default_rng(0), (2, 5))
    prepared = backend(other).prepare_weights(rows)
    with pytest.raises(qcore.UsageError) as caught:
        backend(own).linear(rows, prepared, Epilogue())
    assert str(caught.value) == (
        f"the weights were prepared by '{other}', not by '{own}'; prepare them there"
    )

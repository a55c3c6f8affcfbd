"""Products of int8 and uint8 matrices are those of int64, on every backend that is installed."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

import qcore
from qcore_int8 import Int8Blas, backend, pieces
from qcore_int8.buffers import BUFFERS
from qcore_int8.exact import Factor, exact_sum, spans_of_bound, spans_of_matrix

Integers = NDArray[Any]

BACKENDS = pytest.mark.parametrize("id", ["int8-blas", "reference", "numpy"])
LARGEST = {"int8": 128, "uint8": 255}
PAIRS = list(itertools.product(LARGEST, LARGEST))
PAIR = pytest.mark.parametrize(("left", "right"), PAIRS)
LONGEST_INT32 = {
    ("int8", "int8"): 131_071,
    ("int8", "uint8"): 65_793,
    ("uint8", "int8"): 65_793,
    ("uint8", "uint8"): 33_025,
}
"""The longest sums that int32 holds whatever is in them, as documented."""


def product(id: str, a: Any, b: Any, *, prepared: bool = False) -> Any:
    chosen = qcore.create("backend", id)
    return chosen.gemm(a, chosen.prepare(b) if prepared else b)


def exact(a: Integers, b: Integers) -> Integers:
    """The oracle: NumPy's own product of int64."""
    wide: Integers = np.matmul(a.astype(np.int64), b.astype(np.int64))
    return wide


def expected_dtype(depth: int, left: str, right: str) -> type[np.signedinteger[Any]]:
    return np.int32 if depth * LARGEST[left] * LARGEST[right] <= 2**31 - 1 else np.int64


def assert_exact(found: Any, a: Integers, b: Integers, expected: Any = None) -> None:
    """`expected` is exact(a, b), where it is there already."""
    np.testing.assert_array_equal(found, exact(a, b) if expected is None else expected)
    assert found.dtype == expected_dtype(len(b), a.dtype.name, b.dtype.name)


# --- the strategies: contents, shapes and memory --------------------------------------------------

FILLS = ["least", "greatest", "alternating", "sparse", "random"]
LAYOUTS = ["C", "F", "backwards", "every other", "every third, across", "from the middle"]
DEPTHS = [0, 1, 2, 3, 7, 64, 65, 257, 258, 259, 514, 515, 1024, 1025, 1041]


def filled(shape: tuple[int, ...], dtype: str, fill: str, seed: int = 0) -> Integers:
    """A matrix of a kind; signs alternate along the first axis, so that sums cancel or add up."""
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    random = np.random.default_rng(seed).integers(low, high + 1, shape)
    even = np.indices(shape).sum(axis=0) % 2 == 0 if shape else np.True_
    made = {
        "least": np.full(shape, low),
        "greatest": np.full(shape, high),
        "alternating": np.where(even, low, high),
        "sparse": np.where(random % 7 == 0, random, 0),
        "random": random,
    }[fill]
    return made.astype(dtype)


def laid_out(matrix: Integers, layout: str) -> Integers:
    """The same numbers in another arrangement in memory, with others between; read-only."""
    cut = {
        "C": slice(None),
        "F": slice(None),
        "backwards": slice(None, None, -1),
        "every other": slice(None, None, 2),
        "every third, across": slice(1, None, 3),
        "from the middle": slice(3, -2),
    }[layout]
    room = np.full([3 * n + 5 for n in matrix.shape], 77, matrix.dtype)
    if layout in ("F", "every third, across"):
        room = room.T.copy().T
    if layout == "from the middle":
        room = room[tuple(slice(n + 5) for n in matrix.shape)]
    kept: Integers = room[(cut,) * matrix.ndim][tuple(slice(n) for n in matrix.shape)]
    if layout in ("C", "F"):
        kept = kept.copy(order="A")
    kept[...] = matrix
    kept.flags.writeable = False
    return kept


@st.composite
def operands(draw: st.DrawFn, most_axes: int = 4) -> tuple[Integers, Integers]:
    """What gemm takes: (…, K) and (K, N), anyhow in memory."""
    depth = draw(st.sampled_from(DEPTHS))
    columns = draw(st.sampled_from([0, 1, 2, 3, 8, 17]))
    rows = tuple(draw(st.lists(st.sampled_from([0, 1, 2, 3, 5]), max_size=most_axes - 1)))
    seed = draw(st.integers(0, 2**32))
    left, right = draw(st.sampled_from(PAIRS))
    a = filled((*rows, depth), left, draw(st.sampled_from(FILLS)), seed)
    b = filled((depth, columns), right, draw(st.sampled_from(FILLS)), seed + 1)
    return laid_out(a, draw(st.sampled_from(LAYOUTS))), laid_out(b, draw(st.sampled_from(LAYOUTS)))


# --- laws of the product --------------------------------------------------------------------------


@BACKENDS
@settings(deadline=None, max_examples=40)
@given(operands(), st.booleans())
def test_every_integer_is_that_of_int64(
    id: str, ab: tuple[Integers, Integers], prepared: bool
) -> None:
    a, b = ab
    found = product(id, a, b, prepared=prepared)
    assert found.shape == (*a.shape[:-1], b.shape[1])
    assert_exact(found, a, b)


@BACKENDS
@settings(deadline=None, max_examples=30)
@given(
    st.data(),
    st.sampled_from(PAIRS),
    st.tuples(st.integers(0, 5), st.integers(0, 40), st.integers(0, 5)),
    st.booleans(),
)
def test_every_integer_is_that_of_int64_whatever_the_elements(
    id: str,
    data: st.DataObject,
    pair: tuple[str, str],
    extents: tuple[int, int, int],
    prepared: bool,
) -> None:
    rows, depth, columns = extents
    a = data.draw(hnp.arrays(pair[0], (rows, depth)))
    b = data.draw(hnp.arrays(pair[1], (depth, columns)))
    assert_exact(product(id, a, b, prepared=prepared), a, b)


@BACKENDS
@PAIR
def test_every_product_of_two_numbers_is_exact(id: str, left: str, right: str) -> None:
    a, b = (np.arange(256).astype(np.uint8).view(dtype) for dtype in (left, right))
    for prepared in (False, True):
        assert_exact(product(id, a[:, None], b[None, :], prepared=prepared), a[:, None], b[None, :])


@BACKENDS
@settings(deadline=None, max_examples=40)
@given(operands(most_axes=1), st.lists(st.sampled_from([0, 1, 2, 3]), max_size=2))
def test_what_is_repeated_without_being_copied_counts_every_time(
    id: str, ab: tuple[Integers, Integers], more: list[int]
) -> None:
    a, b = ab
    rows = np.broadcast_to(a, (*more, 3, a.size))
    columns = np.broadcast_to(a[:, None], (a.size, 4))
    for prepared in (False, True):
        assert_exact(product(id, rows, b, prepared=prepared), rows, b)
        assert_exact(product(id, rows, columns, prepared=prepared), rows, columns)


@BACKENDS
@settings(deadline=None, max_examples=30)
@given(operands(), st.booleans())
def test_operands_are_left_as_they_were(
    id: str, ab: tuple[Integers, Integers], prepared: bool
) -> None:
    a, b = (operand.copy() for operand in ab)
    kept = a.copy(), b.copy()
    product(id, a, b, prepared=prepared)
    np.testing.assert_array_equal(a, kept[0])
    np.testing.assert_array_equal(b, kept[1])


@BACKENDS
@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize("depth", [0, 5, 1041])
def test_a_result_stays_when_the_next_one_is_made(id: str, prepared: bool, depth: int) -> None:
    a = filled((6, depth), "int8", "random")
    b = filled((depth, 9), "int8", "random", 1)
    first = product(id, a, b, prepared=prepared)
    second = product(id, a[::-1], b, prepared=prepared)
    assert not np.shares_memory(first, second)
    assert_exact(first, a, b)
    assert first.flags.writeable
    first[...] = 5  # nor does writing to it change what comes
    assert_exact(product(id, a, b, prepared=prepared), a, b)
    assert_exact(second, a[::-1], b)


@BACKENDS
@pytest.mark.parametrize("prepared", [False, True])
def test_threads_do_not_disturb_each_other(id: str, prepared: bool) -> None:
    chosen = qcore.create("backend", id)
    shapes = [(40, 30, 20), (7, 1500, 33), (300, 64, 128), (1, 2100, 5), (64, 600, 64)]
    jobs = []
    for seed, (rows, depth, columns) in enumerate(shapes):
        a = filled((rows, depth), PAIRS[seed % 4][0], "random", seed)
        b = filled((depth, columns), PAIRS[seed % 4][1], "random", seed + 9)
        jobs.append((a, chosen.prepare(b) if prepared else b, exact(a, b)))
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda job: chosen.gemm(job[0], job[1]), jobs * 12))
    for result, (_, _, expected) in zip(found, jobs * 12, strict=True):
        np.testing.assert_array_equal(result, expected)


@BACKENDS
def test_what_is_prepared_once_serves_both_dtypes_and_any_rows(id: str) -> None:
    chosen = qcore.create("backend", id)
    b = filled((1300, 11), "uint8", "greatest")
    once = chosen.prepare(b)
    assert (once.backend, once.shape, once.dtype) == (id, (1300, 11), np.dtype(np.uint8))
    for left, rows in itertools.product(LARGEST, [0, 1, 3, 4, 50]):
        a = filled((rows, 1300), left, "greatest")
        assert_exact(chosen.gemm(a, once), a, b)


def test_what_is_prepared_does_not_follow_the_matrix_that_it_was_made_of() -> None:
    b = filled((20, 3), "int8", "random")
    kept, a = b.copy(), filled((5, 20), "int8", "random", 1)
    once = Int8Blas().prepare(b)
    b[...] = 0
    assert_exact(Int8Blas().gemm(a, once), a, kept)


# --- where float32 and int32 end ------------------------------------------------------------------


def ends(left: str, right: str) -> list[tuple[Integers, Integers]]:
    """Operands with the largest sums, and ones a unit beside them that float32 does not hold."""
    exact_depth = 2**24 // (LARGEST[left] * LARGEST[right])
    found = []
    for depth in sorted({*(n * exact_depth + k for n in (1, 2) for k in (-1, 0, 1)), 1040, 1041}):
        for fill_a, fill_b in itertools.product(("least", "greatest", "alternating"), repeat=2):
            a, b = filled((5, depth), left, fill_a), filled((depth, 3), right, fill_b)
            found.append((a, b))
            a, b = a.copy(), b.copy()
            a[1:, -1] = b[-1] = 1  # an odd sum
            found.append((a, b))
    return found


@BACKENDS
@PAIR
def test_sums_are_exact_where_float32_ends(id: str, left: str, right: str) -> None:
    for a, b in ends(left, right):
        expected = exact(a, b)
        for prepared in (False, True):
            assert_exact(product(id, a, b, prepared=prepared), a, b, expected)
            assert_exact(product(id, a[1], b, prepared=prepared), a[1], b, expected[1])


@PAIR
def test_float32_alone_would_get_some_of_those_wrong(left: str, right: str) -> None:
    wrong = [
        (a.astype(np.float32) @ b.astype(np.float32) != exact(a, b)).any()
        for a, b in ends(left, right)
    ]
    assert any(wrong)


@BACKENDS
@PAIR
@pytest.mark.parametrize("beyond", [False, True], ids=["longest for int32", "one longer"])
def test_sums_are_int32_as_long_as_none_can_overflow_it_and_int64_beyond(
    id: str, left: str, right: str, beyond: bool
) -> None:
    depth = LONGEST_INT32[left, right] + beyond
    for fill in ("least", "greatest") if left == right else ("greatest",):
        a, b = filled((2, depth), left, fill), filled((depth, 3), right, fill)
        for prepared in (False, True):
            found = product(id, a, b, prepared=prepared)
            assert_exact(found, a, b)
            assert found.dtype == (np.int64 if beyond else np.int32)
    few = product(id, np.zeros((1, depth), left), np.zeros((depth, 1), right))
    assert few.dtype == (np.int64 if beyond else np.int32)  # whatever is in them


@BACKENDS
@pytest.mark.parametrize("depth", [2**17 - 1, 2**17, 2**17 + 1])
def test_the_least_int8_at_2_to_the_17_is_2_to_the_31_and_does_not_wrap(
    id: str, depth: int
) -> None:
    a, b = np.full((1, depth), -128, np.int8), np.full((depth, 2), -128, np.int8)
    for prepared in (False, True):
        found = product(id, a, b, prepared=prepared)
        assert found.tolist() == [[depth << 14] * 2]
        assert found.dtype == (np.int32 if depth < 2**17 else np.int64)


# --- spans: K in pieces that float32 holds --------------------------------------------------------


def assert_covers(spans: Sequence[slice], length: int) -> None:
    """Every index once, in order, and no span empty."""
    indices = np.arange(length)
    found = [indices[span] for span in spans]
    assert all(part.size for part in found)
    np.testing.assert_array_equal(np.concatenate([indices[:0], *found]), indices)


@settings(deadline=None)
@given(st.integers(0, 5000), st.sampled_from([1, 16384, 32640, 65025, 2**23, 2**24]))
def test_spans_of_a_bound_cover_k_and_hold_the_largest_products(depth: int, bound: int) -> None:
    spans = spans_of_bound(depth, bound)
    assert_covers(spans, depth)
    assert all((span.stop - span.start) * bound <= 2**24 for span in spans)
    assert all((span.stop - span.start + 1) * bound > 2**24 for span in spans[:-1])  # no shorter


@settings(deadline=None, max_examples=50)
@given(
    st.integers(0, 3000),
    st.sampled_from([0, 1, 2, 5]),
    st.sampled_from(["int8", "uint8"]),
    st.sampled_from(FILLS),
    st.sampled_from([128, 255]),
    st.integers(0, 2**32),
)
def test_spans_of_a_matrix_cover_k_and_hold_its_own_sums(
    depth: int, columns: int, dtype: str, fill: str, largest: int, seed: int
) -> None:
    b = filled((depth, columns), dtype, fill, seed)
    spans = spans_of_matrix(b.astype(np.float32), largest)
    assert_covers(spans, depth)
    sizes = np.abs(b.astype(np.int64))
    for span in spans:
        assert largest * int(sizes[span].sum(axis=0).max(initial=0)) <= 2**24
    for span, following in itertools.pairwise(spans):  # another step would not have been held
        longer = slice(span.start, min(following.start + 64, depth))
        assert largest * int(sizes[longer].sum(axis=0).max(initial=0)) > 2**24


def test_the_fullest_column_decides() -> None:
    b = np.zeros((4096, 3), np.float32)
    b[:, 1] = 127
    assert len(spans_of_matrix(b, 128)) == 4
    assert len(spans_of_matrix(b[:, [0, 2]], 128)) == 1
    b[:, 1] = [1, -1] * 2048  # magnitudes count, not what cancels
    assert len(spans_of_matrix(b * 127, 128)) == 4


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 2500),
    st.sampled_from(PAIRS),
    st.sampled_from(FILLS),
    st.sampled_from(FILLS),
    st.integers(0, 2**32),
)
def test_no_order_of_summation_leaves_what_float32_holds(
    depth: int, pair: tuple[str, str], fill_a: str, fill_b: str, seed: int
) -> None:
    """Within a span all of the positive products, and all of the negative ones, are exact."""
    a = filled((4, depth), pair[0], fill_a, seed)
    b = filled((depth, 3), pair[1], fill_b, seed)
    factor = Factor.of(b)
    np.testing.assert_array_equal(factor.matrix, b)
    bound = LARGEST[pair[0]] * LARGEST[pair[1]]
    for spans in (factor.spans[a.dtype], spans_of_bound(depth, bound)):
        for span in spans:
            sizes = np.abs(a[:, span].astype(np.int64)) @ np.abs(b[span].astype(np.int64))
            assert sizes.max() <= 2**24


@PAIR
def test_spans_two_elements_longer_would_lose_a_sum(left: str, right: str) -> None:
    length = spans_of_bound(10_000, LARGEST[left] * LARGEST[right])[0].stop
    a = np.full((5, length + 2), {"int8": -128, "uint8": 255}[left], left)
    b = np.full((length + 2, 1), {"int8": -128, "uint8": 255}[right], right)
    a[:, -1] = 1
    b[-1] = 1 + exact(a[0, :-1], b[:-1]) % 2  # the sum is odd and beyond 2^24
    factor = Factor.of(b)
    for spans in (
        spans_of_bound(length + 2, LARGEST[left] * LARGEST[right]),
        factor.spans[a.dtype],
    ):
        np.testing.assert_array_equal(exact_sum(a, factor.matrix, spans), exact(a, b))
    assert (exact_sum(a, factor.matrix, [slice(0, length + 2)]) != exact(a, b)).all()


@settings(deadline=None, max_examples=40)
@given(
    st.sets(st.integers(1, 59)),
    st.integers(0, 9),
    st.integers(0, 9),
    st.integers(0, 2**32),
)
def test_wherever_k_is_cut_the_sum_is_the_same(
    cuts: set[int], rows: int, columns: int, seed: int
) -> None:
    a = filled((rows, 60), "int8", "random", seed)
    b = filled((60, columns), "uint8", "random", seed)
    spans = [slice(*pair) for pair in itertools.pairwise([0, *sorted(cuts), 60])]
    found = exact_sum(a, b.astype(np.float32), spans)
    np.testing.assert_array_equal(found, exact(a, b))


# --- pieces: tiles for BLAS, strips for the cache -------------------------------------------------


def cut_in_tiles(rows: int, width: int) -> list[slice]:
    return list(pieces.tiles(rows, width))


def cut_in_strips(rows: int, width: int) -> list[slice]:
    return list(pieces.strips(rows, width))


@pytest.mark.parametrize(("cut", "elements"), [(cut_in_tiles, 1 << 22), (cut_in_strips, 1 << 15)])
@settings(deadline=None, max_examples=40)
@given(
    st.one_of(
        st.tuples(st.integers(0, 10**6), st.integers(0, 100)),
        st.tuples(st.integers(0, 2000), st.integers(0, 10**7)),
    )
)
def test_pieces_cover_the_rows_and_stay_small(
    cut: Callable[[int, int], list[slice]], elements: int, extents: tuple[int, int]
) -> None:
    rows, width = extents
    found = cut(rows, width)
    assert_covers(found, rows)
    largest = max((piece.stop - piece.start for piece in found), default=0)
    assert largest * width <= max(elements, width)


@settings(deadline=None, max_examples=40)
@given(operands(), st.booleans(), st.integers(1, 40), st.integers(1, 20), st.integers(1, 4000))
def test_the_size_of_the_pieces_changes_nothing(
    ab: tuple[Integers, Integers], prepared: bool, tile: int, strip: int, cast: int
) -> None:
    a, b = ab
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "_TILE_ELEMENTS", tile)
        patch.setattr(pieces, "_STRIP_ELEMENTS", strip)
        patch.setattr(backend, "_CAST_ELEMENTS", cast)
        assert_exact(product("int8-blas", a, b, prepared=prepared), a, b)


@pytest.mark.parametrize(
    ("rows", "depth", "columns"),
    [(5000, 2, 1000), (3, 2, 40_000), (2, 3000, 1500), (1, 1, 5_000_000)],
    ids=["two tiles", "a strip a row", "cast in two", "a tile a row"],
)
def test_large_products_are_exact_too(rows: int, depth: int, columns: int) -> None:
    a = filled((rows, depth), "int8", "random")
    b = filled((depth, columns), "int8", "random", 1)
    expected = exact(a, b)
    for prepared in (False, True):
        assert_exact(product("int8-blas", a, b, prepared=prepared), a, b, expected)


def scratch(call: Callable[[], Any]) -> int:
    """The most memory that a call took besides its result, starting without buffers."""
    with ThreadPoolExecutor(1) as fresh:  # buffers belong to a thread
        tracemalloc.start()
        try:
            size: int = fresh.submit(lambda: call().nbytes).result()
            return tracemalloc.get_traced_memory()[1] - size
        finally:
            tracemalloc.stop()


def scratch_of_product(rows: int, depth: int, columns: int, prepared: bool) -> int:
    a, b = np.ones((rows, depth), np.int8), np.ones((depth, columns), np.int8)
    right = Int8Blas().prepare(b) if prepared else b
    return scratch(lambda: Int8Blas().gemm(a, right))


def scratch_of_layer(rows: int, depth: int, columns: int, digits: int) -> int:
    def side(count: int) -> qcore.AffineRows:
        made = (np.ones((count, depth), np.int8),) * digits
        return qcore.AffineRows(made, np.ones((1, 1)), None, depth)

    x, weights = side(rows), Int8Blas().prepare_weights(side(columns))
    return scratch(lambda: Int8Blas().linear(x, weights, qcore.Epilogue()))


@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize(
    ("depth", "columns", "rows"),
    [(8, 1024, 4096), (64, 1024, 4096), (1024, 1, 4096), (2000, 8, 4096), (64, 16, 65_536)],
)
def test_memory_does_not_grow_with_the_rows(
    depth: int, columns: int, rows: int, prepared: bool
) -> None:
    few, many = (scratch_of_product(some, depth, columns, prepared) for some in (rows, 4 * rows))
    assert few > 1 << 22  # it was seen
    assert many <= few + (1 << 16)


@pytest.mark.parametrize("digits", [1, 2])
@pytest.mark.parametrize(
    ("depth", "columns", "rows"), [(8, 1024, 4096), (1024, 1, 4096), (64, 16, 65_536)]
)
def test_memory_of_a_layer_does_not_grow_with_the_rows(
    depth: int, columns: int, rows: int, digits: int
) -> None:
    few, many = (scratch_of_layer(some, depth, columns, digits) for some in (rows, 4 * rows))
    assert few > 1 << 22
    assert many <= few + (1 << 16)


def test_buffers_grow_once_and_are_used_again() -> None:
    with ThreadPoolExecutor(1) as fresh:

        def twice() -> tuple[bool, bool, int]:
            small = BUFFERS.array("of a test", (2, 3), np.float32)
            large = BUFFERS.array("of a test", (5, 4), np.float32)
            again = BUFFERS.array("of a test", (4, 5), np.float32)
            return np.shares_memory(small, large), np.shares_memory(large, again), again.size

        assert fresh.submit(twice).result() == (False, True, 20)


# --- worked examples ------------------------------------------------------------------------------


@BACKENDS
def test_a_product_worked_by_hand(id: str) -> None:
    a = np.array([[1, -2, 3], [127, -128, 0]], np.int8)
    b = np.array([[255, 0], [1, 2], [0, 200]], np.uint8)
    found = product(id, a, b)
    assert found.tolist() == [[253, 596], [32257, -256]]
    assert found.dtype == np.int32


@BACKENDS
def test_a_vector_times_a_matrix_is_a_vector(id: str) -> None:
    found = product(id, np.array([1, 2], np.uint8), np.array([[1, 2, 3], [4, 5, 6]], np.int8))
    assert found.tolist() == [9, 12, 15]


@BACKENDS
@pytest.mark.parametrize(
    ("a", "b", "shape"),
    [
        ((0, 3), (3, 2), (0, 2)),
        ((2, 0), (0, 3), (2, 3)),
        ((2, 3), (3, 0), (2, 0)),
        ((0,), (0, 0), (0,)),
        ((0,), (0, 4), (4,)),
        ((2, 0, 3), (3, 4), (2, 0, 4)),
        ((0, 2, 0), (0, 4), (0, 2, 4)),
        ((3, 1, 2, 0), (0, 5), (3, 1, 2, 5)),
    ],
)
def test_empty_products_have_the_shape_that_matmul_gives_them(
    id: str, a: tuple[int, ...], b: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    for prepared in (False, True):
        found = product(id, np.ones(a, np.int8), np.ones(b, np.int8), prepared=prepared)
        assert found.shape == shape == np.matmul(np.ones(a), np.ones(b)).shape
        assert found.dtype == np.int32
        assert not found.any()


def test_int8_blas_can_run_anywhere() -> None:
    assert Int8Blas().available() is None
    assert str(Int8Blas()) == "int8-blas"


# --- what is refused ------------------------------------------------------------------------------


@BACKENDS
@pytest.mark.parametrize("dtype", ["float32", "int16", "bool", "int64", "float16"])
def test_other_dtypes_are_refused(id: str, dtype: str) -> None:
    good, bad = np.ones((2, 2), np.int8), np.ones((2, 2), dtype)
    with pytest.raises(qcore.DtypeError) as caught:
        product(id, bad, good.view(np.uint8))
    assert str(caught.value) == f"a is {dtype}, b uint8; integer products take int8 and uint8"
    for prepared in (False, True):
        with pytest.raises(qcore.DtypeError) as caught:
            product(id, good, bad, prepared=prepared)
        assert str(caught.value) == f"b is {dtype}; integer products take int8 and uint8"


@BACKENDS
@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize("a", [(2, 3), (3,), (4, 1), (), (2, 4, 5), (4, 0)])
def test_shapes_that_do_not_fit_are_refused(id: str, a: tuple[int, ...], prepared: bool) -> None:
    with pytest.raises(qcore.ShapeError) as caught:
        product(id, np.ones(a, np.int8), np.ones((4, 2), np.int8), prepared=prepared)
    expected = f"a has shape {a} and b (4, 2); (…, K) @ (K, N) needs one K"
    assert str(caught.value) == expected


@BACKENDS
@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize("b", [(4,), (1, 4, 2), ()])
def test_a_right_operand_is_a_matrix(id: str, b: tuple[int, ...], prepared: bool) -> None:
    with pytest.raises(qcore.ShapeError) as caught:
        product(id, np.ones((2, 4), np.int8), np.ones(b, np.int8), prepared=prepared)
    assert str(caught.value) == f"b has shape {b}; a matrix has two axes, (K, N)"


@pytest.mark.parametrize(
    ("own", "other"), list(itertools.permutations(["int8-blas", "reference", "numpy"], 2))
)
def test_what_another_backend_prepared_is_refused(own: str, other: str) -> None:
    b = qcore.create("backend", other).prepare(np.ones((2, 2), np.int8))
    with pytest.raises(qcore.UsageError) as caught:
        qcore.create("backend", own).gemm(np.ones((2, 2), np.int8), b)
    expected = f"b was prepared by '{other}', not by '{own}'; prepare it there"
    assert str(caught.value) == expected

"""Integer products on the device are exact, however long and whatever the dtypes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from against_reference import integers
from cuda_on_cpu import Cpu, OnDevice
from qcore import Backend
from qcore_cupy import depth

PAIRS = pytest.mark.parametrize(
    ("left", "right"), list(itertools.product([np.int8, np.uint8], repeat=2))
)


@PAIRS
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (5, 16, 16), (3, 17, 9), (70, 33, 129), (16, 64, 48), (1, 200, 300)]
)
def test_products_are_exact(
    backend: Backend, left: Any, right: Any, shape: tuple[int, int, int]
) -> None:
    m, k, n = shape
    rng = np.random.default_rng(m)
    a, b = integers(rng, left, (m, k)), integers(rng, right, (k, n))
    expected = a.astype(np.int64) @ b.astype(np.int64)
    for given_a, given_b in [(a, b), (np.asfortranarray(a), b.T.copy().T), (a, backend.prepare(b))]:
        found = backend.gemm(given_a, given_b)
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, expected)
    on = backend.gemm(a.view(OnDevice), b.view(OnDevice))
    np.testing.assert_array_equal(on, expected)


@PAIRS
@pytest.mark.parametrize("k", [33_025, 33_026, 65_794, 131_056, 131_057, 131_072, 300_001])
def test_sums_longer_than_int32_holds_are_cut_and_come_out_as_int64(
    backend: Backend, left: Any, right: Any, k: int
) -> None:
    """Every element at its largest."""
    a = np.full((2, k), -128 if left is np.int8 else 255, left)
    b = np.full((k, 3), -128 if right is np.int8 else 255, right)
    b[:, 1] = 127
    expected = a.astype(np.int64) @ b.astype(np.int64)
    for factor in (b, backend.prepare(b)):
        found = backend.gemm(a, factor)
        wide = k * (128 if left is np.int8 else 255) * (128 if right is np.int8 else 255) >= 2**31
        assert found.dtype == (np.int64 if wide else np.int32)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shape", [(0, 4, 3), (3, 0, 4), (3, 4, 0)])
@PAIRS
def test_empty_products_are_zeros(
    backend: Backend, left: Any, right: Any, shape: tuple[int, int, int]
) -> None:
    m, k, n = shape
    a, b = np.ones((m, k), left), np.ones((k, n), right)
    for factor in (b, backend.prepare(b)):
        np.testing.assert_array_equal(backend.gemm(a, factor), np.zeros((m, n)))


def test_leading_axes_are_kept(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    a, b = integers(rng, np.uint8, (2, 3, 5, 20)), integers(rng, np.int8, (20, 7))
    expected = a.astype(np.int64) @ b.astype(np.int64)
    np.testing.assert_array_equal(backend.gemm(a, b), expected)
    np.testing.assert_array_equal(backend.gemm(a[0, 0, 0], b), expected[0, 0, 0])


@given(
    lengths=st.lists(st.integers(1, 300_000), min_size=1, max_size=6),
)
def test_k_is_cut_in_pieces_that_int32_holds_and_matrix_units_take(lengths: list[int]) -> None:
    ends = list(itertools.accumulate(lengths, initial=0))
    spans = [slice(a, b) for a, b in itertools.pairwise(ends)]
    pieces = depth.pieces_of(spans)
    assert [piece.start for piece in pieces] == [0, *(piece.stop for piece in pieces[:-1])]
    assert pieces[-1].stop == ends[-1]
    for piece in pieces:
        assert spans[piece.span].start <= piece.start < piece.stop <= spans[piece.span].stop
        assert piece.size - 16 < piece.stop - piece.start <= piece.size
        assert piece.size % 16 == piece.at % 16 == 0
        assert piece.size * 128 * 128 < 2**31
    room = [0, *itertools.accumulate(piece.size for piece in pieces)]
    assert [piece.at for piece in pieces] == room[:-1]
    assert (depth.LONGEST + 16) * 128 * 128 >= 2**31


def test_a_matrix_that_is_laid_out_already_is_not_copied(cpu: Cpu) -> None:
    matrix = np.ones((32, 64), np.int8)
    for spans in ([slice(0, 64)], [slice(0, 16), slice(16, 64)]):
        assert np.shares_memory(depth.Factor.of(cpu, matrix, spans).matrix, matrix)
    for other in (matrix.astype(np.uint8), matrix[:, ::2], matrix[:, 3:], matrix.T.copy().T):
        spans = [slice(0, other.shape[1])]
        assert not np.shares_memory(depth.Factor.of(cpu, other, spans).matrix, other)
    cut = depth.Factor.of(cpu, matrix, [slice(0, 8), slice(8, 64)])
    assert cut.matrix.shape == (32, 80)

"""Chunks cover a tensor exactly once, agree with brute force, and do not depend on its layout."""

from __future__ import annotations

import itertools
import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import qcore
from qcore.blocking import Chunk, Layout, float_tensor, is_float
from qcore.errors import DtypeError, ShapeError

FLOAT32 = np.dtype(np.float32)
CHUNK_SIZES = (1, 2, 3, 5, 8, 17, 64, 300, 1 << 17)

Shape = tuple[int, ...]


def granularities(shape: Shape) -> list[str]:
    """Every kind, with sizes that divide an axis, that do not, and that are longer than it."""
    specs = ["tensor", "token"]
    for axis, extent in enumerate(shape):
        specs += [f"channel:{axis}", f"channel:{axis - len(shape)}", f"channel:{axis}:groups=1"]
        specs += [f"channel:{axis}:groups={extent}"] * (extent > 0)
        specs += [f"channel:{axis}:groups=2"] * (extent > 0 and extent % 2 == 0)
        specs += [f"group:{size}:{axis}:tail=short" for size in (1, 2, 3, 20)]
    if len(shape) > 1:
        specs += ["block:1:1", "block:2:3:tail=short", "block:20:2:tail=short"]
    return specs


def layout_of(spec: str, shape: Shape) -> Layout:
    return Layout.of(qcore.create("granularity", spec), shape)


def layouts(shape: Shape) -> list[Layout]:
    """Those of all granularities, each once."""
    return list(dict.fromkeys(layout_of(spec, shape) for spec in granularities(shape)))


def numbered(shape: Shape) -> NDArray[np.float32]:
    """A tensor whose elements are their C-order positions."""
    return np.arange(math.prod(shape), dtype=np.float32).reshape(shape)


def brute_force_rows(layout: Layout) -> NDArray[np.intp]:
    """For each element, the C-order index of its block."""
    rows = np.empty(layout.shape, np.intp)
    for index in itertools.product(*map(range, layout.shape)):
        place = [i // t for i, t in zip(index, layout.tile, strict=True)]
        row = 0
        for at, extent in zip(place, layout.grid, strict=True):
            row = row * extent + at
        rows[index] = row
    return rows


def check_chunks(layout: Layout, elements: int, *, whole: bool) -> None:
    tensor, expected_rows = numbered(layout.shape), brute_force_rows(layout)
    flat_rows = expected_rows.ravel()
    block_sizes = np.bincount(flat_rows, minlength=layout.n_blocks)
    _, first_of = np.unique(flat_rows, return_index=True)
    longest = int(block_sizes.max(initial=0))
    restored = np.full(layout.shape, -1, np.float32)
    seen: list[NDArray[Any]] = []
    firsts = np.zeros(layout.n_blocks, int)
    block_sets: dict[Any, set[int]] = {}
    for chunk in layout.chunks(elements, whole=whole):
        blocks = chunk.blocks(tensor, FLOAT32)
        assert blocks.shape == (chunk.n_blocks, chunk.block_len)
        assert 0 < blocks.size <= max(elements, longest if whole else 1)
        assert not blocks.flags.writeable
        assert blocks.flags.c_contiguous or blocks.flags.f_contiguous

        positions = chunk.positions(layout.shape)
        assert np.array_equal(positions, blocks)
        assert (np.diff(positions.astype(np.int64), axis=1) > 0).all()  # C order within a block

        rows = np.arange(layout.n_blocks)[layout.rows(chunk)]
        at = positions.astype(np.intp)
        assert (flat_rows[at] == rows[:, None]).all()

        complete = (block_sizes[rows] == chunk.block_len).all()
        assert chunk.whole == complete
        assert chunk.whole or not whole
        holds_first = at[:, 0] == first_of[rows]
        assert holds_first.all() == holds_first.any() == chunk.is_first_piece
        firsts[rows] += chunk.is_first_piece
        # What observing relies on: two chunks share all of their blocks, or none.
        key = chunk.first_block, tuple(count for count, _ in chunk.counts)
        assert block_sets.setdefault(key, set(rows.tolist())) == set(rows.tolist())

        chunk.scatter(blocks, restored)
        seen.append(at.ravel())
    covered = np.concatenate(seen) if seen else np.empty(0, int)
    np.testing.assert_array_equal(np.sort(covered), np.arange(tensor.size))
    np.testing.assert_array_equal(restored, tensor)
    assert (firsts == (1 if tensor.size else 0)).all()
    members = [row for rows in block_sets.values() for row in rows]
    assert len(members) == len(set(members))


@settings(deadline=None, max_examples=40)
@given(st.data(), st.lists(st.integers(0, 9), min_size=1, max_size=4).map(tuple))
def test_chunks_cover_every_element_once_in_its_own_row(data: st.DataObject, shape: Shape) -> None:
    layout = layout_of(data.draw(st.sampled_from(granularities(shape))), shape)
    elements = data.draw(st.sampled_from(CHUNK_SIZES))
    check_chunks(layout, elements, whole=data.draw(st.booleans()))


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("shape", [(12,), (5, 12), (3, 4, 6), (2, 3, 4, 5), (1, 1), (7, 1, 3)])
def test_every_granularity_covers_every_shape_at_every_chunk_size(
    shape: Shape, whole: bool
) -> None:
    for layout, elements in itertools.product(layouts(shape), (1, 3, 7, 64)):
        check_chunks(layout, elements, whole=whole)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(
    ("shape", "spec", "elements"),
    [
        ((10_007,), "tensor", 1000),
        ((10_007,), "group:32:tail=short", 1000),
        ((70, 300), "channel:1", 4096),
        ((70, 300), "channel:0", 100),
        ((300, 70), "group:7:0:tail=short", 512),
        ((130, 130), "block:128:128:tail=short", 5000),
        ((30, 40, 10), "channel:1:groups=8", 777),
    ],
)
def test_large_tensors_are_covered_too(shape: Shape, spec: str, elements: int, whole: bool) -> None:
    check_chunks(layout_of(spec, shape), elements, whole=whole)


@pytest.mark.parametrize(
    ("spec", "shape", "grid"),
    [
        ("tensor", (6, 10), (1, 1)),
        ("tensor", (2, 3, 4), (1, 1, 1)),
        ("channel:0", (6, 10), (6, 1)),
        ("channel:-1", (6, 10), (1, 10)),
        ("channel:1", (2, 3, 4), (1, 3, 1)),
        ("channel:0:groups=3", (6, 10), (3, 1)),
        ("group:5", (6, 10), (6, 2)),
        ("group:4:tail=short", (6, 10), (6, 3)),
        ("group:4:0:tail=short", (6, 10), (2, 10)),
        ("group:99:tail=short", (6, 10), (6, 1)),
        ("block:2:5", (6, 10), (3, 2)),
        ("block:4:4:tail=short", (6, 10), (2, 3)),
        ("block:3:5", (4, 6, 10), (4, 2, 2)),
        ("token", (2, 3, 4), (2, 3, 1)),
        ("token", (5,), (1,)),
        ("tensor", (), (1,)),
        ("tensor", (0, 3), (0, 1)),
        ("channel:0", (0, 3), (0, 1)),
        ("channel:1", (0, 3), (0, 3)),
    ],
)
def test_the_grid_has_one_entry_a_block_along_each_axis(
    spec: str, shape: Shape, grid: Shape
) -> None:
    layout = layout_of(spec, shape)
    assert layout.grid == grid
    assert layout.n_blocks == math.prod(grid)


@pytest.mark.parametrize("shape", [(0,), (0, 4), (4, 0), (2, 0, 3)])
@pytest.mark.parametrize("whole", [False, True])
def test_an_empty_tensor_has_no_chunks(shape: Shape, whole: bool) -> None:
    for spec in granularities(shape):
        assert layout_of(spec, shape).chunks(8, whole=whole) == []


@pytest.mark.parametrize("spec", ["tensor", "token", "channel:0", "group:8:tail=short", "group:1"])
def test_a_0_d_tensor_is_taken_as_one_element(spec: str) -> None:
    layout = layout_of(spec, ())
    assert (layout.shape, layout.tile, layout.n_blocks) == ((1,), (1,), 1)
    (chunk,) = layout.chunks(8, whole=True)
    assert chunk.blocks(np.float32([7]), FLOAT32).tolist() == [[7]]


def ways_to_store(x: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """The same elements in other memory."""
    everywhere = (slice(None, None, -1),) * x.ndim
    doubled = np.full(tuple(2 * n for n in x.shape), np.nan, np.float32)
    strided = doubled[(slice(None, None, 2),) * x.ndim]
    strided[...] = x
    read_only = x.copy()
    read_only.flags.writeable = False
    unaligned = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape)
    return {
        "Fortran": np.asfortranarray(x),
        "strided": strided,
        "negative strides": x[everywhere].copy()[everywhere],
        "transposed twice": x.T.copy().T,
        "big-endian": x.astype(">f4"),
        "big-endian Fortran": np.asfortranarray(x.astype(">f4")),
        "float64": x.astype(np.float64),
        "read-only": read_only,
        "unaligned": unaligned,
    }


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("shape", [(12,), (6, 8), (300, 4), (4, 300), (3, 4, 6), (2, 2, 3, 4)])
def test_blocks_do_not_depend_on_how_the_tensor_lies_in_memory(shape: Shape, whole: bool) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    stored = ways_to_store(x)
    for layout, elements in itertools.product(layouts(shape), (17, 700)):
        for chunk in layout.chunks(elements, whole=whole):
            expected = chunk.blocks(x, FLOAT32)
            for name, tensor in stored.items():
                blocks = chunk.blocks(tensor, FLOAT32)
                assert blocks.dtype == np.float32, name
                assert blocks.dtype.isnative, name
                assert blocks.tobytes() == expected.tobytes(), name
                for flag in ("c_contiguous", "f_contiguous"):
                    same = getattr(blocks.flags, flag) == getattr(expected.flags, flag)
                    assert same, (name, flag)
                assert not blocks.flags.writeable, name


@pytest.mark.parametrize(
    ("spec", "elements"),
    [
        ("tensor", 1 << 17),
        ("tensor", 700),
        ("channel:0", 3000),
        ("token", 1 << 17),
        ("group:512", 900),
    ],
)
def test_blocks_of_a_compact_tensor_are_views_and_the_tensor_stays_writable(
    spec: str, elements: int
) -> None:
    x = np.zeros((8, 1024), np.float32)
    for chunk in layout_of(spec, x.shape).chunks(elements, whole=False):
        blocks = chunk.blocks(x, FLOAT32)
        assert np.shares_memory(blocks, x)
        with pytest.raises(ValueError, match="read-only"):
            blocks[0, 0] = 1
    assert x.flags.writeable
    x[...] = 1


def test_views_are_made_without_a_copy_for_any_layout() -> None:
    x = np.asfortranarray(np.zeros((8, 12), np.float32))[:, ::-1]
    for chunk in layout_of("block:2:3", x.shape).chunks(20, whole=True):
        assert np.shares_memory(chunk.view(x), x)


@pytest.mark.parametrize(
    ("spec", "shape", "expected"),
    [
        ("group:32", (64, 1024), True),
        ("channel:1", (64, 1024), True),
        ("block:4:4", (256, 256), True),
        ("tensor", (64, 1024), False),
        ("channel:0", (64, 1024), False),
        ("group:512", (64, 1024), False),
    ],
)
def test_short_and_interleaved_blocks_are_handed_over_side_by_side(
    spec: str, shape: Shape, expected: bool
) -> None:
    for chunk in layout_of(spec, shape).chunks(1 << 17, whole=True):
        blocks = chunk.blocks(np.zeros(shape, np.float32), FLOAT32)
        assert chunk.side_by_side == expected
        assert blocks.flags.f_contiguous == (expected or len(blocks) == 1)
        assert blocks.flags.c_contiguous != expected


@settings(deadline=None, max_examples=40)
@given(st.data(), st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple))
def test_what_is_scattered_is_what_lies_there(data: st.DataObject, shape: Shape) -> None:
    """Each chunk writes its own elements, in any memory order of both sides, and no others."""
    layout = layout_of(data.draw(st.sampled_from(granularities(shape))), shape)
    x = numbered(shape)
    out = np.full(shape, -1, np.float32, order=data.draw(st.sampled_from("CF")))
    order = data.draw(st.sampled_from("CF"))
    expected = np.full(x.size, -1, np.float32)
    for chunk in layout.chunks(
        data.draw(st.sampled_from(CHUNK_SIZES)), whole=data.draw(st.booleans())
    ):
        chunk.scatter(np.array(chunk.blocks(x, FLOAT32), order=order), out)
        at = chunk.positions(shape).astype(int)
        expected[at] = at
        assert np.array_equal(out.ravel(), expected)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("elements", [2, 17, 1 << 17])
def test_chunks_are_canonical(elements: int, whole: bool) -> None:
    for spec in granularities((9, 6, 4)):
        first, again = (layout_of(spec, (9, 6, 4)).chunks(elements, whole=whole) for _ in range(2))
        assert first == again


def test_a_tile_that_does_not_fit_is_refused() -> None:
    class Wrong(qcore.Granularity):
        id = "wrong"

        def __init__(self, tile: Shape) -> None:
            self._tile = tile

        def tile(self, shape: Shape) -> Shape:
            return self._tile

        def __str__(self) -> str:
            return "wrong"

    for tile in [(2,), (2, 5), (-1, 4), (2, 2, 2)]:
        with pytest.raises(ShapeError) as caught:
            Layout.of(Wrong(tile), (2, 4))
        assert str(caught.value) == f"'wrong' gave tile {tile} for shape (2, 4)"
    assert isinstance(Layout.of(Wrong((2, 4)), (2, 4)).chunks(1, whole=True)[0], Chunk)


@pytest.mark.parametrize(
    "dtype", ["f2", "f4", "f8", ">f4", ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn]
)
def test_floating_tensors_of_any_width_are_taken(dtype: Any) -> None:
    assert is_float(np.dtype(dtype))
    assert float_tensor(np.ones(3, dtype)).dtype == dtype


@pytest.mark.parametrize(
    ("tensor", "way_out"),
    [
        (np.zeros(3, np.int32), True),
        (np.zeros(3, np.uint8), True),
        (np.zeros(3, np.bool_), True),
        (np.zeros(3, np.complex64), False),
        (np.array(["a"]), False),
        (np.zeros(2, [("float", "f4")]), False),
    ],
)
def test_other_tensors_are_refused_and_integers_are_told_the_way(
    tensor: Any, way_out: bool
) -> None:
    with pytest.raises(DtypeError) as caught:
        float_tensor(tensor, "w")
    text = f"'w' holds {tensor.dtype}; qcore quantizes floating tensors"
    way = "; pass integers=True (--integers) to take them as numbers" if way_out else ""
    assert str(caught.value) == text + way
    if way_out:
        assert float_tensor(tensor, "w", integers=True) is tensor
    else:
        with pytest.raises(DtypeError):
            float_tensor(tensor, "w", integers=True)

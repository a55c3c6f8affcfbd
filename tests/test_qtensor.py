"""Quantized tensors pack, count and decode, short tails included."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

import qcore
from qcore.blocking import Layout

Shape = tuple[int, ...]

TAILS = [
    ("group:4:tail=short", (3, 10), 9),
    ("group:4:0:tail=short", (10, 3), 9),
    ("group:7:tail=short", (5, 8), 10),
    ("group:100:tail=short", (3, 10), 3),
    ("group:3:1:tail=short", (2, 7, 3), 18),
    ("block:2:4:tail=short", (5, 10), 9),
    ("block:4:4:tail=short", (3, 9), 3),
    ("block:2:2:tail=short", (2, 3, 5), 12),
    ("group:32:tail=short", (2, 1000), 64),
]
SCHEMES = [
    ("symmetric", 4),
    ("asymmetric", 3),
    ("uniform", 5),
    ("pot", 4),
    ("apot", 7),
    ("symmetric", 11),
]


def normal(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def block_of(x: NDArray[Any], layout: Layout, place: Shape) -> tuple[slice, ...]:
    return tuple(slice(g * t, (g + 1) * t) for g, t in zip(place, layout.tile, strict=True))


@pytest.mark.parametrize(("scheme", "bits"), SCHEMES)
@pytest.mark.parametrize(("granularity", "shape", "blocks"), TAILS)
def test_a_short_tail_has_a_scale_of_its_own_and_decodes_by_it(
    scheme: str, bits: int, granularity: str, shape: Shape, blocks: int
) -> None:
    x = normal(*shape)
    q = qcore.quantize(x, scheme=scheme, bits=bits, granularity=granularity)
    assert q.layout.n_blocks == q.scale.size == blocks
    values = q.dequantize()
    assert values.dtype == np.float32
    assert values.shape == shape
    for row, place in enumerate(np.ndindex(q.scale.shape)):
        box = block_of(x, q.layout, place)
        alone = qcore.quantize(x[box], scheme=scheme, bits=bits)
        assert q.scale[place] == alone.scale.item()
        assert q.params.scale[row] == q.scale[place]
        np.testing.assert_array_equal(q.codes[box], alone.codes)
        np.testing.assert_array_equal(values[box], alone.dequantize())


@pytest.mark.parametrize(("scheme", "bits"), SCHEMES)
@pytest.mark.parametrize(("granularity", "shape", "blocks"), TAILS)
def test_packing_takes_no_more_than_the_codes_and_gives_them_back(
    scheme: str, bits: int, granularity: str, shape: Shape, blocks: int
) -> None:
    """Tails are not filled up."""
    q = qcore.quantize(normal(*shape), scheme=scheme, bits=bits, granularity=granularity)
    count = math.prod(shape)
    packed = q.pack()
    assert packed.dtype == np.uint8
    assert packed.size == math.ceil(count * bits / 8)
    signed = q.codes.dtype.kind == "i"
    back = qcore.unpack(packed, bits, shape, signed=signed)
    assert back.dtype == q.codes.dtype
    np.testing.assert_array_equal(back, q.codes)
    beside = {"asymmetric": bits, "uniform": 32}.get(scheme, 0)
    assert q.stored_bits == count * bits + blocks * (32 + beside)
    assert q.bits_per_weight == q.stored_bits / count
    assert q.nbytes == packed.size + blocks * 4 + math.ceil(blocks * beside / 8)


def test_each_stored_field_is_filled_up_to_a_byte_by_itself() -> None:
    q = qcore.quantize(
        normal(3, 3), scheme="asymmetric", bits=3, granularity="token", scale_format="pow2"
    )
    assert q.stored_bits == 27 + 3 * 8 + 3 * 3
    assert q.nbytes == 4 + 3 + 2
    assert q.bits_per_weight == 60 / 9


@settings(deadline=None, max_examples=50)
@given(
    hnp.array_shapes(min_dims=1, max_dims=3, max_side=9),
    st.integers(1, 12),
    st.sampled_from(SCHEMES),
    st.data(),
)
def test_values_are_the_schemes_own_decoding_of_each_block(
    shape: Shape, size: int, scheme: tuple[str, int], data: st.DataObject
) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = normal(*shape)
    recipe = qcore.Recipe(*scheme, granularity=f"group:{size}:{axis}:tail=short")
    q = qcore.quantize(x, recipe)
    values = q.dequantize()
    for row, place in enumerate(np.ndindex(q.layout.grid)):
        box = block_of(x, q.layout, place)
        params = q.params.rows(slice(row, row + 1))
        own = recipe.parts.quantizer.decode(q.codes[box].reshape(1, -1), params)
        np.testing.assert_array_equal(values[box].ravel(), own.ravel())


def test_only_the_codes_and_params_matter_not_their_memory_order() -> None:
    q = qcore.quantize(normal(6, 10), scheme="asymmetric", bits=5, granularity="group:4:tail=short")
    other = qcore.QuantizedTensor(np.asfortranarray(q.codes), q.params, q.recipe, q.layout)
    np.testing.assert_array_equal(other.dequantize(), q.dequantize())
    assert other.pack().tobytes() == q.pack().tobytes()


def test_dequantizing_neither_changes_nor_shares_anything() -> None:
    q = qcore.quantize(normal(6, 10), scheme="symmetric")
    codes, first = q.codes.copy(), q.dequantize()
    first[...] = 0
    assert first.flags.writeable
    assert not (q.dequantize() == 0).all()
    np.testing.assert_array_equal(q.codes, codes)
    assert q.codes.flags.writeable


def test_a_tensor_longer_than_a_chunk_decodes_seamlessly() -> None:
    x = normal(300_001)
    q = qcore.quantize(x, scheme="asymmetric", bits=6)
    assert q.zero_point is not None
    expected = (q.codes.astype(np.int32) - q.zero_point.item()) * q.scale.item()
    np.testing.assert_array_equal(q.dequantize(), expected.astype(np.float32))


def test_a_0_d_tensor_packs_and_decodes() -> None:
    q = qcore.quantize(np.float32(-3), scheme="symmetric", bits=4)
    assert q.codes.shape == ()
    assert q.pack().tolist() == [0b1001]
    assert q.bits_per_weight == 36
    assert q.nbytes == 5
    assert q.dequantize().shape == ()
    assert q.dequantize() == pytest.approx(-3)


def test_an_empty_tensor_takes_no_bytes() -> None:
    q = qcore.quantize(np.zeros((0, 8), np.float32), scheme="asymmetric", granularity="group:4")
    assert (q.stored_bits, q.nbytes, q.pack().size) == (0, 0, 0)
    assert math.isnan(q.bits_per_weight)
    assert q.dequantize().shape == (0, 8)
    assert q.zero_point is not None
    assert q.scale.shape == q.zero_point.shape == (0, 2)

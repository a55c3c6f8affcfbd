"""What quantize gives follows from elements and recipe alone, and is what brute force gives."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

import qcore
from qcore import FitContext, Quantizer, QuantParams, Recipe, RoundingPolicy
from qcore.blocking import Layout
from qcore.qtensor import QuantizedTensor
from qcore_numpy import NumpyBackend

Floats = NDArray[np.float32]
Shape = tuple[int, ...]

LARGEST = float(np.finfo(np.float32).max)
SCHEMES = (
    "symmetric", "symmetric:signed=false", "symmetric:full_range=true", "asymmetric",
    "asymmetric:signed=false", "uniform", "uniform:offset=none", "pot", "pot:signed=false",
    "pot:domain=linear", "apot", "apot:k=1", "apot:signed=false",
)  # fmt: skip
GRANULARITIES = (
    "tensor", "channel:0", "channel:1", "channel:-1:groups=2", "group:4", "group:3:0:tail=short",
    "group:5:tail=short", "block:2:4", "block:4:3:tail=short", "token",
)  # fmt: skip
POLICIES = (
    "half-even", "half-up", "half-down", "half-toward-zero", "half-away", "dpu", "floor", "ceil",
    "toward-zero", "stochastic:3",
)  # fmt: skip


def normal(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def chunked(elements: int) -> NumpyBackend:
    """The numpy backend, handed so many elements at a time."""

    @dataclass(frozen=True)
    class Chunked(NumpyBackend):
        chunk_elements: ClassVar[int] = elements
        grid_chunk_elements: ClassVar[int] = elements

    return Chunked()


def assert_same(found: QuantizedTensor, expected: QuantizedTensor) -> None:
    assert found.codes.dtype == expected.codes.dtype
    np.testing.assert_array_equal(found.codes, expected.codes)
    ours, theirs = found.params.fields(), expected.params.fields()
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        assert array.dtype == theirs[name].dtype
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)


def brute_force(x: Floats, recipe: Recipe) -> tuple[NDArray[Any], Floats, Floats]:
    """Codes, scales and values, block by block, by the definitions alone."""
    quantizer, granularity, rounding, observer, scale_format = recipe.parts
    layout = Layout.of(granularity, x.shape)
    codes = np.zeros(x.shape, quantizer.code_dtype)
    values = np.zeros(x.shape, np.float32)
    scale = np.zeros(layout.grid, np.float32)
    positions = np.arange(x.size, dtype=np.uint64).reshape(x.shape)
    for place in itertools.product(*map(range, layout.grid)):
        box = tuple(slice(g * t, (g + 1) * t) for g, t in zip(place, layout.tile, strict=True))
        block = x[box].reshape(1, -1)
        with np.errstate(all="ignore"):
            lo, hi = observer.observe(block, None)
            params = quantizer.fit(block, FitContext(lo, hi, scale_format.snap))
            policy = rounding.at(positions[box].reshape(1, -1))
            encoded = quantizer.encode(block, params, policy)
            values[box] = quantizer.decode(encoded, params).reshape(x[box].shape)
        codes[box] = encoded.reshape(x[box].shape)
        scale[place] = params.scale.item()
    return codes, scale, values


@st.composite
def tensors(draw: st.DrawFn) -> Floats:
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=3, max_side=8))
    return draw(hnp.arrays(np.float32, shape, elements=st.floats(-LARGEST, LARGEST, width=32)))


@st.composite
def recipes(draw: st.DrawFn, shape: Shape) -> Recipe:
    granularities = [
        "tensor", "token", "group:3:tail=short", "group:2:0:tail=short", "block:2:3:tail=short",
        *(f"channel:{axis}" for axis in range(len(shape))),
    ]  # fmt: skip
    return Recipe(
        draw(st.sampled_from(SCHEMES)),
        draw(st.sampled_from([2, 3, 4, 8])),
        granularity=draw(st.sampled_from(granularities)),
        rounding=draw(st.sampled_from(POLICIES)),
        observer=draw(st.sampled_from(["minmax", "percentile:75"])),
    )


@settings(deadline=None, max_examples=50)
@given(st.data(), tensors(), st.sampled_from([1, 3, 7, 20, 1 << 17]), st.sampled_from([1, 3]))
def test_codes_scales_and_values_are_those_of_each_block_by_itself(
    data: st.DataObject, x: Floats, elements: int, threads: int
) -> None:
    recipe = data.draw(recipes(x.shape))
    codes, scale, values = brute_force(x, recipe)
    q = qcore.quantize(x, recipe, backend=chunked(elements), threads=threads)
    np.testing.assert_array_equal(q.codes, codes)
    np.testing.assert_array_equal(q.scale, scale)
    np.testing.assert_array_equal(q.dequantize(), values)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_every_scheme_by_every_granularity_is_brute_force_whatever_the_chunks_and_threads(
    scheme: str, granularity: str
) -> None:
    x = normal(6, 8)
    for rounding, cuts in (("half-even", [(1, 1)]), ("stochastic:3", [(5, 4), (16, 1)])):
        recipe = Recipe(scheme, 4, granularity=granularity, rounding=rounding)
        codes, scale, values = brute_force(x, recipe)
        whole = qcore.quantize(x, recipe, threads=1)
        np.testing.assert_array_equal(whole.codes, codes)
        np.testing.assert_array_equal(whole.scale, scale)
        np.testing.assert_array_equal(whole.dequantize(), values)
        for elements, threads in cuts:
            cut = qcore.quantize(x, recipe, backend=chunked(elements), threads=threads)
            assert_same(cut, whole)
        assert_same(qcore.quantize(x, recipe, backend="reference", threads=1), whole)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    "neighbour", [(0, 0), (3e38, -3e38), (4.3e37, 4.4e37), (1e-45, 0), (LARGEST, 1)]
)
def test_what_a_block_becomes_does_not_depend_on_its_neighbours(
    scheme: str, neighbour: tuple[float, float]
) -> None:
    """Though one scale or offset of a chunk may be too large for fast arithmetic."""
    x = np.vstack([normal(5, 40), np.resize(np.float32(neighbour), (1, 40))])
    x[0] = np.resize(np.float32([0, -1]), 40)
    x[1] = np.resize(np.float32([0, 2.0**-127 + 2.0**-149, 2.0**-126]), 40)
    for bits in (2, 3, 8):
        recipe = Recipe(scheme, bits, granularity="channel:0")
        together, alone = (qcore.quantize(rows, recipe, threads=1) for rows in (x, x[:5]))
        np.testing.assert_array_equal(together.codes[:5], alone.codes)
        np.testing.assert_array_equal(together.dequantize()[:5], alone.dequantize())


@pytest.mark.parametrize(
    ("observer", "rounding"),
    [
        *itertools.product(["minmax"], POLICIES),
        *itertools.product(["percentile:99"], ["half-even", "stochastic:3"]),
    ],
)
@pytest.mark.parametrize(
    "scheme", ["symmetric", "asymmetric", "uniform", "pot", "apot", "apot:signed=false"]
)
def test_a_tensor_of_many_chunks_gives_the_codes_of_one(
    scheme: str, observer: str, rounding: str
) -> None:
    x = normal(120, 100)
    recipe = Recipe(scheme, 7, rounding=rounding, observer=observer)
    expected = qcore.quantize(x, recipe, backend="reference", threads=1)
    for elements, threads in [(999, 4), (4096, 1), (1 << 17, 2)]:
        found = qcore.quantize(x, recipe, backend=chunked(elements), threads=threads)
        assert_same(found, expected)


def stored_otherwise(x: NDArray[Any]) -> dict[str, NDArray[Any]]:
    reverse = (slice(None, None, -1),) * x.ndim
    every_other = (slice(None, None, 2),) * x.ndim
    doubled = np.zeros(tuple(2 * n for n in x.shape), x.dtype)
    doubled[every_other] = x
    read_only = x.copy()
    read_only.flags.writeable = False
    swapped = x.astype(x.dtype.newbyteorder()) if x.dtype.kind == "f" else x
    return {
        "Fortran": np.asfortranarray(x),
        "negative strides": x[reverse].copy()[reverse],
        "strided": doubled[every_other],
        "read-only": read_only,
        "other byte order": swapped,
        "transposed twice": np.moveaxis(np.moveaxis(x, 0, -1).copy(), -1, 0),
        "subclass": x.view(np.memmap) if x.dtype.kind == "f" else x,
    }


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_codes_do_not_depend_on_memory_layout_or_on_the_width_that_holds_the_values(
    dtype: Any, granularity: str
) -> None:
    x = normal(6, 8).astype(dtype)
    recipe = Recipe("asymmetric", 5, granularity=granularity, rounding="stochastic:9")
    expected = qcore.quantize(x.astype(np.float32), recipe, threads=1)
    for tensor in (x, *stored_otherwise(x).values()):
        before = tensor.tobytes()
        for backend in ("numpy", chunked(5)):
            assert_same(qcore.quantize(tensor, recipe, backend=backend, threads=1), expected)
        assert tensor.tobytes() == before  # never written


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_input_stays_as_it_was_and_writable(scheme: str) -> None:
    x = normal(6, 8)
    kept = x.copy()
    for nonfinite in ("error", "clip"):
        qcore.quantize(x, scheme=scheme, bits=4, nonfinite=nonfinite)
        qcore.compare({"x": x}, [f"{scheme} bits=4"], nonfinite=nonfinite)
    np.testing.assert_array_equal(x, kept)
    x[0, 0] = np.nan
    qcore.quantize(x, scheme=scheme, bits=4, nonfinite="clip")
    assert np.isnan(x[0, 0])
    assert x.flags.writeable


def test_lists_and_numbers_are_taken_as_numpy_makes_them() -> None:
    np.testing.assert_array_equal(
        qcore.quantize([1.0, -1.0], scheme="symmetric").codes, [127, -127]
    )
    assert qcore.quantize(2.5, scheme="symmetric").codes == 127


@pytest.mark.parametrize(
    ("granularity", "shape", "grid"),
    [
        ("tensor", (6, 10), (1, 1)),
        ("tensor", (6,), (1,)),
        ("channel:0", (6, 10), (6, 1)),
        ("channel:1", (6, 10), (1, 10)),
        ("channel:0:groups=2", (6, 10), (2, 1)),
        ("channel:1", (2, 3, 4), (1, 3, 1)),
        ("group:5", (6, 10), (6, 2)),
        ("group:4:tail=short", (6, 10), (6, 3)),
        ("group:4:0:tail=short", (6, 10), (2, 10)),
        ("group:64:tail=short", (6, 10), (6, 1)),
        ("token", (6, 10), (6, 1)),
        ("token", (2, 3, 4), (2, 3, 1)),
        ("block:2:5", (6, 10), (3, 2)),
        ("block:4:4:tail=short", (6, 10), (2, 3)),
        ("block:2:2", (3, 4, 4), (3, 2, 2)),
    ],
)
def test_scale_and_zero_point_have_one_entry_a_block_along_each_axis(
    granularity: str, shape: Shape, grid: Shape
) -> None:
    x = normal(*shape)
    q = qcore.quantize(x, scheme="asymmetric", granularity=granularity)
    assert q.scale.shape == grid
    assert q.zero_point is not None
    assert q.zero_point.shape == grid
    assert q.scale.dtype == np.float32
    assert q.zero_point.dtype == np.int32
    assert q.codes.shape == q.shape == x.shape
    symmetric = qcore.quantize(x, scheme="symmetric", granularity=granularity)
    assert symmetric.scale.shape == grid
    assert symmetric.zero_point is None


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_scale_and_zero_point_repeated_give_the_values(granularity: str) -> None:
    """x̂ = (q − z)·s, each entry repeated over its block."""
    x = normal(6, 8)
    q = qcore.quantize(x, scheme="asymmetric", bits=6, granularity=granularity)
    assert q.zero_point is not None
    scale, z = q.scale, q.zero_point
    for axis, extent in enumerate(q.layout.tile):
        scale, z = scale.repeat(extent, axis), z.repeat(extent, axis)
    scale, z = scale[:6, :8], z[:6, :8]
    expected = ((q.codes.astype(np.int32) - z) * scale.astype(np.float64)).astype(np.float32)
    np.testing.assert_array_equal(q.dequantize(), expected)


@pytest.mark.parametrize(
    ("bits", "scheme", "dtype"),
    [(8, "symmetric", "i1"), (8, "symmetric:signed=false", "u1"), (9, "symmetric", "i2"),
     (16, "asymmetric:signed=false", "u2"), (8, "uniform", "u1"), (4, "pot", "i1"),
     (8, "apot:signed=false", "u1")],
)  # fmt: skip
def test_codes_take_the_smallest_dtype_that_holds_them(bits: int, scheme: str, dtype: str) -> None:
    assert qcore.quantize(normal(3, 4), scheme=scheme, bits=bits).codes.dtype == dtype


# --- params given


@pytest.mark.parametrize(
    ("scheme", "bits"), [("asymmetric", 4), ("symmetric", 6), ("uniform", 4), ("apot", 4)]
)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_given_params_may_be_flat_in_rows_or_in_the_shape_of_the_grid(
    scheme: str, bits: int, granularity: str
) -> None:
    x = normal(6, 8)
    recipe = Recipe(scheme, bits, granularity=granularity)
    expected = qcore.quantize(x, recipe)
    fields = expected.params.fields()
    n, grid = expected.layout.n_blocks, expected.layout.grid
    for shape in [(n,), (n, 1), grid]:
        params = QuantParams(**{name: a.reshape(shape) for name, a in fields.items()})
        for backend in ("numpy", chunked(5)):
            assert_same(qcore.quantize(x, recipe, params=params, backend=backend), expected)


@pytest.mark.parametrize("scale", [0.1, np.float32(0.1), [0.1], [[0.1]], np.float64(0.1)])
def test_a_single_given_scale_serves_every_block(scale: Any) -> None:
    x = np.float32([[-0.3, 2.1], [13.2, 15.7]])
    q = qcore.quantize(x, scheme="symmetric", granularity="channel:0", params=QuantParams(scale))
    assert q.codes.tolist() == [[-3, 21], [127, 127]]
    assert q.scale.tolist() == [[np.float32(0.1)]] * 2


def test_given_params_are_used_as_they_are_not_snapped() -> None:
    x = np.float32([[-0.3, 2.1], [13.2, 15.7]])
    recipe = Recipe("symmetric", granularity="channel:0", scale_format="pow2")
    q = qcore.quantize(x, recipe, params=QuantParams(np.float32([0.125, 1])))
    assert q.codes.tolist() == [[-2, 17], [13, 16]]
    assert q.scale.ravel().tolist() == [0.125, 1]
    with pytest.raises(qcore.UsageError, match="a scale of params is one that pow2 does not store"):
        qcore.quantize(x, recipe, params=QuantParams(np.float32([0.1, 1])))


@pytest.mark.parametrize("name", ["scale", "zero_point", "offset"])
@pytest.mark.parametrize("shape", [(3,), (2, 6), (7,), (0,)])
def test_given_params_of_the_wrong_size_are_refused(name: str, shape: Shape) -> None:
    fields = {"scale": np.float32(1), name: np.ones(shape)}
    with pytest.raises(qcore.ShapeError) as caught:
        qcore.quantize(
            normal(6, 8), scheme="symmetric", granularity="channel:0", params=QuantParams(**fields)
        )
    assert str(caught.value) == (
        f"{name} has shape {shape}, but shape (6, 8) has 6 blocks, laid out as (6, 1); "
        "give one entry, or one a block"
    )


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf, 1e-60, 1e60])
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_a_given_scale_is_a_positive_finite_float32(scale: float) -> None:
    text = "^every scale is a positive finite float32 number$"
    with pytest.raises(qcore.UsageError, match=text):
        qcore.quantize(normal(2, 2), scheme="symmetric", params=QuantParams(np.array([scale])))


def test_a_zero_point_for_a_level_grid_is_refused_and_is_not_its_own_cause() -> None:
    params = QuantParams(np.float32(1), np.int32(3))
    with pytest.raises(qcore.UsageError, match=r"^a level grid has no zero point; ") as caught:
        qcore.quantize(normal(2, 2), scheme="apot", bits=4, params=params)
    assert caught.value.__cause__ is not caught.value


# --- what is stored


def hand_counted(scheme: str, bits: int) -> int:
    """The bits a block that are stored beside the scale."""
    if scheme.startswith("asymmetric"):
        return 32 if "include_zero=false" in scheme else bits
    return 32 if scheme == "uniform" else 0


GRIDS = [
    ("tensor", 1), ("channel:0", 6), ("channel:1", 8), ("channel:1:groups=2", 2), ("group:4", 12),
    ("group:3:tail=short", 18), ("group:4:0:tail=short", 16), ("block:2:4", 6),
    ("block:4:3:tail=short", 6), ("token", 6),
]  # fmt: skip
STORED_AS = [("float32", 32), ("float16", 16), ("bfloat16", 16), ("pow2", 8)]


@pytest.mark.parametrize(
    ("granularity", "blocks", "scale_format", "scale_bits"),
    [
        *((*grid, *STORED_AS[number % 4]) for number, grid in enumerate(GRIDS)),
        *(("group:2", 24, *stored) for stored in STORED_AS),
    ],
)
@pytest.mark.parametrize(
    ("scheme", "bits"),
    [("symmetric", 5), ("asymmetric", 3), ("asymmetric:include_zero=false", 4), ("uniform", 4),
     ("uniform:offset=none", 6), ("pot", 4), ("apot", 5)],
)  # fmt: skip
def test_bits_per_weight_and_bytes_are_those_counted_by_hand(
    granularity: str, blocks: int, scale_format: str, scale_bits: int, scheme: str, bits: int
) -> None:
    x = normal(6, 8)
    recipe = Recipe(scheme, bits, granularity=granularity, scale_format=scale_format)
    q = qcore.quantize(x, recipe)
    beside = hand_counted(scheme, bits)
    assert q.stored_bits == 48 * bits + blocks * (scale_bits + beside)
    assert q.bits_per_weight == (48 * bits + blocks * (scale_bits + beside)) / 48
    assert q.nbytes == sum(
        math.ceil(total / 8) for total in (48 * bits, blocks * scale_bits, blocks * beside)
    )
    assert q.pack().size == math.ceil(48 * bits / 8)
    for elements in (5, 1 << 17):  # compare counts each block once, however it is cut
        (row,) = qcore.compare({"x": x}, [recipe], backend=chunked(elements)).rows
        assert row.stats.stored_bits == q.stored_bits
        assert row.metrics["bits_per_weight"] == q.bits_per_weight


@pytest.mark.parametrize(
    "scheme", ["symmetric", "asymmetric", "uniform", "pot", "apot", "apot:signed=false"]
)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_compare_measures_what_quantize_gives(scheme: str, granularity: str) -> None:
    x = normal(6, 8)
    recipe = Recipe(scheme, 4, granularity=granularity, rounding="stochastic:5")
    error = qcore.fake_quantize(x, recipe).astype(np.float64) - x
    for backend in ("numpy", "reference", chunked(7)):
        (row,) = qcore.compare({"x": x}, [recipe], backend=backend, metrics=["mae"]).rows
        assert row.error is None
        assert row.stats.count == x.size
        assert row.metrics["mse"] == pytest.approx(np.mean(error**2), rel=1e-5)
        assert row.metrics["mae"] == pytest.approx(np.mean(np.abs(error)), rel=1e-5)
        assert row.metrics["max_abs"] == pytest.approx(np.abs(error).max(), rel=1e-6)


def test_fake_quantize_is_quantize_and_back() -> None:
    x = normal(5, 7).astype(np.float16)
    for options in ({"recipe": "apot bits=4"}, {"scheme": "asymmetric", "bits": 3}):
        values = qcore.fake_quantize(x, **options)
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, qcore.quantize(x, **options).dequantize())


# --- edge cases


@pytest.mark.parametrize("shape", [(0,), (0, 4), (4, 0), (2, 0, 3)])
@pytest.mark.parametrize(
    "granularity", ["tensor", "channel:0", "channel:-1", "group:4:tail=short", "token"]
)
def test_an_empty_tensor_gives_empty_codes(shape: Shape, granularity: str) -> None:
    x = np.zeros(shape, np.float32)
    for scheme in SCHEMES:
        q = qcore.quantize(x, scheme=scheme, bits=4, granularity=granularity)
        assert q.codes.shape == q.dequantize().shape == shape, scheme
        assert q.codes.dtype == q.recipe.parts.quantizer.code_dtype
        assert q.scale.shape == q.layout.grid
        assert math.isnan(q.bits_per_weight)
        assert q.pack().size == 0


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_empty_tensor_takes_given_params(scheme: str) -> None:
    q = qcore.quantize(np.zeros((0, 4), np.float32), scheme=scheme, bits=4, params=QuantParams(1.0))
    assert q.codes.shape == (0, 4)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("granularity", ["tensor", "token", "channel:0", "group:8:tail=short"])
def test_a_0_d_tensor_keeps_its_shape(scheme: str, granularity: str) -> None:
    q = qcore.quantize(np.array(3, np.float32), scheme=scheme, bits=4, granularity=granularity)
    assert q.codes.shape == q.dequantize().shape == q.shape == ()
    assert q.scale.shape == (1,)
    flat = qcore.quantize(np.array([3], np.float32), scheme=scheme, bits=4)
    assert q.codes == flat.codes[0]


@pytest.mark.parametrize("shape", [(1,), (1, 5), (5, 1), (1, 1, 1), (3, 1, 4)])
@pytest.mark.parametrize("granularity", ["tensor", "channel:0", "channel:-1", "group:1", "token"])
def test_axes_of_length_one_are_no_exception(shape: Shape, granularity: str) -> None:
    x = normal(*shape)
    recipe = Recipe("asymmetric", 4, granularity=granularity)
    codes, scale, values = brute_force(x, recipe)
    q = qcore.quantize(x, recipe)
    np.testing.assert_array_equal(q.codes, codes)
    np.testing.assert_array_equal(q.scale, scale)
    np.testing.assert_array_equal(q.dequantize(), values)


def test_a_group_longer_than_the_axis_is_refused_or_short() -> None:
    x = normal(3, 5)
    with pytest.raises(qcore.ShapeError, match="8 does not divide axis 1 of shape"):
        qcore.quantize(x, scheme="symmetric", granularity="group:8")
    q = qcore.quantize(x, scheme="symmetric", granularity="group:8:tail=short")
    assert_same(q, qcore.quantize(x, scheme="symmetric", granularity="channel:0"))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("scale_format", ["float32", "float16", "bfloat16", "pow2"])
def test_all_zero_blocks_give_zeros_and_a_scale_of_one(scheme: str, scale_format: str) -> None:
    x = normal(4, 8)
    x[1::2] = 0
    recipe = Recipe(scheme, 4, granularity="channel:0", scale_format=scale_format)
    q = qcore.quantize(x, recipe)
    assert (q.codes[1::2] == 0).all()
    assert (q.dequantize()[1::2] == 0).all()
    assert (q.scale[1::2] == 1).all()


@pytest.mark.parametrize("value", [3.7, -3.7, 1e-30, -1e30, LARGEST, -LARGEST, 65504.0])
@pytest.mark.parametrize("scheme", ["symmetric", "asymmetric", "uniform", "pot", "apot"])
def test_a_constant_block_is_kept_to_one_ulp(scheme: str, value: float) -> None:
    x = np.full((3, 50), value, np.float32)
    for bits in (2, 4, 8):
        values = qcore.fake_quantize(x, scheme=scheme, bits=bits)
        assert np.isfinite(values).all()
        ulp = np.spacing(np.nextafter(np.abs(x), np.float32(0)))
        assert (np.abs(values - x) <= ulp).all()


def test_one_outlier_takes_the_scale_of_its_own_block_only() -> None:
    x = np.full((4, 16), 0.5, np.float32)
    x[2, 3] = 1e6
    q = qcore.quantize(x, scheme="symmetric", granularity="channel:0")
    np.testing.assert_array_equal(q.codes[[0, 1, 3]], 127)
    assert q.codes[2].tolist() == [0, 0, 0, 127] + [0] * 12
    assert q.dequantize()[2, 3] == pytest.approx(1e6, rel=1e-6)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("value", [1e-45, 1e-42, 1.1e-38, 1.1754944e-38])
def test_subnormal_tensors_give_finite_values_no_further_off_than_the_least_scale(
    scheme: str, value: float
) -> None:
    x = np.float32([[value, -value, value / 2, 0]])
    for bits in (2, 8):
        q = qcore.quantize(x, scheme=scheme, bits=bits)
        assert (q.scale >= 2.0**-126).all()
        assert (np.abs(q.dequantize() - x) <= 2.0**-125).all()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("bits", [2, 8])
def test_huge_tensors_give_finite_values(scheme: str, bits: int) -> None:
    top = LARGEST
    for ends in [(-3e38, 3e38), (0, top), (-top, 0), (-top, top), (3.3e38, top)]:
        x = np.linspace(*ends, 40, dtype=np.float64).astype(np.float32).reshape(4, 10)
        assert_finite_values(x, Recipe(scheme, bits))


def assert_finite_values(x: Floats, recipe: Recipe) -> None:
    codes, _, values = brute_force(x, recipe)
    q = qcore.quantize(x, recipe)
    np.testing.assert_array_equal(q.codes, codes)
    assert np.isfinite(values).all()
    np.testing.assert_array_equal(q.dequantize(), values)
    (row,) = qcore.compare({"x": x}, [recipe]).rows
    assert row.error is None
    expected = np.mean((values.astype(np.float64) - x) ** 2)
    assert row.metrics["mse"] == pytest.approx(expected, rel=1e-5)


def test_the_range_of_float16_is_quantized_and_its_scale_may_be_too_large() -> None:
    x = np.float16([[-65504, 65504, 6e-8, 1]])
    np.testing.assert_array_equal(qcore.quantize(x, scheme="symmetric").codes, [[-127, 127, 0, 0]])
    big = np.float32([[1e9]])
    with pytest.raises(qcore.RangeError) as caught:
        qcore.quantize(big, scheme="symmetric", bits=2, scale_format="float16")
    assert str(caught.value).startswith("a scale of 1e+09 is too large for float16 (at most 65504)")


NONFINITE = [np.nan, np.inf, -np.inf]


@pytest.mark.parametrize("bad", NONFINITE)
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
@pytest.mark.parametrize("granularity", ["tensor", "channel:0", "group:4"])
@pytest.mark.parametrize("count", [1, 5])
def test_values_that_are_not_finite_are_counted_over_the_whole_tensor(
    bad: float, dtype: Any, granularity: str, count: int
) -> None:
    x = normal(6, 8).astype(dtype)
    x.reshape(-1)[:: 48 // count][:count] = bad
    text = (
        f"{count} of 48 values are NaN, infinite or beyond float32; clean the tensor, or pass "
        "nonfinite='clip' (--nonfinite clip)"
    )
    for backend, threads in itertools.product(("numpy", chunked(5)), (1, 3)):
        with pytest.raises(qcore.NonFiniteError) as caught:
            qcore.quantize(
                x, scheme="symmetric", granularity=granularity, backend=backend, threads=threads
            )
        assert str(caught.value) == text
        assert (caught.value.count, caught.value.size) == (count, 48)
        recipes = [f"symmetric bits=8 granularity={granularity}", "uniform bits=4"]
        rows = qcore.compare({"w": x}, recipes, backend=backend, threads=threads).rows
        assert [row.error for row in rows] == [f"'w': {text}"] * 2


def test_float64_beyond_float32_is_not_finite() -> None:
    x = np.array([[1e300, 1.0, -1e39]])
    with pytest.raises(qcore.NonFiniteError, match=r"^2 of 3 values"):
        qcore.quantize(x, scheme="symmetric")
    clipped = qcore.quantize(x, scheme="symmetric", nonfinite="clip")
    np.testing.assert_array_equal(clipped.codes, [[127, 0, -127]])


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("granularity", ["tensor", "group:4"])
@pytest.mark.parametrize("observer", ["minmax", "fixed:-2:2", "percentile:90"])
def test_clipping_takes_nan_to_zero_and_infinities_to_the_largest_float32(
    scheme: str, granularity: str, observer: str
) -> None:
    x = normal(6, 8)
    x[0, :3] = NONFINITE
    x[3, 5] = np.nan
    finite = np.nan_to_num(x)
    assert finite.max() == np.float32(LARGEST)
    recipe = Recipe(scheme, 4, granularity=granularity, observer=observer)
    for backend in ("numpy", chunked(5)):
        alone: dict[str, Any] = {"backend": backend, "threads": 1}
        found = qcore.quantize(x, recipe, nonfinite="clip", **alone)
        assert_same(found, qcore.quantize(finite, recipe, threads=1))
        (row,) = qcore.compare({"x": x}, [recipe], nonfinite="clip", **alone).rows
        (same,) = qcore.compare({"x": finite}, [recipe], **alone).rows
        assert row.error is None
        np.testing.assert_equal(dict(row.metrics), dict(same.metrics))


# --- dtypes and arguments


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.int64, np.bool_])
def test_integers_are_refused_unless_they_are_asked_for(dtype: Any) -> None:
    x = np.arange(12).reshape(3, 4).astype(dtype)
    with pytest.raises(qcore.DtypeError) as caught:
        qcore.quantize(x, scheme="symmetric")
    assert str(caught.value) == (
        f"'x' holds {x.dtype}; qcore quantizes floating tensors; "
        "pass integers=True (--integers) to take them as numbers"
    )
    found = qcore.quantize(x, scheme="symmetric", integers=True)
    assert_same(found, qcore.quantize(x.astype(np.float32), scheme="symmetric"))


@pytest.mark.parametrize("x", [np.zeros(3, complex), np.array(["1"]), np.array([None])])
def test_what_is_no_number_is_refused(x: NDArray[Any]) -> None:
    text = f"^'x' holds {x.dtype}; qcore quantizes floating tensors$"
    with pytest.raises(qcore.DtypeError, match=text):
        qcore.quantize(x, scheme="symmetric", integers=True)


def test_a_recipe_is_needed_and_only_one() -> None:
    x = normal(2, 2)
    with pytest.raises(qcore.UsageError, match=r"^give a recipe, or at least scheme=$"):
        qcore.quantize(x)
    with pytest.raises(
        qcore.UsageError, match=r"^bits given beside a recipe; put it into the recipe$"
    ):
        qcore.quantize(x, "symmetric", bits=4)
    with pytest.raises(qcore.UnknownIdError, match="unknown backend 'nump', did you mean 'numpy'"):
        qcore.quantize(x, "symmetric", backend="nump")
    same = [qcore.quantize(x, r) for r in ("apot bits=4", Recipe("apot", 4))]
    assert_same(*same)
    assert_same(qcore.quantize(x, scheme="apot", bits=4), same[0])


def test_a_backend_that_cannot_run_here_says_why() -> None:
    @dataclass(frozen=True)
    class Nowhere(qcore.Backend):
        id: ClassVar[str] = "nowhere"

        def available(self) -> str | None:
            return "no such device"

    text = "^backend 'nowhere' cannot run here: no such device$"
    with pytest.raises(qcore.UnavailableError, match=text):
        qcore.quantize(normal(2, 2), scheme="symmetric", backend=Nowhere())


# --- third parties


@dataclass(frozen=True)
class Ternary(Quantizer):
    """The naive scheme of the style guide: the scale is the block's mean magnitude."""

    id: ClassVar[str] = "ternary"
    bits: ClassVar[int] = 2

    def fit(self, blocks: Floats, context: FitContext) -> QuantParams:
        scale = np.abs(blocks).mean(axis=1, keepdims=True)
        return QuantParams(context.snap(np.where(scale > 0, scale, 1)))

    def encode(self, blocks: Floats, params: QuantParams, rounding: RoundingPolicy) -> NDArray[Any]:
        return np.clip(rounding.round(blocks / params.scale), -1, 1).astype(np.int8)

    def decode(self, codes: NDArray[Any], params: QuantParams) -> Floats:
        return codes * params.scale


@pytest.mark.parametrize("backend", ["numpy", "reference", chunked(100)])
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_a_naive_third_party_scheme_works_at_every_granularity(
    granularity: str, backend: Any
) -> None:
    x = normal(6, 8)
    recipe = Recipe(Ternary(), granularity=granularity)
    codes, scale, values = brute_force(x, recipe)
    q = qcore.quantize(x, recipe, backend=backend)
    np.testing.assert_array_equal(q.codes, codes)
    np.testing.assert_array_equal(q.scale, scale)
    np.testing.assert_array_equal(q.dequantize(), values)
    ours, theirs = qcore.compare({"x": x}, [recipe, "symmetric bits=4"], backend=backend).rows
    assert ours.error is theirs.error is None
    error = values.astype(np.float64) - x
    assert ours.metrics["mse"] == pytest.approx(np.mean(error**2), rel=1e-5)
    cosine = np.sum(x * values, dtype=np.float64) / np.linalg.norm(x) / np.linalg.norm(values)
    assert ours.metrics["cosine"] == pytest.approx(cosine, abs=1e-5)
    assert ours.stats.stored_bits == 2 * x.size + 32 * scale.size


@pytest.mark.parametrize("backend", ["numpy", "reference", chunked(1000)])
def test_a_scheme_that_needs_whole_blocks_gets_them_however_long(backend: Any) -> None:
    x = normal(500, 400)
    recipe = Recipe(Ternary())
    q = qcore.quantize(x, recipe, backend=backend)
    assert q.scale.item() == np.abs(x.reshape(1, -1)).mean(axis=1).item()
    (row,) = qcore.compare({"x": x}, [recipe], backend=backend).rows
    error = q.dequantize().astype(np.float64) - x
    assert row.metrics["mse"] == pytest.approx(np.mean(error**2), rel=1e-5)


@pytest.mark.parametrize("shape", [(300, 4), (4, 300), (2000, 2)])
def test_the_sums_of_a_scheme_that_changes_the_memory_order_are_right(shape: Shape) -> None:
    """Short blocks come side by side; a naive scheme may hand back C order all the same."""

    @dataclass(frozen=True)
    class COrdered(Ternary):
        id: ClassVar[str] = "c-ordered"

        def decode(self, codes: NDArray[Any], params: QuantParams) -> Floats:
            return np.ascontiguousarray(codes * params.scale)

    x = normal(*shape)
    for granularity in ("channel:0", "channel:1"):
        recipe = Recipe(COrdered(), granularity=granularity)
        values = qcore.fake_quantize(x, recipe).astype(np.float64)
        (row,) = qcore.compare({"x": x}, [recipe]).rows
        cosine = np.sum(x * values) / np.linalg.norm(x.astype(np.float64)) / np.linalg.norm(values)
        assert row.error is None
        assert row.metrics["cosine"] == pytest.approx(cosine, abs=1e-5)


@dataclass(frozen=True)
class Ranged(Ternary):
    """Stores the tensor's range beside each block's scale."""

    id: ClassVar[str] = "ranged"
    needs_tensor_range: ClassVar[bool] = True

    def fit(self, blocks: Floats, context: FitContext) -> QuantParams:
        assert context.tensor_range is not None
        ends = np.tile(np.float32([context.tensor_range]), (len(blocks), 1))
        return QuantParams(np.ones((len(blocks), 1), np.float32), extra={"ends": ends})


@dataclass(frozen=True)
class Unranged(Ternary):
    """Refuses to be told the tensor's range."""

    id: ClassVar[str] = "unranged"

    def fit(self, blocks: Floats, context: FitContext) -> QuantParams:
        assert context.tensor_range is None
        return super().fit(blocks, context)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("elements", [5, 1 << 17])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_scheme_that_needs_the_tensors_range_gets_it_in_every_block(
    granularity: str, elements: int, threads: int
) -> None:
    x = normal(6, 8)
    recipe = Recipe(Ranged(), granularity=granularity)
    q = qcore.quantize(x, recipe, backend=chunked(elements), threads=threads)
    ends = q.params.extra["ends"]
    assert ends.shape == (q.layout.n_blocks, 2)
    assert (ends == [x.min(), x.max()]).all()
    assert q.stored_bits == 48 * 2 + q.layout.n_blocks * (32 + 64)
    rows = qcore.compare({"x": x}, [recipe], backend=chunked(elements), threads=threads).rows
    assert [row.error for row in rows] == [None]
    assert rows[0].stats.stored_bits == q.stored_bits


def test_a_scheme_that_does_not_ask_is_not_given_the_tensors_range() -> None:
    qcore.quantize(normal(3, 4), Recipe(Unranged()))


class Broken(Exception):
    """What a third party raises."""


def breaking(what: str) -> Quantizer:
    """A scheme that breaks its contract in one way."""

    @dataclass(frozen=True)
    class Breaking(Ternary):
        id: ClassVar[str] = what

        def fit(self, blocks: Floats, context: FitContext) -> QuantParams:
            params = super().fit(blocks, context)
            if what == "raises-in-fit":
                raise Broken("no fit\nfor a king")
            if what == "nan-scale":
                return QuantParams(params.scale * np.float32(np.nan))
            return params

        def encode(self, blocks: Floats, params: QuantParams, rounding: RoundingPolicy) -> Any:
            codes = super().encode(blocks, params, rounding)
            if what == "raises-in-encode":
                raise Broken("no codes")
            if what == "codes-of-another-shape":
                return codes[:, :-1]
            return codes

        def decode(self, codes: NDArray[Any], params: QuantParams) -> Floats:
            values = super().decode(codes, params)
            if what == "raises-in-decode":
                raise Broken("no values")
            if what == "nan-values":
                return values * np.float32(np.nan)
            if what == "infinite-values":
                return values + np.float32(np.inf)
            if what == "values-of-another-shape":
                return values[:, :-1]
            if what == "one-value-a-block":
                return values[:, :1]
            return values

    return Breaking()


BREAKAGES = (
    "raises-in-fit", "raises-in-encode", "raises-in-decode", "nan-scale", "nan-values",
    "infinite-values", "codes-of-another-shape", "values-of-another-shape", "one-value-a-block",
)  # fmt: skip


@pytest.mark.parametrize("backend", ["numpy", "reference"])
@pytest.mark.parametrize("granularity", ["tensor", "channel:0"])
@pytest.mark.parametrize("what", BREAKAGES)
def test_a_scheme_that_breaks_its_contract_fails_in_its_own_rows_only(
    what: str, granularity: str, backend: str
) -> None:
    recipe = Recipe(breaking(what), granularity=granularity)
    good = Recipe("symmetric", 4, granularity=granularity)
    tensors = {"a": normal(3, 4), "b": normal(2, 4, seed=1)}
    rows = qcore.compare(tensors, [good, recipe, Recipe(Ternary())], backend=backend).rows
    assert [row.tensor for row in rows] == ["a"] * 3 + ["b"] * 3
    for row in rows:
        if row.recipe == recipe:
            assert row.error is not None
            assert row.error.startswith(f"'{row.tensor}': '{recipe}' failed: ")
            assert "\n" not in row.error
            assert all(math.isnan(value) for value in row.metrics.values())
        else:
            assert row.error is None


@pytest.mark.parametrize(
    ("what", "cause"),
    [
        ("raises-in-fit", "Broken: no fit"),
        ("raises-in-encode", "Broken: no codes"),
        ("codes-of-another-shape", ""),
    ],
)
@pytest.mark.parametrize("threads", [1, 3])
def test_quantize_gives_a_scheme_error_that_names_recipe_and_cause(
    what: str, cause: str, threads: int
) -> None:
    recipe = Recipe(breaking(what), granularity="channel:0")
    with pytest.raises(qcore.SchemeError) as caught:
        qcore.quantize(normal(3, 4), recipe, threads=threads)
    assert str(caught.value).startswith(f"'{recipe}' failed: {cause}")
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None
    assert caught.value.__cause__ is not caught.value


def test_an_observer_that_fails_fails_in_its_own_rows_only() -> None:
    """Also where blocks are observed in pieces, before any is quantized."""

    @dataclass(frozen=True)
    class Failing(qcore.Observer):
        id: ClassVar[str] = "failing"

        def summarize(self, blocks: Floats, trial: Any, previous: Any) -> Any:
            raise Broken("cannot look")

        def merge(self, a: Any, b: Any) -> Any:
            raise Broken

        def range(self, state: Any) -> Any:
            raise Broken

    recipe = Recipe("symmetric", 4, observer=Failing())
    for elements in (5, 1 << 17):
        backend = chunked(elements)
        bad, good = qcore.compare(
            {"x": normal(6, 8)}, [recipe, "symmetric bits=4"], backend=backend
        ).rows
        assert good.error is None
        assert bad.error is not None
        assert bad.error.endswith("failed: Broken: cannot look")
        with pytest.raises(qcore.SchemeError, match=r"failed: Broken: cannot look$"):
            qcore.quantize(normal(6, 8), recipe, backend=backend)

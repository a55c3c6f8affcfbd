"""A quantized linear layer is x̂ · ŵᵀ + bias, rounded to float32 once, whatever it runs on."""

from __future__ import annotations

import functools
import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import qcore
from qcore import FitContext, Quantizer, QuantParams
from qcore_int8 import pieces

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

BACKENDS = pytest.mark.parametrize("backend", ["int8-blas", "reference", "numpy"])
INTEGER_SCHEMES = [
    "symmetric", "symmetric:full_range=true", "symmetric:signed=false", "asymmetric",
    "asymmetric:signed=false", "asymmetric:include_zero=false", "uniform", "uniform:offset=none",
]  # fmt: skip
LEVEL_SCHEMES = [
    ("apot", range(2, 9)), ("apot:signed=false", range(2, 9)), ("apot:k=1", range(2, 9)),
    ("apot:k=3", (2, 3, 4, 7)), ("pot", (2, 3, 4, 5)), ("pot:domain=linear", (3, 4)),
    ("pot:signed=false", (2, 3, 4)),
]  # fmt: skip
SCHEMES = [
    *((scheme, bits) for scheme in INTEGER_SCHEMES for bits in range(2, 9)),
    *((scheme, bits) for scheme in INTEGER_SCHEMES for bits in (9, 12, 15, 16)),
    *((scheme, bits) for scheme, widths in LEVEL_SCHEMES for bits in widths),
]
ROUNDINGS = [
    "half-even", "half-up", "half-down", "half-toward-zero", "half-away", "dpu", "floor", "ceil",
    "toward-zero", "stochastic:3",
]  # fmt: skip


@dataclass(frozen=True)
class Signs(Quantizer):
    """A third party's scheme that is no grid: the sign and the block's mean magnitude."""

    id: ClassVar[str] = "signs"
    bits: ClassVar[int] = 2

    def fit(self, blocks: Floats, context: FitContext) -> QuantParams:
        mean = np.abs(blocks).mean(axis=1, keepdims=True)
        return QuantParams(context.snap(np.where(mean > 0, mean, 1)))

    def encode(self, blocks: Floats, params: QuantParams, rounding: qcore.RoundingPolicy) -> Any:
        return np.sign(blocks).astype(np.int8)

    def decode(self, codes: NDArray[Any], params: QuantParams) -> Floats:
        return (codes * params.scale).astype(np.float32)


def quantized(x: Any, scheme: Any, bits: int | None = None, **axes: str) -> qcore.QuantizedTensor:
    recipe = qcore.Recipe(scheme, bits, **axes)
    return qcore.quantize(np.asarray(x, np.float32), recipe, threads=1)


def normal(*shape: int, seed: int = 0, spread: float = 1, centre: float = 0) -> Floats:
    return np.random.default_rng(seed).normal(centre, spread, shape).astype(np.float32)


# --- what is exact, and how far float32 may be from it --------------------------------------------


def repeated(tensor: qcore.QuantizedTensor, rows: Any) -> Doubles:
    """A field of the params, one entry an element."""
    entries = np.asarray(rows, np.float64).reshape(tensor.layout.grid)
    for axis, (extent, tile) in enumerate(
        zip(tensor.layout.shape, tensor.layout.tile, strict=True)
    ):
        entries = entries.repeat(tile, axis=axis)
        entries = entries[(*(slice(None),) * axis, slice(extent))]
    return entries.reshape(tensor.shape)


@dataclass(frozen=True)
class Side:
    """A quantized operand as rows.

    Attributes:
        values: what it means, in float64.
        dequantized: the same in float32.
        error: how far those may be apart.
        size: the magnitudes that the values are the sum of.
    """

    values: Doubles
    dequantized: Doubles
    error: Doubles
    size: Doubles

    @classmethod
    def of(cls, tensor: qcore.QuantizedTensor) -> Side:
        params, grid = tensor.params, tensor.recipe.parts.quantizer.grid
        z = None if params.zero_point is None else repeated(tensor, params.zero_point)
        scale = repeated(tensor, params.scale)
        scaled = grid.decode(tensor.codes, z) * scale
        offset = 0.0 if params.offset is None else repeated(tensor, params.offset)
        values = scaled + offset
        size = np.abs(scaled) + np.abs(offset) + (0 if z is None else np.abs(z) * scale)
        # x̂ is rounded to float32 after the product and, where there is an offset, after the sum.
        rounded = np.abs(values) + (np.abs(scaled) if params.offset is not None else 0)
        found = (values, tensor.dequantize().astype(np.float64), rounded * 2.0**-24, size)
        shape = (math.prod(tensor.shape[:-1]), tensor.shape[-1])
        return cls(*(field.reshape(shape) for field in found))


def ulp(y: Any) -> Any:
    """From |y| to the next float32."""
    return np.spacing(np.abs(np.asarray(y)).astype(np.float32)).astype(np.float64)


def assert_rounded_once(y: Any, expected: Doubles, size: Doubles) -> None:
    """`y` is float32 of `expected`, up to what float64 loses in sums of this `size`."""
    room = 0.5 * np.maximum(ulp(y), ulp(expected)) + 2.0**-46 * size
    assert y.dtype == np.float32
    assert y.shape == expected.shape
    assert (np.abs(y.astype(np.float64) - expected) <= room).all()


# --- the strategies -------------------------------------------------------------------------------


def examples(count: int) -> settings:
    """So many; to draw a layer is to quantize it, which a busy machine may be slow at."""
    return settings(deadline=None, max_examples=count, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def recipes(draw: st.DrawFn, granularities: list[str]) -> qcore.Recipe:
    scheme, bits = draw(st.sampled_from(SCHEMES))
    scale_format = draw(st.sampled_from(["float32", "float32", "float16", "pow2"]))
    granularity = draw(st.sampled_from(granularities))
    return qcore.Recipe(scheme, bits, granularity, scale_format=scale_format)


@st.composite
def layers(
    draw: st.DrawFn, most_rows: int = 4
) -> tuple[qcore.QuantizedTensor, qcore.QuantizedTensor, Floats | None, bool]:
    """Inputs and weights that multiply as integers, a bias or none, and whether ReLU follows."""
    depth = draw(st.sampled_from([0, 1, 3, 8, 16, 20, 33, 64, 150]))
    outputs = draw(st.sampled_from([0, 1, 2, 3, 7]))
    rows = draw(st.lists(st.integers(0, most_rows), max_size=2))
    seed = draw(st.integers(0, 2**32))
    centre, spread = draw(st.sampled_from([(0, 1), (0.4, 1), (300, 1), (-5, 1e-2), (0, 1e-4)]))
    size = draw(st.sampled_from([8, 16, 24]))
    groups = f"group:{size}:tail=short"
    on_rows = ["tensor", "token", groups]
    on_weights = [*on_rows, "channel:0", f"block:3:{size}:tail=short"]
    if rows:
        on_rows.append("channel:0")
    inputs = normal(*rows, depth, seed=seed, centre=centre, spread=spread)
    weights = normal(outputs, depth, seed=seed + 1, centre=0.02, spread=0.1)
    try:
        x = qcore.quantize(inputs, draw(recipes(on_rows)), threads=1)
        w = qcore.quantize(weights, draw(recipes(on_weights)), threads=1)
    except qcore.RangeError:  # the zero point of a group far from zero
        reject()
    bias = normal(outputs, seed=seed + 2) if draw(st.booleans()) else None
    return x, w, bias, draw(st.booleans())


def expected_of(
    x: qcore.QuantizedTensor, w: qcore.QuantizedTensor, bias: Floats | None, relu: bool
) -> tuple[Doubles, Doubles]:
    """The layer in float64 on exact values, and the size of its sums."""
    shape = (*x.shape[:-1], w.shape[0])
    a, b = Side.of(x), Side.of(w)
    added = np.zeros(w.shape[0]) if bias is None else bias.astype(np.float64)
    y, size = a.values @ b.values.T + added, a.size @ b.size.T + np.abs(added)
    return (np.maximum(y, 0) if relu else y).reshape(shape), size.reshape(shape)


# --- laws of layers of integers -------------------------------------------------------------------


@BACKENDS
@examples(80)
@given(layers())
def test_a_layer_is_the_product_of_exact_values_rounded_once(
    backend: str, layer: tuple[Any, Any, Any, bool]
) -> None:
    x, w, bias, relu = layer
    made = qcore.Linear(w, bias, activation="relu" if relu else None, backend=backend)
    assert made.path(x).startswith("int8")
    assert_rounded_once(made(x), *expected_of(x, w, bias, relu))


@BACKENDS
@examples(40)
@given(layers())
def test_a_layer_is_near_the_product_of_what_dequantize_gives(
    backend: str, layer: tuple[Any, Any, Any, bool]
) -> None:
    """|y − y₆₄| ≤ 2⁻²³·|x̂|·|ŵ|ᵀ and a rounding to float32; an offset has x̂ rounded once more."""
    x, w, bias, relu = layer
    y = qcore.linear(x, w, bias, "relu" if relu else None, backend=backend)
    a, b = Side.of(x), Side.of(w)
    product = a.dequantized @ b.dequantized.T
    expected = product + (0 if bias is None else bias.astype(np.float64))
    expected = (np.maximum(expected, 0) if relu else expected).reshape(y.shape)
    room = a.error @ np.abs(b.dequantized).T + np.abs(a.dequantized) @ b.error.T
    room = room.reshape(y.shape) * (1 + 2.0**-20) + ulp(expected) + ulp(y)
    _, size = expected_of(x, w, bias, relu)
    assert (np.abs(y - expected) <= room + 2.0**-46 * size).all()


@examples(80)
@given(layers(), st.integers(1, 40), st.integers(1, 30))
def test_backends_agree_to_an_ulp_however_the_output_is_cut(
    layer: tuple[Any, Any, Any, bool], tile: int, strip: int
) -> None:
    x, w, bias, relu = layer
    activation = "relu" if relu else None
    expected = qcore.linear(x, w, bias, activation, backend="reference")
    _, size = expected_of(x, w, bias, relu)
    for backend in ("int8-blas", "numpy"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pieces, "_TILE_ELEMENTS", tile)
            patch.setattr(pieces, "_STRIP_ELEMENTS", strip)
            y = qcore.linear(x, w, bias, activation, backend=backend)
        assert (np.abs(y.astype(np.float64) - expected) <= ulp(expected) + 2.0**-46 * size).all()


@BACKENDS
@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([(8, 8), (8, 4), (12, 8), (16, 16)]),
    st.integers(1, 200),
    st.integers(0, 2**32),
    st.booleans(),
)
def test_symmetric_by_symmetric_is_the_integer_sum_times_both_scales(
    backend: str, bits: tuple[int, int], depth: int, seed: int, bias: bool
) -> None:
    """As exact fractions, without a float on the way."""
    x = quantized(normal(2, depth, seed=seed), "symmetric", bits[0], granularity="token")
    w = quantized(normal(3, depth, seed=seed + 1), "symmetric", bits[1], granularity="channel:0")
    added = normal(3, seed=seed + 2) if bias else np.zeros(3, np.float32)
    y = qcore.linear(x, w, added if bias else None, backend=backend)
    for i in range(2):
        for j in range(3):
            codes = zip(x.codes[i].tolist(), w.codes[j].tolist(), strict=True)
            total = sum(a * b for a, b in codes)
            scales = Fraction(x.scale[i].item()) * Fraction(w.scale[j].item())
            exact = scales * total + Fraction(added[j].item())
            half = Fraction(ulp(y[i, j]).item()) / 2
            lost = Fraction(2) ** -50 * (scales * abs(total) + abs(Fraction(added[j].item())))
            assert abs(Fraction(y[i, j].item()) - exact) <= half + lost


@BACKENDS
@examples(40)
@given(layers(), st.integers(-8, 8), st.integers(-8, 8))
def test_powers_of_two_in_the_scales_pass_through(
    backend: str, layer: tuple[Any, Any, Any, bool], i: int, j: int
) -> None:
    def moved(tensor: qcore.QuantizedTensor, power: int) -> qcore.QuantizedTensor:
        p = tensor.params
        offset = None if p.offset is None else np.ldexp(p.offset, power)
        params = QuantParams(np.ldexp(p.scale, power), p.zero_point, offset)
        return qcore.QuantizedTensor(tensor.codes, params, tensor.recipe, tensor.layout)

    x, w, bias, relu = layer
    activation = "relu" if relu else None
    y = qcore.linear(x, w, bias, activation, backend=backend)
    bias = None if bias is None else np.ldexp(bias, i + j)
    again = qcore.linear(moved(x, i), moved(w, j), bias, activation, backend=backend)
    np.testing.assert_array_equal(again, np.ldexp(y, i + j))


@BACKENDS
@examples(25)
@given(layers(most_rows=3))
def test_leading_axes_are_rows(backend: str, layer: tuple[Any, Any, Any, bool]) -> None:
    x, w, bias, _ = layer
    made = qcore.Linear(w, bias, backend=backend)
    y = made(x)
    assert y.shape == (*x.shape[:-1], w.shape[0])
    for index in np.ndindex(x.shape[:-1]):
        np.testing.assert_array_equal(y[index], made(row_of(x, index)))


def row_of(x: qcore.QuantizedTensor, index: tuple[int, ...]) -> qcore.QuantizedTensor:
    """One row of a tensor, a tensor of its own."""
    block = tuple(i // t for i, t in zip(index, x.layout.tile, strict=False))
    params = {
        name: np.asarray(rows).reshape(x.layout.grid)[block].reshape(-1, 1)
        for name, rows in x.params.fields().items()
    }
    size = x.layout.tile[-1]
    groups = "tensor" if size >= x.shape[-1] else f"group:{size}:tail=short"
    recipe = qcore.Recipe(x.recipe.scheme_spec, x.recipe.bits, groups)
    like = qcore.quantize(
        np.zeros(x.shape[-1], np.float32), recipe, params=QuantParams(np.float32([[1]]))
    )
    return qcore.QuantizedTensor(x.codes[index], QuantParams(**params), recipe, like.layout)


@BACKENDS
def test_a_layer_may_be_called_again_and_from_threads(backend: str) -> None:
    w = quantized(normal(50, 300, seed=1), "asymmetric", 8, granularity="channel:0")
    layer = qcore.Linear(w, normal(50), activation="relu", backend=backend)
    inputs = [
        quantized(normal(rows, 300, seed=rows), scheme, bits, granularity="token")
        for rows in (1, 5, 60)
        for scheme, bits in (("asymmetric", 8), ("symmetric", 12), ("pot", 8), ("uniform", 4))
    ]
    fresh = qcore.Linear(w, normal(50), activation="relu", backend=backend)
    expected = [layer(x) for x in inputs]
    copies = [y.copy() for y in expected]
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(fresh, inputs * 5))
    for y, wanted in zip(found, copies * 5, strict=True):
        np.testing.assert_array_equal(y, wanted)
    for y, wanted in zip(expected, copies, strict=True):
        np.testing.assert_array_equal(y, wanted)  # no result was written over


@BACKENDS
def test_weights_are_prepared_once_and_only_when_they_are_needed(backend: str) -> None:
    chosen = qcore.create("backend", backend)
    prepared = []

    @dataclass(frozen=True)
    class Counting(type(chosen)):  # type: ignore[misc]
        def prepare_weights(self, weights: qcore.AffineRows) -> qcore.PreparedWeights:
            prepared.append(weights)
            return super().prepare_weights(weights)

    layer = qcore.Linear(quantized(normal(3, 16), "symmetric", 8), backend=Counting())
    assert not prepared
    layer(normal(2, 16))
    assert not prepared
    for _ in range(3):
        layer(quantized(normal(2, 16), "symmetric", 8))
    assert len(prepared) == 1


# --- floats ---------------------------------------------------------------------------------------


def assert_float32_product(y: Any, a: Any, b: Any, bias: Any = 0.0) -> None:
    """Each sum of K products in float32, in any order, then float64 and one more rounding."""
    rows = a.astype(np.float64).reshape(-1, a.shape[-1])
    expected = rows @ b.T.astype(np.float64) + bias
    size = np.abs(rows) @ np.abs(b.T.astype(np.float64))
    room = (a.shape[-1] + 1) * 2.0**-24 * size + ulp(expected)
    assert y.dtype == np.float32
    assert (np.abs(y.reshape(expected.shape) - expected) <= room).all()


FLOAT_PATHS: list[tuple[Any, Any, str]] = [
    # weights, activations, why
    (
        ("pot", 8),
        ("symmetric", 8),
        "the levels of 'pot' at 8 bits span more than 16-bit integers",
    ),
    (
        ("symmetric", 8),
        ("pot", 6),
        "the levels of 'pot' at 6 bits span more than 16-bit integers",
    ),
    (
        ("apot:k=4:signed=false", 8),
        ("symmetric", 8),
        "the levels of 'apot:k=4:signed=false' at 8 bits span more than 16-bit integers",
    ),
    ((Signs(),), ("symmetric", 8), "'signs' is no grid"),
    (("symmetric", 8), (Signs(),), "'signs' is no grid"),
    (
        ("symmetric", 8, "channel:1"),
        ("symmetric", 8),
        "'channel:1' has a scale for every input",
    ),
    (
        ("symmetric", 8),
        ("symmetric", 8, "channel:1"),
        "'channel:1' has a scale for every input",
    ),
    (("uniform", 8, "group:4"), ("uniform", 8), "'group:4' has a scale for every 4 inputs"),
    (
        ("symmetric", 8, "group:16"),
        ("asymmetric", 8, "group:24"),
        "a scale for every 24 inputs meets one for every 16",
    ),
    (
        ("symmetric", 8, "block:2:24"),
        ("asymmetric", 8, "group:16"),
        "a scale for every 16 inputs meets one for every 24",
    ),
]


@BACKENDS
@pytest.mark.parametrize(("weights", "activations", "why"), FLOAT_PATHS)
def test_what_is_no_product_of_integers_says_so_and_is_float32s(
    backend: str, weights: Any, activations: Any, why: str
) -> None:
    w = qcore.quantize(normal(6, 48, seed=1), qcore.Recipe(*weights))
    x = qcore.quantize(normal(4, 48, seed=2), qcore.Recipe(*activations))
    layer = qcore.Linear(w, normal(6, seed=3), backend=backend)
    assert layer.path(x) == f"float32: {why}"
    assert_float32_product(layer(x), x.dequantize(), w.dequantize(), normal(6, seed=3))
    rectified = qcore.linear(x, w, normal(6, seed=3), "relu", backend=backend)
    np.testing.assert_array_equal(rectified, np.maximum(layer(x), 0))


@BACKENDS
@pytest.mark.parametrize(
    "dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.dtype(">f4")], ids=str
)
def test_floating_activations_meet_dequantized_weights(backend: str, dtype: Any) -> None:
    x = normal(3, 4, 32).astype(dtype)
    w = quantized(normal(5, 32, seed=1), "asymmetric", 8, granularity="group:8")
    layer = qcore.Linear(w, normal(5, seed=2), backend=backend)
    assert layer.path(x) == "float32: the activations are not quantized"
    for same in (x, np.asfortranarray(x), np.repeat(x, 2, axis=-1)[..., ::2]):
        y = layer(same)
        assert y.shape == (3, 4, 5)
        assert_float32_product(y, x.astype(np.float32), w.dequantize(), normal(5, seed=2))


@BACKENDS
@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(0, 3), max_size=3),
    st.integers(0, 20),
    st.integers(0, 4),
    st.booleans(),
)
def test_floating_activations_of_any_shape(
    backend: str, rows: list[int], depth: int, outputs: int, bias: bool
) -> None:
    x, w = normal(*rows, depth), quantized(normal(outputs, depth, seed=1), "pot", 8)
    added = normal(outputs, seed=2) if bias else None
    y = qcore.linear(x, w, added, backend=backend)
    assert y.shape == (*rows, outputs)
    if x.size:
        assert_float32_product(y, x, w.dequantize(), 0.0 if added is None else added)
    else:
        np.testing.assert_array_equal(y, np.broadcast_to(0 if added is None else added, y.shape))


# --- paths ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "activations", "path"),
    [
        (("symmetric", 8), ("symmetric", 8), "int8"),
        (("symmetric", 2), ("asymmetric", 3), "int8"),
        (("uniform", 8), ("asymmetric:signed=false", 8), "int8"),
        (("symmetric:signed=false", 8), ("symmetric:signed=false", 8), "int8"),
        (("apot", 6), ("symmetric", 8), "int8"),
        (("apot:k=1", 8), ("symmetric", 8), "int8"),
        (("apot:k=3", 4), ("symmetric", 8), "int8"),
        (("pot", 4), ("pot", 3), "int8"),
        (("apot", 7), ("symmetric", 8), "int8 × 2"),
        (("pot", 5), ("symmetric", 8), "int8 × 2"),
        (("symmetric", 9), ("symmetric", 8), "int8 × 2"),
        (("symmetric", 8), ("asymmetric", 16), "int8 × 2"),
        (("symmetric", 12), ("symmetric", 12), "int8 × 4"),
        (("apot", 8), ("uniform", 10), "int8 × 4"),
        (("symmetric", 8, "group:8"), ("symmetric", 8, "group:8"), "int8"),
        (("symmetric", 8, "block:2:8"), ("symmetric", 8, "group:8"), "int8"),
        (("symmetric", 8, "group:8"), ("symmetric", 8, "token"), "int8"),
        (("symmetric", 8, "tensor"), ("symmetric", 8, "group:8"), "int8"),
        (("symmetric", 8, "group:24"), ("symmetric", 8, "group:8"), "int8"),  # one group, of all
    ],
)
def test_paths_count_the_products_of_digits(
    weights: tuple[Any, ...], activations: tuple[Any, ...], path: str
) -> None:
    w = qcore.quantize(normal(6, 24), qcore.Recipe(*weights))
    x = qcore.quantize(normal(4, 24, seed=1), qcore.Recipe(*activations))
    layer = qcore.Linear(w)
    assert layer.path(x) == path
    assert_rounded_once(layer(x), *expected_of(x, w, None, False))


# --- output codes ---------------------------------------------------------------------------------

FUSED = [
    "symmetric observer=fixed:-1:1", "asymmetric observer=fixed:-2:1", "uniform observer=fixed:0:1",
    "asymmetric:signed=false bits=4 observer=fixed:-1:3", "apot bits=5 observer=fixed:-1:1",
    "pot bits=8 observer=fixed:-2:2", "symmetric bits=16 observer=fixed:-1:1 scale_format=pow2",
]  # fmt: skip
UNFUSED = [
    "symmetric", "asymmetric granularity=token", "uniform bits=4 observer=percentile:90",
    "symmetric observer=fixed:-1:1 granularity=token", "apot bits=4 granularity=channel:0",
]  # fmt: skip


def assert_same_tensor(found: Any, expected: qcore.QuantizedTensor) -> None:
    assert isinstance(found, qcore.QuantizedTensor)
    assert (found.shape, found.recipe, found.layout) == (
        expected.shape,
        expected.recipe,
        expected.layout,
    )
    np.testing.assert_array_equal(found.codes, expected.codes, strict=True)
    assert found.params.fields().keys() == expected.params.fields().keys()
    for name, rows in expected.params.fields().items():
        np.testing.assert_array_equal(found.params.fields()[name], rows, strict=True)
    np.testing.assert_array_equal(found.scale, expected.scale, strict=True)
    np.testing.assert_array_equal(found.dequantize(), expected.dequantize(), strict=True)
    assert (found.nbytes, found.stored_bits) == (expected.nbytes, expected.stored_bits)


OUTPUTS = [
    *itertools.product(FUSED, ROUNDINGS),
    *itertools.product(UNFUSED, ["half-even", "stochastic:3"]),  # is left to quantize
]


@functools.cache
def layer_of_forty() -> tuple[qcore.QuantizedTensor, list[Any]]:
    """A weight, and inputs: of integers, of levels and floating."""
    inputs = [
        quantized(normal(5, 3, 40, seed=1), "asymmetric", 8),
        quantized(normal(40, seed=1), "apot", 4),
        normal(4, 40, seed=2),
    ]
    return quantized(normal(7, 40, spread=0.1), "symmetric", 8, granularity="channel:0"), inputs


@pytest.mark.parametrize("backend", ["int8-blas", "reference"])
@pytest.mark.parametrize(
    ("output", "rounding", "rectified"),
    [(*output, number % 2 == 0) for number, output in enumerate(OUTPUTS)],
)
def test_an_output_recipe_gives_what_quantizing_the_output_gives(
    backend: str, output: str, rounding: str, rectified: bool
) -> None:
    recipe = qcore.Recipe.parse(f"{output} rounding={rounding}")
    w, inputs = layer_of_forty()
    for x in inputs:
        bias, activation = (normal(7), "relu") if rectified else (None, None)
        y = qcore.linear(x, w, bias, activation, backend=backend)
        if recipe.granularity == "channel:0" and y.ndim == 1:
            continue
        found = qcore.linear(x, w, bias, activation, recipe, backend=backend)
        assert_same_tensor(found, qcore.quantize(y, recipe, threads=1))
        rectified = not rectified


@pytest.mark.parametrize("output", [*FUSED, *UNFUSED])
def test_an_output_recipe_may_be_text(output: str) -> None:
    w, (x, *_) = layer_of_forty()
    found = qcore.linear(x, w, output=output)
    assert_same_tensor(found, qcore.linear(x, w, output=qcore.Recipe.parse(output)))


@examples(70)
@given(
    layers(),
    st.sampled_from(FUSED),
    st.sampled_from(ROUNDINGS),
    st.sampled_from(["int8-blas", "reference"]),
    st.integers(1, 30),
)
def test_an_output_recipe_is_applied_to_whole_outputs_however_they_are_cut(
    layer: tuple[Any, Any, Any, bool], output: str, rounding: str, backend: str, strip: int
) -> None:
    x, w, bias, relu = layer
    activation = "relu" if relu else None
    recipe = qcore.Recipe.parse(f"{output} rounding={rounding}")
    expected = qcore.quantize(qcore.linear(x, w, bias, activation, backend=backend), recipe)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "_STRIP_ELEMENTS", strip)
        patch.setattr(pieces, "_TILE_ELEMENTS", 2 * strip)
        found = qcore.linear(x, w, bias, activation, recipe, backend=backend)
    assert_same_tensor(found, expected)


def test_a_larger_output_is_quantized_as_one_tensor() -> None:
    """More than one strip, and by a policy that goes by position."""
    w = quantized(normal(300, 64, spread=0.1), "symmetric", 8)
    x = quantized(normal(500, 64, seed=1), "asymmetric", 8, granularity="token")
    recipe = "asymmetric bits=4 observer=fixed:-2:2 rounding=stochastic:3"
    found = qcore.linear(x, w, output=recipe)
    assert_same_tensor(found, qcore.quantize(qcore.linear(x, w), recipe))


@BACKENDS
@pytest.mark.parametrize("output", ["symmetric observer=fixed:-1:1", "symmetric"])
def test_an_output_beyond_float32_cannot_be_quantized(backend: str, output: str) -> None:
    """Whether it is quantized block by block or afterwards; as floats it is infinite."""
    w = quantized(np.full((2, 8), 3e38), "symmetric", 8)
    for x in (quantized([[3e38] * 8, [0] * 8], "symmetric", 8), np.float32([[3e38] * 8, [0] * 8])):
        assert qcore.linear(x, w, backend=backend).tolist() == [[np.inf] * 2, [0, 0]]
        with pytest.raises(qcore.NonFiniteError):
            qcore.linear(x, w, output=output, backend=backend)


def test_layers_follow_each_other_in_codes() -> None:
    x = quantized(normal(9, 32), "asymmetric", 8)
    first = qcore.Linear(
        quantized(normal(16, 32, seed=1), "symmetric", 8, granularity="channel:0"),
        activation="relu",
        output="asymmetric:signed=false bits=8 observer=fixed:0:30",
    )
    second = qcore.Linear(quantized(normal(4, 16, seed=2), "apot", 4), normal(4))
    between = first(x)
    assert isinstance(between, qcore.QuantizedTensor)
    assert between.codes.dtype == np.uint8
    assert second.path(between) == "int8"
    assert_rounded_once(second(between), *expected_of(between, second.weight, normal(4), False))


# --- worked examples ------------------------------------------------------------------------------


@BACKENDS
def test_a_layer_worked_by_hand(backend: str) -> None:
    x = qcore.quantize(
        np.float32([[1, -2], [0.5, 3]]),
        "asymmetric bits=8",
        params=QuantParams(np.float32([[0.5]]), np.int32([[10]])),
    )
    assert x.codes.tolist() == [[12, 6], [11, 16]]
    w = qcore.quantize(
        np.float32([[2, 4], [-6, 0], [1, 1]]),
        "symmetric bits=8 granularity=channel:0",
        params=QuantParams(np.float32([[2], [3], [0.25]])),
    )
    assert w.codes.tolist() == [[1, 2], [-2, 0], [4, 4]]
    bias = np.float32([0.125, 0, -1])
    layer = qcore.Linear(w, bias, backend=backend)
    assert layer.path(x) == "int8"
    assert layer(x).tolist() == [[-5.875, -6, -2], [13.125, -3, 2.5]]
    rectified = qcore.linear(x, w, bias, "relu", backend=backend)
    assert rectified.tolist() == [[0, 0, 0], [13.125, 0, 2.5]]
    codes = qcore.linear(x, w, bias, output="symmetric observer=fixed:-127:127", backend=backend)
    assert codes.codes.tolist() == [[-6, -6, -2], [13, -3, 2]]  # a tie, to even
    assert codes.scale.tolist() == [[1]]


def test_the_fastest_backend_is_the_default() -> None:
    layer = qcore.Linear(quantized(normal(2, 3), "symmetric", 8))
    assert layer.backend.id == "int8-blas"
    assert qcore.Linear(layer.weight, backend="numpy").backend.id == "numpy"
    chosen = qcore.create("backend", "reference")
    assert qcore.Linear(layer.weight, backend=chosen).backend is chosen


@BACKENDS
@pytest.mark.parametrize(
    ("x", "w"),
    [((0, 16), (3, 16)), ((2, 0, 16), (3, 16)), ((4, 16), (0, 16)), ((4, 0), (3, 0)),
     ((0, 0), (3, 0)), ((2, 0, 0), (0, 0)), ((16,), (1, 16)), ((1,), (1, 1))],
)  # fmt: skip
def test_empty_layers_have_their_shape(
    backend: str, x: tuple[int, ...], w: tuple[int, ...]
) -> None:
    bias = normal(w[0])
    group = "group:1" if x[-1] == 1 else "group:8"
    schemes, granularities = (
        ("symmetric", "asymmetric", "uniform"),
        ("tensor", "token", "channel:0"),
    )
    for scheme, granularity in itertools.product(schemes, (*granularities, group)):
        y = qcore.linear(
            quantized(normal(*x), scheme, 8, granularity=granularity),
            quantized(normal(*w), scheme, 8, granularity=granularity),
            bias,
            backend=backend,
        )
        assert y.shape == (*x[:-1], w[0])
        if not x[-1]:
            np.testing.assert_array_equal(y, np.broadcast_to(bias, y.shape))


@BACKENDS
def test_sums_longer_than_int32_holds_do_not_wrap(backend: str) -> None:
    depth = 2**17 + 5
    x = qcore.quantize(
        np.full((1, depth), -200, np.float32),
        "symmetric:full_range=true",
        params=QuantParams(np.float32([[1]])),
    )
    assert (x.codes == -128).all()
    assert qcore.linear(x, x, backend=backend).tolist() == [[np.float32(depth * 2.0**14)]]


@BACKENDS
@pytest.mark.parametrize(
    ("dtype", "bias", "sum"),
    [
        (np.float64, 1 + 2.0**-30, 2.0**-30),
        (np.float32, 1 + 2.0**-20, 2.0**-20),
        (np.float16, 1 + 2.0**-10, 2.0**-10),
        (ml_dtypes.bfloat16, 1 + 2.0**-7, 2.0**-7),
    ],
)
def test_a_bias_keeps_what_its_dtype_holds(
    backend: str, dtype: Any, bias: float, sum: float
) -> None:
    params = QuantParams(np.float32([[1]]))
    x = qcore.quantize(np.float32([[1]]), "symmetric", params=params)
    w = qcore.quantize(np.float32([[-1]]), "symmetric", params=params)
    for inputs in (x, np.float32([[1]])):  # as integers, and as floats
        assert qcore.linear(inputs, w, np.array([bias], dtype), backend=backend).tolist() == [[sum]]


# --- what is refused ------------------------------------------------------------------------------


def weight(*shape: int) -> qcore.QuantizedTensor:
    return quantized(normal(*shape), "symmetric", 8)


@pytest.mark.parametrize("shape", [(16,), (2, 3, 16), ()])
def test_a_weight_is_a_matrix(shape: tuple[int, ...]) -> None:
    with pytest.raises(qcore.ShapeError) as caught:
        qcore.Linear(weight(*shape))
    assert str(caught.value) == f"weight has shape {shape}; a linear layer's is (out, in)"


@pytest.mark.parametrize("shape", [(2, 15), (16, 2), (0,), ()])
@pytest.mark.parametrize("quantize", [False, True])
def test_the_last_axis_of_the_input_is_that_of_the_weight(
    shape: tuple[int, ...], quantize: bool
) -> None:
    x: Any = np.zeros(shape, np.float32)
    with pytest.raises(qcore.ShapeError) as caught:
        qcore.linear(quantized(x, "symmetric", 8) if quantize else x, weight(4, 16))
    assert str(caught.value) == f"x has shape {shape}, the weight (4, 16); x is (…, K)"


@pytest.mark.parametrize("shape", [(3,), (4, 1), (1,), (), (16,)])
def test_a_bias_has_one_entry_an_output(shape: tuple[int, ...]) -> None:
    with pytest.raises(qcore.ShapeError) as caught:
        qcore.Linear(weight(4, 16), np.zeros(shape, np.float32))
    expected = f"bias has shape {shape}, the weight (4, 16); the bias has one entry an output"
    assert str(caught.value) == expected


@pytest.mark.parametrize("dtype", [np.int32, bool, np.complex64])
def test_a_bias_is_floating(dtype: Any) -> None:
    with pytest.raises(qcore.DtypeError) as caught:
        qcore.Linear(weight(4, 16), np.zeros(4, dtype))
    expected = f"'bias' holds {np.dtype(dtype).name}; a layer takes floating numbers"
    assert str(caught.value) == expected


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_bias_is_finite(value: float) -> None:
    with pytest.raises(qcore.UsageError, match=r"^bias holds 2 of 4 values that are not finite$"):
        qcore.Linear(weight(4, 16), np.float32([0, value, 0, value]))


@pytest.mark.parametrize("dtype", [np.int8, bool, np.complex64])
def test_an_input_that_is_not_quantized_is_floating(dtype: Any) -> None:
    with pytest.raises(qcore.DtypeError) as caught:
        qcore.linear(np.zeros((2, 16), dtype), weight(4, 16))
    expected = f"'x' holds {np.dtype(dtype).name}; a layer takes floating numbers"
    assert str(caught.value) == expected


def test_a_weight_is_quantized() -> None:
    with pytest.raises(qcore.UsageError) as caught:
        qcore.Linear(normal(4, 16))  # type: ignore[arg-type]
    assert str(caught.value) == "weight is ndarray; quantize it first, with qcore.quantize"


@BACKENDS
def test_lists_are_arrays(backend: str) -> None:
    w = weight(2, 3)
    x, bias = [[1.0, 2.0, 3.0]], [0.5, -0.5]
    found = qcore.linear(x, w, bias, backend=backend)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, qcore.linear(np.array(x), w, np.array(bias)))


@pytest.mark.parametrize("name", ["gelu", "ReLU", ""])
def test_relu_is_the_only_activation(name: Any) -> None:
    with pytest.raises(qcore.UsageError) as caught:
        qcore.Linear(weight(4, 16), activation=name)
    assert str(caught.value) == f"activation '{name}' is not known; it is 'relu' or None"


def test_an_unknown_backend_is_named() -> None:
    with pytest.raises(qcore.UnknownIdError) as caught:
        qcore.Linear(weight(4, 16), backend="int8-blast")
    assert str(caught.value).startswith("unknown backend 'int8-blast', did you mean 'int8-blas'?")


def test_an_output_that_cannot_be_quantized_is_refused() -> None:
    with pytest.raises(qcore.SpecError):
        qcore.Linear(weight(4, 16), output="symmetric observer=fixed:1")
    layer = qcore.Linear(weight(4, 16), output="symmetric granularity=group:3")
    with pytest.raises(qcore.ShapeError, match="3 does not divide axis 1 of shape"):
        layer(quantized(normal(2, 16), "symmetric", 8))

"""The integers behind a quantized tensor, its scales and constants are its values, exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import qcore
from qcore import FitContext, GridQuantizer, IntegerGrid, LevelGrid, Quantizer, QuantParams
from qcore.integer_form import affine_rows, digit_count, obstacle

Floats = NDArray[np.float32]

WIDTHS = {
    # scheme: the widths whose units fit one digit of 8 bits, and those that need two
    "symmetric": (range(2, 9), range(9, 17)),
    "symmetric:full_range=true": (range(2, 9), range(9, 17)),
    "symmetric:signed=false": (range(2, 9), range(9, 17)),
    "asymmetric": (range(2, 9), range(9, 17)),
    "asymmetric:signed=false": (range(2, 9), range(9, 17)),
    "asymmetric:include_zero=false": (range(2, 9), range(9, 17)),
    "uniform": (range(2, 9), range(9, 17)),
    "uniform:offset=none": (range(2, 9), range(9, 17)),
    "apot:k=1": (range(2, 9), ()),
    "apot:k=1:signed=false": (range(2, 9), ()),
    "apot": (range(2, 7), (7, 8)),
    "apot:signed=false": (range(2, 6), (6, 7, 8)),
    "apot:k=3": ((2, 3, 4), (7,)),
    "apot:k=3:signed=false": ((2, 3), (6,)),
    "pot": ((2, 3, 4), (5,)),
    "pot:domain=linear": ((2, 3, 4), (5,)),
    "pot:signed=false": ((2, 3), (4,)),
}
"""Facts, part 4, and the like of it for the other schemes. Widths that are not here have none."""

CASES = [
    (scheme, bits, digits)
    for scheme, widths in WIDTHS.items()
    for digits, some in enumerate(widths, 1)
    for bits in some
]
NONE = [
    *(("pot", bits) for bits in (6, 7, 8)),
    *(("pot:signed=false", bits) for bits in (5, 6, 7, 8)),
    ("apot:k=8", 6),
    ("apot:k=8", 8),
    ("apot:k=4:signed=false", 8),
]


@dataclass(frozen=True)
class Levels(GridQuantizer):
    """A third party's grid."""

    id: ClassVar[str] = "levels"
    bits: ClassVar[int] = 8
    own: qcore.Grid

    @property
    def grid(self) -> qcore.Grid:
        return self.own

    def params(self, context: FitContext) -> QuantParams:
        largest = context.largest(signed=True) / np.float32(self.grid.largest)
        return QuantParams(context.snap(np.where(largest > 0, largest, np.float32(1))))


@dataclass(frozen=True)
class Signs(Quantizer):
    """A third party's scheme that is no grid."""

    id: ClassVar[str] = "signs"
    bits: ClassVar[int] = 2

    def fit(self, blocks: Floats, context: FitContext) -> QuantParams:
        return QuantParams(context.snap(np.abs(blocks).mean(axis=1, keepdims=True) + 1))

    def encode(self, blocks: Floats, params: QuantParams, rounding: qcore.RoundingPolicy) -> Any:
        return np.sign(blocks).astype(np.int8)

    def decode(self, codes: NDArray[Any], params: QuantParams) -> Floats:
        return (codes * params.scale).astype(np.float32)


@dataclass(frozen=True)
class Cubes(Levels):
    """A grid whose codes mean something else than its levels."""

    id: ClassVar[str] = "cubes"

    def decode(self, codes: NDArray[Any], params: QuantParams) -> Floats:
        return super().decode(codes, params) ** 3


@dataclass(frozen=True)
class WithMore(GridQuantizer):
    """A grid whose blocks store more than a scale."""

    id: ClassVar[str] = "with-more"
    bits: ClassVar[int] = 8

    @property
    def grid(self) -> IntegerGrid:
        return IntegerGrid(-127, 127)

    def params(self, context: FitContext) -> QuantParams:
        scale = context.snap(np.maximum(context.largest(signed=True) / np.float32(127), 1e-6))
        return QuantParams(scale, extra={"mean": np.zeros_like(scale)})


def repeated(tensor: qcore.QuantizedTensor, rows: Any) -> NDArray[np.float64]:
    """A field of the params, one entry an element."""
    entries = np.asarray(rows, np.float64).reshape(tensor.layout.grid)
    for axis, (extent, tile) in enumerate(
        zip(tensor.layout.shape, tensor.layout.tile, strict=True)
    ):
        entries = entries.repeat(tile, axis=axis)
        entries = entries[(*(slice(None),) * axis, slice(extent))]
    return entries.reshape(tensor.shape)


def exact_values(tensor: qcore.QuantizedTensor) -> NDArray[np.float64]:
    """(unit − zero point) · scale + offset, as the grid decodes it, in float64."""
    quantizer, params = tensor.recipe.parts.quantizer, tensor.params
    assert isinstance(quantizer, GridQuantizer)
    z = None if params.zero_point is None else repeated(tensor, params.zero_point)
    units = quantizer.grid.decode(tensor.codes, z)
    values: NDArray[np.float64] = units * repeated(tensor, params.scale)
    return values if params.offset is None else values + repeated(tensor, params.offset)


def integers(rows: qcore.AffineRows) -> NDArray[np.int64]:
    """Σ 256^j · digit, (R, K)."""
    digits = [d.astype(np.int64) << (8 * j) for j, d in enumerate(rows.digits)]
    return np.sum(digits, axis=0)


def affine_values(rows: qcore.AffineRows) -> NDArray[np.float64]:
    """scale · u + constant, element by element."""
    u = integers(rows)
    group_of = np.arange(rows.shape[1]) // rows.group
    values: NDArray[np.float64] = rows.scale[:, group_of] * u
    return values if rows.constant is None else values + rows.constant[:, group_of]


GRANULARITIES = [
    "tensor", "token", "channel:0", "channel:0:groups=1", "group:8:tail=short",
    "group:13:tail=short", "group:8:0:tail=short", "block:2:8:tail=short", "channel:1",
]  # fmt: skip


@st.composite
def tensors(draw: st.DrawFn) -> tuple[Floats, str]:
    """Values off centre, in one to four axes, and a granularity that an integer product takes."""
    axes = draw(st.integers(1, 4))
    outer = draw(st.lists(st.integers(0, 4), min_size=axes - 1, max_size=axes - 1))
    shape = (*outer, draw(st.sampled_from([0, 1, 3, 7, 8, 13, 16, 21])))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    spread, centre = draw(st.sampled_from([(1, 0), (1, 0.3), (1e-3, -2), (7, 500), (0, 0)]))
    names = [g for g in GRANULARITIES if axes > 1 or g in ("tensor", "token", "group:8:tail=short")]
    x = random.normal(centre, spread, shape).astype(np.float32)
    return x, draw(st.sampled_from(names))


# --- laws -----------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=70)
@given(tensors(), st.sampled_from(CASES), st.sampled_from(["float32", "float16", "pow2"]))
def test_integers_scales_and_constants_are_the_values(
    tensor: tuple[Floats, str], case: tuple[str, int, int], scale_format: str
) -> None:
    (x, granularity), (scheme, bits, digits) = tensor, case
    try:
        q = qcore.quantize(x, qcore.Recipe(scheme, bits, granularity, scale_format=scale_format))
    except qcore.RangeError:  # the zero point of a block far from zero
        reject()
    if obstacle(q) is not None:
        assert q.layout.tile[-1] < min(x.shape[-1], 8)
        return
    rows = affine_rows(q)
    assert rows.shape == (int(np.prod(x.shape[:-1])), x.shape[-1])
    assert len(rows.digits) == digits
    for digit in rows.digits:
        assert digit.dtype in (np.int8, np.uint8)
        assert digit.shape == rows.shape
    # Every product has fewer than 53 bits; where there is an offset, one rounding to float64.
    np.testing.assert_array_equal(affine_values(rows), exact_values(q).reshape(rows.shape))
    if q.params.offset is None:
        values = affine_values(rows).astype(np.float32).reshape(x.shape)
        np.testing.assert_array_equal(values, q.dequantize())


@settings(deadline=None, max_examples=50)
@given(tensors(), st.sampled_from(["symmetric", "asymmetric", "uniform", "apot"]))
def test_one_row_of_scales_stands_for_all_rows_or_there_is_one_a_row(
    tensor: tuple[Floats, str], scheme: str
) -> None:
    x, granularity = tensor
    q = qcore.quantize(x, qcore.Recipe(scheme, 4, granularity))
    if obstacle(q) is None:
        rows = affine_rows(q)
        for per_group in (rows.scale, rows.constant):
            if per_group is not None:
                assert per_group.dtype == np.float64
                assert per_group.shape[0] in (1, rows.shape[0])
                assert per_group.shape[1] == len(rows.spans)
        indices = np.arange(rows.shape[1])
        covered = np.concatenate([indices[:0], *(indices[span] for span in rows.spans)])
        np.testing.assert_array_equal(covered, indices)
        assert all(span.stop - span.start == rows.group for span in rows.spans[:-1])


@pytest.mark.parametrize(("scheme", "bits", "digits"), CASES)
def test_every_code_becomes_its_own_integer(scheme: str, bits: int, digits: int) -> None:
    quantizer = qcore.create("scheme", scheme, bits=bits)
    low, high = quantizer.code_range
    codes = np.arange(low, high + 1, dtype=quantizer.code_dtype)[None, :]
    params = QuantParams(np.ones((1, 1), np.float32))
    q = qcore.quantize(np.zeros(codes.shape, np.float32), qcore.Recipe(scheme, bits), params=params)
    rows = affine_rows(qcore.QuantizedTensor(codes, q.params, q.recipe, q.layout))
    assert len(rows.digits) == digit_count(quantizer.grid) == digits
    np.testing.assert_array_equal(integers(rows)[0] * quantizer.grid.step, quantizer.grid.units)
    assert rows.scale.tolist() == [[quantizer.grid.step]]


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.integers(-(2**17), 2**17), min_size=2, max_size=30, unique=True).map(sorted),
    st.integers(-12, 12),
)
def test_any_levels_with_a_step_in_common_within_16_bits_are_integers(
    levels: list[int], power: int
) -> None:
    grid = LevelGrid(np.ldexp(np.array(levels, np.float64), power))
    common = int(np.gcd.reduce(levels))
    assert grid.step == np.ldexp(float(common), power)
    whole = [level // common for level in levels]
    fits16 = whole[0] >= -(2**15) and whole[-1] < 2 ** (15 if whole[0] < 0 else 16)
    fits8 = whole[0] >= -128 and whole[-1] < 2 ** (7 if whole[0] < 0 else 8)
    assert digit_count(grid) == ((1 if fits8 else 2) if fits16 else None)
    multiples = grid.multiples()
    assert (multiples is not None) == fits16
    if multiples is not None:
        assert multiples.tolist() == whole
        assert (grid.as_int8() is None) == (whole[0] < -128 or whole[-1] > 127)


# --- the table of grids ---------------------------------------------------------------------------


@pytest.mark.parametrize(("scheme", "bits", "digits"), CASES)
def test_these_widths_are_integers_of_one_digit_or_two(scheme: str, bits: int, digits: int) -> None:
    grid = qcore.create("scheme", scheme, bits=bits).grid
    assert digit_count(grid) == digits
    whole = grid.multiples()
    assert whole is not None
    np.testing.assert_array_equal(whole * grid.step, grid.units)
    assert np.gcd.reduce(whole) == 1


@pytest.mark.parametrize(("scheme", "bits"), NONE)
def test_these_widths_have_no_step_in_common(scheme: str, bits: int) -> None:
    grid = qcore.create("scheme", scheme, bits=bits).grid
    assert digit_count(grid) is None
    assert grid.multiples() is None
    assert grid.as_int8() is None


@pytest.mark.parametrize(
    ("scheme", "bits", "step"),
    [
        ("pot", 2, 1),
        ("pot", 3, 2.0**-2),
        ("pot", 4, 2.0**-6),
        ("pot", 5, 2.0**-14),
        ("pot:signed=false", 3, 2.0**-6),
        ("apot", 5, 1),
        ("apot:k=3", 4, 1),
        ("symmetric", 8, 1),
    ],
)
def test_steps_are_these(scheme: str, bits: int, step: float) -> None:
    assert qcore.create("scheme", scheme, bits=bits).grid.step == step


@pytest.mark.parametrize(
    ("grid", "digits"),
    [
        (IntegerGrid(-128, 127), 1),
        (IntegerGrid(0, 255), 1),
        (IntegerGrid(0, 256), 2),
        (IntegerGrid(-129, 0), 2),
        (IntegerGrid(-1, 128), 2),
        (IntegerGrid(-32768, 32767), 2),
        (IntegerGrid(0, 65535), 2),
        (IntegerGrid(0, 65536), None),
        (IntegerGrid(-1, 32768), None),
        (IntegerGrid(-32769, 0), None),
        (IntegerGrid(5, 9), 1),
        (IntegerGrid(-9, -5), 1),
        (IntegerGrid(200, 300), 2),
        (LevelGrid([-0.75, -0.25, 0, 0.5]), 1),
        (LevelGrid([0, 100.5]), 1),  # 0 and 1 times the step
        (LevelGrid([0.1, 0.2]), 1),
        (LevelGrid([0.1, 0.3]), None),  # 0.3 is not three times 0.1 in float64
        (LevelGrid([0, 2.0**-1074, 1]), None),
        (LevelGrid([0, 2.0**-1074, 2.0**1000]), None),  # the quotient is no float64
    ],
)
def test_third_parties_grids_need_these_digits(grid: qcore.Grid, digits: int | None) -> None:
    assert digit_count(grid) == digits
    if digits is None:
        return
    codes = np.arange(grid.code_range[0], grid.code_range[1] + 1, dtype=grid.code_dtype)[None, :]
    recipe = qcore.Recipe(Levels(grid))
    q = qcore.quantize(
        np.zeros(codes.shape, np.float32), recipe, params=QuantParams(np.float32([[0.5]]))
    )
    rows = affine_rows(qcore.QuantizedTensor(codes, q.params, q.recipe, q.layout))
    np.testing.assert_array_equal(affine_values(rows)[0], grid.units * 0.5)


# --- worked examples ------------------------------------------------------------------------------


def test_a_row_worked_by_hand() -> None:
    params = QuantParams(np.float32([[0.5], [2]]), np.int32([[-16], [3]]))
    x = np.float32([[0, 8.5, -1], [0, 8, -200]])
    q = qcore.quantize(x, "asymmetric bits=8 granularity=token", params=params)
    rows = affine_rows(q)
    assert [digit.tolist() for digit in rows.digits] == [[[-16, 1, -18], [3, 7, -97]]]
    assert rows.digits[0].dtype == np.int8
    assert rows.scale.tolist() == [[0.5], [2]]
    assert rows.constant is not None
    assert rows.constant.tolist() == [[8], [-6]]
    assert rows.group == 3


def test_a_wide_code_is_two_digits_the_lowest_first() -> None:
    params = QuantParams(np.float32([[1]]))
    q = qcore.quantize(np.float32([[-32767, -1, 0, 255, 256]]), "symmetric bits=16", params=params)
    low, high = affine_rows(q).digits
    assert (low.dtype, high.dtype) == (np.uint8, np.int8)
    assert low.tolist() == [[1, 255, 0, 255, 0]]
    assert high.tolist() == [[-128, -1, 0, 0, 1]]


def test_zero_points_that_are_all_zero_add_nothing() -> None:
    params = QuantParams(np.float32([[1]]), np.int32([[0]]))
    q = qcore.quantize(np.float32([[1, 2]]), "asymmetric bits=8", params=params)
    assert affine_rows(q).constant is None


@pytest.mark.parametrize(
    ("shape", "granularity", "scales"),
    [
        ((2, 3, 16), "tensor", (1, 1)),
        ((2, 3, 16), "token", (6, 1)),
        ((2, 3, 16), "channel:0", (6, 1)),
        ((2, 3, 16), "channel:1", (6, 1)),
        ((2, 3, 16), "group:8", (6, 2)),
        ((2, 3, 20), "group:8:tail=short", (6, 3)),
        ((4, 32), "block:2:16", (4, 2)),
        ((5, 32), "block:2:16:tail=short", (5, 2)),
        ((16,), "group:8", (1, 2)),
        ((1, 16), "token", (1, 1)),
    ],
)
def test_scales_are_laid_out_as_rows_and_groups(
    shape: tuple[int, ...], granularity: str, scales: tuple[int, int]
) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    q = qcore.quantize(x, qcore.Recipe("asymmetric", 8, granularity))
    rows = affine_rows(q)
    assert rows.scale.shape == scales
    np.testing.assert_array_equal(affine_values(rows), exact_values(q).reshape(rows.shape))


# --- what is no matrix of integers ----------------------------------------------------------------

X = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)


@pytest.mark.parametrize(
    ("recipe", "why"),
    [
        (qcore.Recipe("pot", 8), "the levels of 'pot' at 8 bits span more than 16-bit integers"),
        (
            qcore.Recipe("apot:k=8", 6),
            "the levels of 'apot:k=8' at 6 bits span more than 16-bit integers",
        ),
        (qcore.Recipe(Signs()), "'signs' is no grid"),
        (
            qcore.Recipe(WithMore()),
            "'with-more' stores more than scale, zero point and offset",
        ),
        (qcore.Recipe(Cubes(LevelGrid([-1, 0, 1]))), "'cubes' decodes in its own way"),
        (qcore.Recipe("symmetric", 8, "channel:1"), "'channel:1' has a scale for every input"),
        (qcore.Recipe("symmetric", 8, "group:4"), "'group:4' has a scale for every 4 inputs"),
        (qcore.Recipe("symmetric", 8, "group:4:0"), "'group:4:0' has a scale for every input"),
    ],
    ids=str,
)
def test_why_a_tensor_cannot_be_multiplied_as_integers(recipe: qcore.Recipe, why: str) -> None:
    q = qcore.quantize(X, recipe)
    assert obstacle(q) == why
    with pytest.raises(qcore.UsageError) as caught:
        affine_rows(q)
    assert str(caught.value) == f"no integer product: {why}"


def test_a_zero_point_is_a_whole_number_of_steps() -> None:
    """On a grid of integers; between the levels of another it has no meaning."""
    params = QuantParams(np.float32([[1]]), np.int32([[3]]))
    recipe = qcore.Recipe(Levels(LevelGrid([-0.75, 0, 0.5])))
    made = qcore.quantize(X, recipe)
    q = qcore.QuantizedTensor(made.codes, params, recipe, made.layout)
    assert obstacle(q) == "'levels' has a zero point between its levels"


@pytest.mark.parametrize("depth", [0, 1, 4, 7])
def test_groups_may_be_short_where_the_inputs_are_as_few(depth: int) -> None:
    x = X[:, :depth]
    assert obstacle(qcore.quantize(x, f"symmetric bits=8 granularity=group:{depth or 1}")) is None

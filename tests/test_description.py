"""What is told of a scheme is what its grid, its codes and its params are."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

import qcore
from qcore.description import GRANULARITIES, Description, names
from qcore.interfaces.rounding import RoundingPolicy
from qcore.level_table import SIGMAS, LevelTable
from qcore.testing.stand_ins import Levels, Signs, Steps

SCHEMES = [
    "uniform bits=4",
    "uniform:offset=none bits=3",
    "symmetric bits=8",
    "symmetric:signed=false bits=4",
    "asymmetric bits=4",
    "asymmetric:signed=false:include_zero=false bits=4",
    "pot bits=4",
    "pot:domain=linear:signed=false bits=4",
    "apot bits=4",
    "apot:signed=false bits=6",
]


def described(recipe: str) -> tuple[Description, LevelTable]:
    description = Description.of(qcore.Recipe.parse(recipe))
    assert description.levels is not None
    return description, description.levels


@pytest.mark.parametrize("rounding", ["half-even", "floor", "ceil", "toward-zero"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_code_stands_for_all_between_its_threshold_and_the_last(
    scheme: str, rounding: str
) -> None:
    recipe = qcore.Recipe.parse(f"{scheme} rounding={rounding}")
    description, table = described(str(recipe))
    ends = np.concatenate([[table.lo], table.thresholds, [table.hi]])
    inside = ends[:-1] + np.array([[0.01], [0.5], [0.99]]) * np.diff(ends)
    x = inside.astype(np.float32)
    x = x[:, (table.lo <= inside[0]) & (np.diff(ends) > 1e-6)]
    codes = table.codes[(table.lo <= inside[0]) & (np.diff(ends) > 1e-6)]
    q = qcore.quantize(x, recipe, params=table.stairs.params)
    np.testing.assert_array_equal(q.codes, np.tile(codes, (3, 1)))
    np.testing.assert_array_equal(
        q.dequantize()[0], table.values[np.searchsorted(table.codes, codes)]
    )
    assert description.rows()[0]["rounding"] == rounding


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_stored_form_is_what_is_packed(scheme: str) -> None:
    description, table = described(scheme)
    quantizer = description.recipe.parts.quantizer
    bits = quantizer.code_bits
    packed = qcore.pack(table.codes.astype(quantizer.code_dtype), bits)
    stream = np.unpackbits(packed, bitorder="little")[: table.codes.size * bits]
    in_file = ["".join(map(str, code[::-1])) for code in stream.reshape(-1, bits)]
    assert [row["stored"] for row in description.rows()] == in_file


@pytest.mark.parametrize("scheme", [*SCHEMES, "uniform bits=16"])
def test_bits_per_weight_are_those_of_a_quantized_tensor(scheme: str) -> None:
    recipe = qcore.Recipe.parse(scheme)
    description = Description.of(recipe)
    matrix = np.random.default_rng(0).standard_normal((2, 4096)).astype(np.float32)
    for granularity in GRANULARITIES[1:]:  # these cost the same in a part of the matrix
        q = qcore.quantize(matrix, qcore.Recipe.parse(f"{scheme} granularity={granularity}"))
        assert q.bits_per_weight == description.bits_per_weight[granularity]
    whole = qcore.quantize(matrix, recipe)
    params = whole.stored_bits - matrix.size * recipe.parts.quantizer.code_bits
    cost = recipe.parts.quantizer.code_bits + params / 4096**2
    assert description.bits_per_weight["tensor"] == cost
    assert sum(description.block_bits.values()) == params


def test_a_range_has_no_negative_part_where_the_scheme_has_none() -> None:
    ends = {s: (t.lo, t.hi) for s in SCHEMES for t in [described(s)[1]]}
    unsigned = {"symmetric:signed=false bits=4", "apot:signed=false bits=6"}
    unsigned |= {"pot:domain=linear:signed=false bits=4"}
    assert ends == {s: (0.0 if s in unsigned else -1.0, 1.0) for s in SCHEMES}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_entropy_is_that_of_the_codes_of_normal_values(scheme: str) -> None:
    _, table = described(scheme)
    shares = np.diff(stats.norm.cdf(table.stairs.edges * SIGMAS))
    assert table.entropy == pytest.approx(stats.entropy(shares, base=2), rel=1e-9)
    x = stats.norm.ppf((np.arange(1 << 16) + 0.5) / (1 << 16)) / SIGMAS
    recipe = qcore.Recipe.parse(scheme)
    q = qcore.quantize(x.astype(np.float32), recipe, params=table.stairs.params)
    counts = np.unique(q.codes, return_counts=True)[1]
    assert table.entropy == pytest.approx(stats.entropy(counts, base=2), abs=1e-3)


def test_256_normal_values_span_the_range() -> None:
    largest = np.linspace(0, 9, 20001)
    mean = np.trapezoid(1 - (2 * stats.norm.cdf(largest) - 1) ** 256, largest)
    assert mean == pytest.approx(3.04, abs=0.005)
    assert abs(mean - SIGMAS) < 0.05


def test_shares_of_levels_are_counted_on_the_range() -> None:
    _, uniform = described("uniform bits=4")
    assert [uniform.share_within(s) for s in (1, 2, 3)] == [6 / 16, 10 / 16, 1]
    _, pot = described("pot bits=4")
    assert [pot.share_within(s) for s in (1, 2, 3)] == [11 / 15, 13 / 15, 1]


def test_what_only_a_range_tells() -> None:
    _, asymmetric = described("asymmetric bits=4")
    step = asymmetric.stairs.params.scale.item()
    assert not asymmetric.values_are_levels
    assert asymmetric.smallest == pytest.approx(step)
    assert asymmetric.largest_gap == pytest.approx(step)
    _, apot = described("apot bits=4")
    assert apot.values_are_levels
    assert (apot.smallest, apot.largest_gap) == (pytest.approx(0.1), pytest.approx(0.2))
    assert (apot.step_ratio, apot.fits_int8) == (2, True)
    assert not described("apot bits=7")[1].fits_int8


def test_levels_that_underflow_are_told_as_they_decode() -> None:
    _, table = described("pot:signed=false bits=8")
    assert not table.values_are_levels
    assert table.smallest == 2.0**-149
    assert (table.values[1:100] == 0).all()


# --- equations ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "k"), [(4, 2), (5, 2), (7, 2), (8, 2), (7, 3), (5, 1)])
def test_the_sums_in_apots_equation_are_its_units(bits: int, k: int) -> None:
    scheme = qcore.create("scheme", f"apot:k={k}", bits=bits)
    sets = re.findall(r"∈ \{([^}]*)\}", scheme.formula)
    largest = float(scheme.formula.rpartition("/ ")[2])
    assert largest == scheme.grid.largest == sum(max(map(float, s.split(", ")[-1:])) for s in sets)
    if "…" not in scheme.formula:
        terms = [[float(number) for number in s.split(",")] for s in sets]
        sums = sorted(map(sum, itertools.product(*terms)))
        assert sums == scheme.grid.units[scheme.grid.units >= 0].tolist()


def test_pots_equation_names_its_smallest_level() -> None:
    for scheme, last in [("pot", 6), ("pot:signed=false", 14)]:
        made = qcore.create("scheme", scheme, bits=4)
        assert f"i = 0 … {last}, " in made.formula
        assert made.grid.units[made.grid.units > 0].min() == 2.0**-last


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_scale_in_an_equation_is_the_scale(scheme: str) -> None:
    description, table = described(scheme)
    formula = description.formula.replace("max(hi, 0)", "largest").replace("max|x|", "largest")
    clause = re.search(r"scale = (.*?)(,| with|$)", formula)
    assert clause is not None
    text = clause.group(1).replace("−", "-")
    lo, hi = table.lo, table.hi
    expected = eval(text, {"lo": lo, "hi": hi, "largest": max(-lo, hi)})
    assert table.stairs.params.scale.item() == pytest.approx(expected, rel=1e-6)


def test_a_grid_has_an_equation_without_giving_one() -> None:
    assert Steps(4).formula == "x̂ = scale · code"
    assert Steps(4, zero_point=True).formula == "x̂ = scale · (code − zero point)"
    assert Steps(4, offset=True).formula == "x̂ = scale · code + offset"
    assert Levels().formula == "x̂ = scale · unit"
    assert Signs().formula == ""


# --- third parties --------------------------------------------------------------------------------


def test_a_third_partys_grid_has_all_of_it() -> None:
    recipe = qcore.Recipe(Levels())  # type: ignore[arg-type]
    description = Description.of(recipe)
    told = json.loads(json.dumps(description.to_dict(), allow_nan=False))
    assert told["grid"]["units"] == list(Levels().grid.values)
    assert told["grid"]["codes"] == list(range(-7, 8))
    assert told["grid"]["thresholds"] == pytest.approx(
        [(a + b) / 18 for a, b in itertools.pairwise(Levels().grid.values)]
    )
    assert told["bits_per_weight"]["group:32"] == 5


def test_of_a_scheme_that_is_no_grid_the_rest_is_told() -> None:
    description = Description.of(qcore.Recipe(Signs()))  # type: ignore[arg-type]
    assert description.levels is None
    assert description.rows() == []
    told = description.to_dict()
    assert (told["grid"], told["formula"], told["code_range"]) == (None, None, [-2, 1])
    assert told["bits_per_weight"]["group:32"] == 3


@dataclass(frozen=True)
class Table(Signs):
    """Stores a table of four a block, as a code book does."""

    id: ClassVar[str] = "table"

    def fit(self, blocks: NDArray[np.float32], context: qcore.FitContext) -> qcore.QuantParams:
        params = super().fit(blocks, context)
        table = np.zeros((len(blocks), 4), np.float32)
        return qcore.QuantParams(params.scale, extra={"table": table})


def test_what_a_block_stores_beside_its_scale_counts() -> None:
    description = Description.of(qcore.Recipe(Table()))  # type: ignore[arg-type]
    assert description.block_bits == {"scale": 32, "table": 128}
    assert description.bits_per_weight["group:32"] == 2 + 160 / 32


@dataclass(frozen=True)
class Broken(Steps):
    """Fails as it is fitted."""

    id: ClassVar[str] = "broken"

    def params(self, context: Any) -> Any:
        raise KeyError("no such thing")


def test_a_scheme_that_fails_is_named() -> None:
    with pytest.raises(qcore.SchemeError, match="'broken bits=4' failed: KeyError"):
        Description.of(qcore.Recipe(Broken(4)))  # type: ignore[arg-type]


def test_where_rounding_takes_one_x_to_several_there_are_no_thresholds() -> None:
    with pytest.raises(qcore.UsageError, match="choose one that does not"):
        Description.of(qcore.Recipe("pot", 4, rounding="stochastic:1"))


def test_names_tell_recipes_apart_and_say_no_more() -> None:
    def of(*recipes: str) -> list[str]:
        return names([qcore.Recipe.parse(recipe) for recipe in recipes])

    assert of("pot bits=4", "apot:k=3 bits=4") == ["pot", "apot:k=3"]
    assert of("pot bits=4", "pot bits=2") == ["pot 4 bits", "pot 2 bits"]
    assert of("pot bits=4", "pot bits=4 rounding=floor") == ["pot half-even", "pot floor"]


@dataclass(frozen=True)
class Away(RoundingPolicy):
    """Away from zero: nothing but zero itself becomes zero."""

    id: ClassVar[str] = "away"

    def goes_up(self, gap: qcore.Gap) -> NDArray[np.bool_]:
        return np.asarray(gap.x > 0)


def test_a_code_that_has_but_a_point_lies_between_two_equal_thresholds() -> None:
    recipe = qcore.Recipe("symmetric", 3, rounding=Away())  # type: ignore[arg-type]
    table = Description.of(recipe).levels
    assert table is not None
    assert table.thresholds == pytest.approx(np.array([-2, -1, 0, 0, 1, 2]) / 3, abs=1e-7)

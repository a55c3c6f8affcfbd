"""A recipe is one point in the product of the axes, and its text is the whole of it."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import qcore
from qcore import FitContext, Quantizer, QuantParams, Recipe, RoundingPolicy, SpecError, UsageError
from qcore import recipe as recipe_module
from qcore.loading import Plugins, plugins
from qcore.recipe import fixed_width, recipe_product


@dataclass(frozen=True)
class Ternary(Quantizer):
    """The tutorial's scheme: x ≈ scale · code, code in {−1, 0, +1}."""

    id: ClassVar[str] = "ternary"
    bits: ClassVar[int] = 2  # type: ignore[assignment]
    _: KW_ONLY
    zeros: float = 0.0

    def fit(self, blocks: NDArray[np.float32], context: FitContext) -> QuantParams:
        scale = np.abs(blocks).mean(axis=1, keepdims=True)
        return QuantParams(scale=context.snap(np.where(scale > 0, scale, 1)))

    def encode(
        self, blocks: NDArray[np.float32], params: QuantParams, rounding: RoundingPolicy
    ) -> NDArray[Any]:
        return np.clip(rounding.round(blocks / params.scale), -1, 1).astype(np.int8)

    def decode(self, codes: NDArray[Any], params: QuantParams) -> NDArray[np.float32]:
        return (codes * params.scale).astype(np.float32)


@pytest.fixture
def ternary_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process in which ternary is installed, beside what is."""
    found = Plugins([])
    for kind, entries in plugins().registry.entries.items():
        found.registry.entries[kind] = dict(entries)
    found.registry.add("ternary", {"scheme": [Ternary]})
    monkeypatch.setattr(recipe_module, "plugins", lambda: found)
    monkeypatch.setattr(recipe_module, "create", found.create)


def test_every_field_is_normal_once_the_recipe_is_made() -> None:
    recipe = Recipe(scheme="apot", bits=4, options={"k": 2})
    assert recipe.scheme == "apot"
    assert recipe.bits == 4
    assert recipe.options == {}  # k=2 is the default
    assert recipe.granularity == "tensor"
    assert recipe.rounding == "half-even"
    assert recipe.observer == "minmax"
    assert recipe.scale_format == "float32"
    assert str(recipe) == "apot bits=4"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Recipe("apot:k=3:signed=false", 6),
        lambda: Recipe("apot", 6, options={"k": 3, "signed": False}),
        lambda: Recipe("apot:k=3", 6, options={"signed": False}),
        lambda: Recipe("apot:signed=false:k=3", bits=6, granularity="tensor"),
        lambda: Recipe(qcore.create("scheme", "apot:k=3:signed=false", bits=6)),
        lambda: Recipe(qcore.create("scheme", "apot:k=3:signed=false", bits=6), bits=6),
        lambda: Recipe.parse("apot:k=3:signed=false bits=6"),
        lambda: Recipe.parse("apot:signed=false:k=3   observer=minmax  bits=6 "),
        lambda: dataclasses.replace(Recipe("apot:k=3:signed=false", 3), bits=6),
    ],
)
def test_recipes_that_say_the_same_are_equal_and_hash_alike(make: Callable[[], Recipe]) -> None:
    recipe = Recipe("apot", 6, options={"signed": False, "k": 3})
    assert make() == recipe
    assert hash(make()) == hash(recipe)
    assert make().options == {"k": 3, "signed": False}
    assert make().scheme_spec == "apot:k=3:signed=false"


@pytest.mark.parametrize(
    ("axis", "given_spec", "normal"),
    [
        ("granularity", "group:128:-1", "group:128"),
        ("granularity", "group:axis=0:size=128", "group:128:0"),
        ("granularity", "channel:axis=0:groups=0", "channel:0"),
        ("granularity", " tensor ", "tensor"),
        ("observer", "percentile:p=99.90", "percentile"),
        ("observer", "fixed:0.0:1.0", "fixed:0:1"),
        ("rounding", "stochastic:seed=1", "stochastic:1"),
        ("scale_format", "pow2:mode=up", "pow2"),
    ],
)
def test_an_axis_is_written_in_one_way(axis: str, given_spec: str, normal: str) -> None:
    recipe = Recipe("symmetric", **{axis: given_spec})
    assert getattr(recipe, axis) == normal
    part = qcore.create(axis, given_spec)
    assert Recipe("symmetric", **{axis: part}) == recipe


@pytest.mark.parametrize(
    "other",
    [
        "symmetric bits=4",
        "symmetric:full_range=true bits=8",
        "asymmetric bits=8",
        "symmetric bits=8 granularity=token",
        "symmetric bits=8 rounding=half-up",
        "symmetric bits=8 observer=mse",
        "symmetric bits=8 scale_format=pow2",
    ],
)
def test_recipes_that_differ_in_any_axis_are_not_equal(other: str) -> None:
    assert Recipe.parse(other) != Recipe("symmetric")


def test_bits_are_eight_unless_said() -> None:
    assert Recipe("symmetric").bits == 8
    assert Recipe.parse("symmetric").bits == 8
    assert str(Recipe("symmetric")) == "symmetric bits=8"


def test_axes_come_in_any_order_and_are_written_in_one() -> None:
    text = "apot:k=3 scale_format=pow2 observer=mse rounding=half-up granularity=channel:0 bits=4"
    assert str(Recipe.parse(text)) == (
        "apot:k=3 bits=4 granularity=channel:0 rounding=half-up observer=mse scale_format=pow2"
    )


SPECS = {
    "channel": ["channel:0", "channel:-1:groups=2"],
    "group": ["group:128", "group:32:0:tail=short"],
    "block": ["block:128:128", "block:2:4:tail=short"],
    "fixed": ["fixed:0:1", "fixed:-0.5:2.25"],
    "percentile": ["percentile", "percentile:99.99"],
    "stochastic": ["stochastic", "stochastic:7"],
    "pow2": ["pow2", "pow2:nearest", "pow2:floor"],
    "apot": ["apot", "apot:k=1", "apot:k=1:signed=false"],
    "pot": ["pot", "pot:signed=false:domain=linear"],
    "symmetric": ["symmetric", "symmetric:full_range=true"],
    "asymmetric": ["asymmetric", "asymmetric:include_zero=false"],
    "uniform": ["uniform", "uniform:offset=none:signed=false"],
}


def specs(kind: str) -> st.SearchStrategy[str]:
    return st.sampled_from([spec for id in qcore.ids(kind) for spec in SPECS.get(id, [id])])


@settings(deadline=None, max_examples=100)
@given(
    specs("scheme"),
    st.integers(4, 8),
    specs("granularity"),
    specs("rounding"),
    specs("observer"),
    specs("scale_format"),
)
def test_str_parses_back_to_the_recipe_over_everything_installed(
    scheme: str, bits: int, granularity: str, rounding: str, observer: str, scale_format: str
) -> None:
    bits = fixed_width(scheme) or bits
    recipe = Recipe(scheme, bits, granularity, rounding, observer, scale_format)
    again = Recipe.parse(str(recipe))
    assert again == recipe
    assert hash(again) == hash(recipe)
    assert str(again) == str(recipe)
    stored = json.loads(json.dumps(recipe.to_dict(), allow_nan=False))
    assert Recipe(**stored) == recipe


def test_to_dict_has_the_keys_of_the_contract_in_its_order() -> None:
    recipe = Recipe("apot:k=3", 4, granularity="channel:0", scale_format="pow2")
    assert json.dumps(recipe.to_dict()) == json.dumps(
        {
            "scheme": "apot",
            "options": {"k": 3},
            "bits": 4,
            "granularity": "channel:0",
            "rounding": "half-even",
            "observer": "minmax",
            "scale_format": "pow2",
        }
    )


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe("symmetric").bits = 4  # type: ignore[misc]


# Objects and fixed widths


def test_a_quantizer_that_nobody_registered_makes_a_recipe() -> None:
    recipe = Recipe(Ternary(zeros=0.5))  # type: ignore[arg-type]
    assert (recipe.scheme, recipe.bits, recipe.options) == ("ternary", 2, {"zeros": 0.5})
    assert str(recipe) == "ternary:zeros=0.5 bits=2"
    x = np.array([[1.0, -1.0, 0.1, 2.0]], np.float32)
    assert qcore.quantize(x, recipe).codes.tolist() == [[1, -1, 0, 1]]


@pytest.mark.parametrize("bits", [None, 2])
def test_a_scheme_of_fixed_width_has_its_own_bits(ternary_installed: None, bits: int) -> None:
    recipe = Recipe("ternary", bits)
    assert recipe.bits == 2
    assert recipe == Recipe(Ternary())  # type: ignore[arg-type]
    assert Recipe.parse(str(recipe)) == recipe


@pytest.mark.parametrize("scheme", ["ternary", "ternary:zeros=0.5", Ternary()])
def test_another_width_than_the_fixed_one_is_an_error(ternary_installed: None, scheme: Any) -> None:
    with pytest.raises(UsageError) as caught:
        Recipe(scheme, 4)
    shown = scheme if isinstance(scheme, str) else scheme.id
    assert str(caught.value) == f"'{shown}' has 2 bits; bits=4 cannot be"


def test_bits_beside_an_object_must_be_its_own() -> None:
    with pytest.raises(UsageError) as caught:
        Recipe(qcore.create("scheme", "symmetric", bits=8), bits=4)
    assert str(caught.value) == "'symmetric' has 8 bits; bits=4 cannot be"


def test_options_beside_an_object_are_refused() -> None:
    with pytest.raises(UsageError, match="options belong in the quantizer object itself"):
        Recipe(qcore.create("scheme", "apot", bits=8), options={"k": 2})


@pytest.mark.parametrize(
    ("axis", "kind", "spec"),
    [("granularity", "rounding", "half-up"), ("rounding", "granularity", "tensor")],
)
def test_an_object_of_another_kind_is_refused(axis: str, kind: str, spec: str) -> None:
    with pytest.raises((UsageError, TypeError)):
        Recipe("symmetric", **{axis: qcore.create(kind, spec)})


# What cannot be


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty recipe; write it as: scheme bits=N granularity=…"),
        (
            "apot bts=4",
            "'bts=4' in recipe 'apot bts=4' is no axis, did you mean 'bits'?; axes are "
            "bits=, granularity=, rounding=, observer=, scale_format=",
        ),
        ("apot 4", "'4' in recipe 'apot 4' is no axis"),
        ("apot bits=4 bits=8", "recipe 'apot bits=4 bits=8' gives bits twice"),
        ("apot bits=four", "bits=four in recipe 'apot bits=four' is no whole number"),
        ("apot bits=-4", "bits=-4 in recipe 'apot bits=-4' is no whole number"),
        ("apot:kk=2", "'apot' has no option 'kk', did you mean 'k'?; it has k, signed"),
        ("apot rounding=half-evn", "unknown rounding 'half-evn', did you mean 'half-even'?"),
        ("aptt", "unknown scheme 'aptt', did you mean 'apot'?; installed: apot, asymmetric, "),
        ("apot granularity=group", "'group' needs 'size'; write group:SIZE:AXIS"),
        ("apot scale_format=float8", "unknown scale format 'float8', did you mean 'float"),
    ],
)
def test_a_text_that_is_no_recipe_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Recipe.parse(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bits": 1}, "'apot' has 2 to 8 bits, not 1"),
        ({"bits": 99}, "'apot' has 2 to 8 bits, not 99"),
        ({"bits": "4"}, "'apot': bits must be a whole number, not '4'"),
        ({"bits": 4.5}, "'apot': bits must be a whole number, not '4.5'"),
        ({"options": {"k": "2"}}, "'apot': k must be a whole number, not '2'"),
        ({"options": {"kk": 2}}, "'apot' has no option 'kk', did you mean 'k'?"),
        ({"observer": "percentile:40"}, "p is above 50 and at most 100"),
    ],
)
def test_values_that_the_scheme_refuses_are_usage_errors(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        Recipe("apot", **fields)
    assert message in str(caught.value)


@pytest.mark.parametrize("bits", [None, 4])
def test_bits_are_no_option_of_a_scheme(bits: int) -> None:
    with pytest.raises(SpecError, match="bits"):
        Recipe("apot", bits, options={"bits": 4})


# Products


def test_the_product_of_nothing_is_everything_installed_at_eight_and_four_bits() -> None:
    recipes = recipe_product()
    assert [(r.scheme, r.bits) for r in recipes] == list(
        itertools.product(qcore.ids("scheme"), (8, 4))
    )
    assert {str(r).partition(" bits")[0] for r in recipes} == set(qcore.ids("scheme"))


def test_the_product_is_in_the_order_given() -> None:
    recipes = recipe_product(
        scheme=["symmetric", "apot:k=3"], bits=[4, 2], granularity=["tensor", "channel:0"]
    )
    assert [str(r) for r in recipes] == [
        "symmetric bits=4",
        "symmetric bits=4 granularity=channel:0",
        "symmetric bits=2",
        "symmetric bits=2 granularity=channel:0",
        "apot:k=3 bits=4",
        "apot:k=3 bits=4 granularity=channel:0",
        "apot:k=3 bits=2",
        "apot:k=3 bits=2 granularity=channel:0",
    ]


def test_every_axis_takes_several_values_once() -> None:
    axes: dict[str, Any] = {
        "scheme": iter(["symmetric", "uniform"]),
        "bits": iter([2, 3, 8]),
        "granularity": iter(["tensor", "token"]),
        "rounding": iter(["half-up", "floor"]),
        "observer": iter(["minmax", "mse"]),
        "scale_format": iter(["float32", "pow2"]),
    }
    assert len(set(recipe_product(**axes))) == 2 * 3 * 2**4


def test_a_combination_that_is_given_twice_is_there_once() -> None:
    recipes = recipe_product(
        scheme=["apot", "apot:k=2", "apot"], bits=[4, 4], granularity=["group:32", "group:32:-1"]
    )
    assert [str(r) for r in recipes] == ["apot bits=4 granularity=group:32"]


@pytest.mark.parametrize("widths", [None, [8, 4], [3]])
def test_a_scheme_of_fixed_width_joins_a_product_once(
    ternary_installed: None, widths: list[int] | None
) -> None:
    recipes = recipe_product(bits=widths)
    assert [r.bits for r in recipes if r.scheme == "ternary"] == [2]
    assert [r.bits for r in recipes if r.scheme == "symmetric"] == (widths or [8, 4])


@dataclass(frozen=True)
class MuLaw(Quantizer):
    """A scheme that fails on some of its options, and has one without a default."""

    id: ClassVar[str] = "mu-law"
    bits: int
    mu: float
    fit, encode, decode = Ternary.fit, Ternary.encode, Ternary.decode

    def __post_init__(self) -> None:
        qcore.check_bits(self, 2, 4)
        if self.mu <= 0:
            raise ValueError("mu must be positive")


@dataclass(frozen=True)
class Failing(Quantizer):
    """A scheme that cannot be made."""

    id: ClassVar[str] = "failing"
    bits: int
    fit, encode, decode = Ternary.fit, Ternary.encode, Ternary.decode

    def __post_init__(self) -> None:
        raise AttributeError("no half")


@pytest.fixture
def mu_law_installed(ternary_installed: None) -> None:
    """A process in which mu-law is installed too."""
    recipe_module.plugins().registry.add("mu-law", {"scheme": [MuLaw]})


def test_widths_that_a_named_scheme_refuses_are_left_out_and_told(mu_law_installed: None) -> None:
    told: list[str] = []
    recipes = recipe_product(
        scheme=["ternary", "mu-law:255", "symmetric"], bits=[2, 4, 8], report=told.append
    )
    assert [(r.scheme, r.bits) for r in recipes] == [
        ("ternary", 2), ("mu-law", 2), ("mu-law", 4), *(("symmetric", b) for b in (2, 4, 8)),
    ]  # fmt: skip
    assert told == [
        "left out: 'ternary' has 2 bits; bits=4 cannot be",
        "left out: 'ternary' has 2 bits; bits=8 cannot be",
        "left out: 'mu-law' has 2 to 4 bits, not 8",
    ]


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        ("mu-law:0", "'mu-law:0' failed: ValueError: mu must be positive (plugin 'mu-law', "),
        ("mu-law", "'mu-law' needs 'mu'; write mu-law:MU"),
        ("mu-law:mu", "'mu-law': mu must be a number, not 'mu'"),
    ],
)
def test_a_named_scheme_that_can_be_at_no_width_is_an_error(
    mu_law_installed: None, scheme: str, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        recipe_product(scheme=["symmetric", scheme], bits=[2, 4])
    assert str(caught.value).startswith(message)


def test_an_installed_scheme_that_cannot_be_made_stops_nobody_and_is_told_once(
    mu_law_installed: None,
) -> None:
    recipe_module.plugins().registry.add("failing", {"scheme": [Failing]})
    told: list[str] = []
    recipes = recipe_product(bits=[4, 8], report=told.append)
    assert {r.scheme for r in recipes} == {*qcore.ids("scheme"), "ternary"}
    failed, needy = sorted(told)
    assert failed.startswith("left out: 'failing' failed: AttributeError: no half (plugin ")
    assert needy == "left out: 'mu-law' needs 'mu'; write mu-law:MU"
    assert recipe_product(bits=[4, 8]) == recipes


def test_another_axis_that_cannot_be_is_an_error_whatever_else_is_given() -> None:
    with pytest.raises(UsageError, match="unknown granularity 'chanel'"):
        recipe_product(scheme=["symmetric"], granularity=["tensor", "chanel"])
    with pytest.raises(UsageError, match="p is above 50"):
        recipe_product(observer=["minmax", "percentile:40"])


def test_no_width_at_all_makes_no_recipe() -> None:
    assert recipe_product(scheme=["symmetric"], bits=[]) == []


def test_a_fixed_width_asked_for_by_name_with_other_bits_is_an_error(
    ternary_installed: None,
) -> None:
    with pytest.raises(UsageError) as caught:
        recipe_product(scheme=["symmetric", "ternary"], bits=[8])
    assert str(caught.value) == "'ternary' has 2 bits; bits=8 cannot be"
    assert [r.bits for r in recipe_product(scheme=["ternary"])] == [2]
    assert [r.bits for r in recipe_product(scheme=["ternary"], bits=[2])] == [2]


def test_a_combination_that_cannot_be_is_an_error() -> None:
    with pytest.raises(UsageError, match="'apot' has 2 to 8 bits, not 16"):
        recipe_product(scheme=["symmetric", "apot"], bits=[16])


def test_without_a_scheme_there_is_no_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QCORE_PLUGINS", "")
    with pytest.raises(UsageError) as caught:
        recipe_product()
    assert str(caught.value) == "no scheme is installed; install one, such as qcore-symmetric"

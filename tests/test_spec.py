"""A spec, an object and its configuration are three forms of one thing."""

from __future__ import annotations

import dataclasses
import json
import typing
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import qcore
from qcore import SpecError
from qcore.loading import plugins
from qcore.registry import KINDS
from qcore.spec import (
    Configurable,
    check_fields,
    construct,
    format_value,
    parse_fields,
    spec_fields,
    split,
)


@dataclass(frozen=True)
class Sample(Configurable):
    """One field of every type; two in order, the others by name."""

    id: ClassVar[str] = "sample"
    outside_spec: ClassVar[frozenset[str]] = frozenset({"bits"})
    bits: int
    size: int
    ratio: float = 0.5
    _: KW_ONLY
    signed: bool = True
    tail: Literal["error", "short"] = "error"


@dataclass(frozen=True)
class Bare(Configurable):
    """No field at all."""

    id: ClassVar[str] = "bare"


@dataclass(frozen=True)
class Named(Configurable):
    """Only fields that are given by name."""

    id: ClassVar[str] = "named"
    _: KW_ONLY
    k: int = 2
    signed: bool = True


def made(spec: str, **fields: Any) -> Sample:
    return construct(Sample, parse_fields(Sample, spec) | {"bits": 4} | fields)


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("tensor", ("tensor", [], {})),
        ("  tensor ", ("tensor", [], {})),
        ("group:128", ("group", ["128"], {})),
        ("fixed:0:1", ("fixed", ["0", "1"], {})),
        ("channel:-1", ("channel", ["-1"], {})),
        ("apot:k=2:signed=false", ("apot", [], {"k": "2", "signed": "false"})),
        ("group:128:0:tail=short", ("group", ["128", "0"], {"tail": "short"})),
        ("group:", ("group", [""], {})),
        ("x:name=a=b", ("x", [], {"name": "a=b"})),
    ],
)
def test_split_gives_the_id_then_fields_in_order_then_fields_by_name(
    spec: str, parts: tuple[str, list[str], dict[str, str]]
) -> None:
    assert split(spec) == parts


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "empty id in spec ''; write it as id:field=value"),
        ("  ", "empty id in spec '  '; write it as id:field=value"),
        (":128", "empty id in spec ':128'; write it as id:field=value"),
        ("apot:k=2:3", "'apot:k=2:3': '3' follows a named field; put it first"),
        ("apot:k=2:k=3", "'apot:k=2:k=3' gives 'k' twice"),
    ],
)
def test_split_refuses_what_is_no_spec(spec: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        split(spec)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "spec",
    ["sample:8:0.25", "sample:8:ratio=0.25", "sample:size=8:ratio=0.25", "sample:ratio=.25:size=8"],
)
def test_fields_by_name_and_in_order_are_the_same_fields(spec: str) -> None:
    assert made(spec) == Sample(4, 8, 0.25)


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("size=8", "size", 8),
        ("size=-8", "size", -8),
        ("ratio=1", "ratio", 1.0),
        ("ratio=1e-3", "ratio", 0.001),
        ("signed=true", "signed", True),
        ("signed=false", "signed", False),
        ("tail=short", "tail", "short"),
    ],
)
def test_a_field_has_the_type_that_its_class_declares(text: str, field: str, value: object) -> None:
    parsed = parse_fields(Sample, f"sample:{text}")
    assert parsed == {field: value}
    assert type(parsed[field]) is type(value)


@pytest.mark.parametrize(
    ("sample", "spec"),
    [
        (Sample(4, 8), "sample:8"),
        (Sample(8, 8), "sample:8"),
        (Sample(4, 8, 0.25), "sample:8:0.25"),
        (Sample(4, 8, 3.0), "sample:8:3"),
        (Sample(4, 8, signed=False), "sample:8:signed=false"),
        (Sample(4, 8, 1.0, tail="short", signed=False), "sample:8:1:signed=false:tail=short"),
    ],
)
def test_str_writes_what_differs_from_the_defaults_and_parses_back(
    sample: Sample, spec: str
) -> None:
    assert str(sample) == spec
    assert made(spec, bits=sample.bits) == sample


@given(
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.sampled_from(["error", "short"]),
)
def test_every_object_is_what_its_str_and_its_configuration_describe(
    size: int, ratio: float, signed: bool, tail: Literal["error", "short"]
) -> None:
    sample = Sample(4, size, ratio, signed=signed, tail=tail)
    assert made(str(sample)) == sample
    assert Sample.from_config(json.loads(json.dumps(sample.config()))) == sample


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "true"), (False, "false"), (2, "2"), (2.0, "2"), (99.9, "99.9"), (1e300, "1e+300")],
)
def test_values_are_written_as_a_person_would(value: object, text: str) -> None:
    assert format_value(value) == text


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "sample:8:sined=false",
            "'sample' has no option 'sined', did you mean 'signed'?; "
            "it has size, ratio, signed, tail",
        ),
        ("sample:8:zzz=1", "'sample' has no option 'zzz'; it has size, ratio, signed, tail"),
        ("sample:8:bits=4", "'sample' has no option 'bits'; it has size, ratio, signed, tail"),
        ("sample:eight", "'sample': size must be a whole number, not 'eight'"),
        ("sample:8.5", "'sample': size must be a whole number, not '8.5'"),
        ("sample:", "'sample': size must be a whole number, not ''"),
        ("sample:8:half", "'sample': ratio must be a number, not 'half'"),
        ("sample:8:signed=maybe", "'sample': signed=maybe is not one of true, false"),
        ("sample:8:signed=1", "'sample': signed=1 is not one of true, false"),
        ("sample:8:signed=True", "signed=True is not one of true, false, did you mean 'true'?"),
        ("sample:8:tail=shrt", "tail=shrt is not one of error, short, did you mean 'short'?"),
        (
            "sample:8:1:2",
            "'sample:8:1:2': 'sample' takes 2, so '2' is one too many",
        ),
        ("sample:8:size=9", "'sample:8:size=9' gives 'size' twice"),
    ],
)
def test_a_wrong_field_is_named_in_one_line(spec: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_fields(Sample, spec)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("cls", "spec", "message"),
    [
        (Bare, "bare:1", "'bare:1': 'bare' takes none in order, so '1' is one too many"),
        (Bare, "bare:k=1", "'bare' has no option 'k'; it has none"),
        (Named, "named:3", "'named:3': 'named' takes none in order, so '3' is one too many"),
    ],
)
def test_fields_that_are_keyword_only_are_given_by_name_alone(
    cls: type[Configurable], spec: str, message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        parse_fields(cls, spec)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("kind", "spec", "message"),
    [
        ("granularity", "channel", "'channel' needs 'axis'; write channel:AXIS"),
        ("granularity", "block:8", "'block' needs 'columns'; write block:ROWS:COLUMNS"),
        ("observer", "fixed", "'fixed' needs 'lo'; write fixed:LO:HI"),
        ("scheme", "apot", "'apot' needs 'bits'; give bits="),
    ],
)
def test_a_missing_field_is_named_with_an_example(kind: str, spec: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        qcore.create(kind, spec)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": "8"}, "size must be a whole number, not '8'"),
        ({"size": True}, "size must be a whole number, not 'True'"),
        ({"size": 8.0}, "size must be a whole number, not '8.0'"),
        ({"size": 8, "ratio": None}, "ratio must be a number, not 'None'"),
        ({"size": 8, "signed": 1}, "signed=1 is not one of true, false"),
        ({"size": 8, "tail": None}, "tail=None is not one of error, short"),
    ],
)
def test_values_from_python_and_json_are_checked_as_those_of_a_spec_are(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match="'sample'") as caught:
        Sample.from_config({"bits": 4, **values})
    assert message in str(caught.value)


def test_a_whole_number_is_a_number_too() -> None:
    assert construct(Sample, {"bits": 4, "size": 8, "ratio": 1}) == Sample(4, 8, 1.0)


def test_a_configuration_is_refused_by_another_class() -> None:
    with pytest.raises(SpecError) as caught:
        Bare.from_config(Sample(4, 8).config())
    assert str(caught.value) == "this is the configuration of 'sample', not of 'bare'"


def test_an_unknown_field_of_a_configuration_is_refused() -> None:
    with pytest.raises(SpecError, match="'named' has no option 'kk', did you mean 'k'"):
        Named.from_config({"id": "named", "kk": 2})


def test_a_field_may_not_be_given_in_the_spec_and_beside_it() -> None:
    with pytest.raises(SpecError) as caught:
        qcore.create("scheme", "apot:k=2", bits=4, k=3)
    assert str(caught.value) == "'apot:k=2' gives 'k', which is given beside it too"


def test_an_object_is_its_own_spec() -> None:
    apot = qcore.create("scheme", "apot:k=3", bits=4)
    assert qcore.create("scheme", apot) is apot


@dataclass(frozen=True)
class Sized(Configurable):
    """A choice among numbers, and a text."""

    id: ClassVar[str] = "sized"
    size: Literal[512, 1024] = 512
    name: str = "plain"


def test_a_choice_may_be_among_numbers() -> None:
    assert construct(Sized, parse_fields(Sized, "sized:1024")).size == 1024
    assert Sized.from_config(json.loads('{"size": 1024}')).size == 1024
    for value in (1024.0, "1024", True):
        with pytest.raises(SpecError, match="is not one of 512, 1024"):
            construct(Sized, {"size": value})


def test_a_text_is_taken_as_it_is_and_nothing_else() -> None:
    assert construct(Sized, parse_fields(Sized, "sized:name=k_3")).name == "k_3"
    with pytest.raises(SpecError) as caught:
        construct(Sized, {"name": 3})
    assert str(caught.value) == "'sized': name must be text, not '3'"


@pytest.mark.parametrize("cls", [Sample, Bare, Named, Sized])
def test_fields_that_a_spec_gives_are_accepted(cls: type[Configurable]) -> None:
    check_fields(cls)


@pytest.mark.parametrize(
    ("kind", "default", "message"),
    [
        (tuple, (1, 2), "is of type tuple; options are int, float, bool, str or Literal"),
        (list[int], dataclasses.MISSING, "is of type list[int]; options are int, float, bool,"),
        (int | None, None, "is of type int | None; options are int, float, bool, str or Literal"),
        (int, "2", "the default of Odd.k cannot be: 'odd': k must be a whole number, not '2'"),
        (float, None, "the default of Odd.k cannot be: 'odd': k must be a number, not 'None'"),
        (bool, 1, "the default of Odd.k cannot be: 'odd': k=1 is not one of true, false"),
        ("Nowhere", 2, "the type of Odd.k cannot be told: NameError: name 'Nowhere' is not"),
    ],
)
def test_a_field_that_no_spec_gives_is_named(kind: Any, default: Any, message: str) -> None:
    field = dataclasses.field(default=default)
    body = {"id": "odd", "__module__": __name__}
    odd = dataclasses.make_dataclass(
        "Odd", [("k", kind, field)], bases=(Configurable,), frozen=True, namespace=body
    )
    with pytest.raises(SpecError) as caught:
        check_fields(odd)
    assert message in str(caught.value)
    assert "Odd.k" in str(caught.value)


REQUIRED = {
    "bits": 4,
    "number": 5,
    "axis": 0,
    "size": 32,
    "rows": 2,
    "columns": 3,
    "lo": -1.5,
    "hi": 2.0,
}
OTHER = {int: 3, float: 97.5, str: "other"}


def variants(cls: type[Any]) -> list[dict[str, Any]]:
    """Arguments for a class: those it needs; then each other field changed, if it may be."""
    fields = [f for f in dataclasses.fields(cls) if f.init]
    needed = {f.name: REQUIRED[f.name] for f in fields if f.default is dataclasses.MISSING}
    found = [needed]
    types = typing.get_type_hints(cls)
    for field in fields:
        kind = types[field.name]
        if field.name in needed:
            continue
        if kind is bool:
            values: tuple[Any, ...] = (True, False)
        elif typing.get_origin(kind) is Literal:
            values = typing.get_args(kind)
        else:
            values = (OTHER[kind],)
        found += [{**needed, field.name: value} for value in values]
    return found


EVERYTHING = [
    pytest.param(kind, id, values, id=f"{kind}-{id}-{i}")
    for kind in KINDS
    for id in plugins().registry.ids(kind)
    for i, values in enumerate(variants(plugins().registry.get(kind, id)))
]


@pytest.mark.parametrize(("kind", "id", "values"), EVERYTHING)
def test_every_registered_class_comes_back_from_json_and_from_its_spec(
    kind: str, id: str, values: dict[str, Any]
) -> None:
    cls = plugins().registry.get(kind, id)
    part = construct(cls, values)
    assert part.config() == {"id": id, **part.config()}
    assert cls.from_config(json.loads(json.dumps(part.config()))) == part
    outside = {name: value for name, value in values.items() if name in cls.outside_spec}
    assert qcore.create(kind, str(part), **outside) == part
    assert hash(qcore.create(kind, str(part), **outside)) == hash(part)


@pytest.mark.parametrize(("kind", "id", "values"), EVERYTHING)
def test_every_registered_class_takes_its_fields_by_name(
    kind: str, id: str, values: dict[str, Any]
) -> None:
    cls = plugins().registry.get(kind, id)
    named = [f.name for f in spec_fields(cls) if f.name in values]
    outside = {name: value for name, value in values.items() if name in cls.outside_spec}
    spec = ":".join([id, *(f"{name}={format_value(values[name])}" for name in named)])
    assert qcore.create(kind, spec, **outside) == construct(cls, values)

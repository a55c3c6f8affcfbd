"""Each granularity gives its tile, round trips as text, and says what would fit instead."""

from __future__ import annotations

import pytest

import qcore
from qcore.builtin.granularities import Block, Channel, Group, Tensor, Token
from qcore.errors import ShapeError, SpecError, UsageError

Shape = tuple[int, ...]


@pytest.mark.parametrize(
    ("spec", "shape", "tile"),
    [
        ("tensor", (6, 8), (6, 8)),
        ("tensor", (5,), (5,)),
        ("tensor", (2, 3, 4, 5), (2, 3, 4, 5)),
        ("tensor", (0, 3), (0, 3)),
        ("channel:0", (6, 8), (1, 8)),
        ("channel:1", (6, 8), (6, 1)),
        ("channel:-1", (6, 8), (6, 1)),
        ("channel:1", (2, 3, 4), (2, 1, 4)),
        ("channel:0:groups=1", (6, 8), (6, 8)),
        ("channel:0:groups=2", (6, 8), (3, 8)),
        ("channel:0:groups=6", (6, 8), (1, 8)),
        ("channel:-1:groups=4", (6, 8), (6, 2)),
        ("group:4", (6, 8), (1, 4)),
        ("group:4", (2, 6, 8), (1, 1, 4)),
        ("group:3:0", (6, 8), (3, 1)),
        ("group:3:-2", (6, 8), (3, 1)),
        ("group:8", (6, 8), (1, 8)),
        ("group:3:tail=short", (6, 8), (1, 3)),
        ("group:100:tail=short", (6, 8), (1, 8)),
        ("group:4:0:tail=short", (6, 8), (4, 1)),
        ("group:1", (5,), (1,)),
        ("block:2:4", (6, 8), (2, 4)),
        ("block:2:4", (5, 6, 8), (1, 2, 4)),
        ("block:4:3:tail=short", (6, 8), (4, 3)),
        ("block:100:100:tail=short", (6, 8), (6, 8)),
        ("token", (6, 8), (1, 8)),
        ("token", (2, 3, 8), (1, 1, 8)),
        ("token", (8,), (8,)),
    ],
)
def test_the_tile_is_the_extent_of_a_block(spec: str, shape: Shape, tile: Shape) -> None:
    assert qcore.create("granularity", spec).tile(shape) == tile


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (2, 0, 4), (0, 0)])
@pytest.mark.parametrize(
    "spec",
    ["tensor", "token", "channel:0", "channel:-1", "group:4", "group:3:tail=short", "block:2:2"],
)
def test_an_empty_tensor_has_a_tile_within_its_shape(spec: str, shape: Shape) -> None:
    tile = qcore.create("granularity", spec).tile(shape)
    assert len(tile) == len(shape)
    assert all(0 <= extent <= length for extent, length in zip(tile, shape, strict=True))


@pytest.mark.parametrize(
    ("spec", "shape", "text"),
    [
        ("channel:2", (6, 8), "'channel:2': axis 2 is out of range for shape (6, 8)"),
        ("channel:-3", (6, 8), "'channel:-3': axis -3 is out of range for shape (6, 8)"),
        ("group:4:5", (6, 8), "'group:4:5': axis 5 is out of range for shape (6, 8)"),
        (
            "group:3",
            (6, 8),
            "'group:3': 3 does not divide axis 1 of shape (6, 8); sizes that do: 1, 2, 4, 8; "
            "or add tail=short",
        ),
        (
            "group:16",
            (6, 8),
            "'group:16': 16 does not divide axis 1 of shape (6, 8); sizes that do: 1, 2, 4, 8; "
            "or add tail=short",
        ),
        (
            "block:4:4",
            (6, 8),
            "'block:4:4': 4 does not divide axis 0 of shape (6, 8); sizes that do: 1, 2, 3, 6; "
            "or add tail=short",
        ),
        (
            "block:2:5",
            (6, 8),
            "'block:2:5': 5 does not divide axis 1 of shape (6, 8); sizes that do: 1, 2, 4, 8; "
            "or add tail=short",
        ),
        ("block:2:2", (8,), "'block:2:2' needs two axes or more; shape (8,) has 1"),
        (
            "channel:0:groups=4",
            (6, 8),
            "'channel:0:groups=4' cannot split 6 channels (axis 0 of shape (6, 8)) evenly; "
            "groups that do: 1, 2, 3, 6",
        ),
    ],
)
def test_a_shape_that_cannot_be_cut_is_told_what_would_fit(
    spec: str, shape: Shape, text: str
) -> None:
    granularity = qcore.create("granularity", spec)
    with pytest.raises(ShapeError) as caught:
        granularity.tile(shape)
    assert str(caught.value) == text


def test_many_sizes_that_fit_are_shortened() -> None:
    with pytest.raises(ShapeError) as caught:
        Group(11).tile((5040,))
    assert "sizes that do: 1, 2, 3, 4, 5, 6, …, 840, 1008, 1260, 1680, 2520, 5040;" in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("group:0", "'group:0': a size is at least 1, not 0"),
        ("group:-4", "'group:-4': a size is at least 1, not -4"),
        ("block:0:2", "'block:0:2': a size is at least 1, not 0"),
        ("block:2:-1", "'block:2:-1': a size is at least 1, not -1"),
        (
            "channel:0:groups=-1",
            "'channel:0:groups=-1': groups is a positive number, or 0 for one each",
        ),
    ],
)
def test_sizes_that_cannot_be_are_refused_when_made(spec: str, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        qcore.create("granularity", spec)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("group", "'group' needs 'size'; write group:SIZE:AXIS"),
        ("channel", "'channel' needs 'axis'; write channel:AXIS"),
        ("block:2", "'block' needs 'columns'; write block:ROWS:COLUMNS"),
        ("group:x", "'group': size must be a whole number, not 'x'"),
        ("group:4:tail=long", "'group': tail=long is not one of error, short"),
        ("tensor:3", "'tensor:3': 'tensor' takes none in order, so '3' is one too many"),
        ("channel:0:1", "'channel:0:1': 'channel' takes 1, so '1' is one too many"),
    ],
)
def test_specs_that_do_not_fit_are_refused(spec: str, text: str) -> None:
    with pytest.raises(SpecError) as caught:
        qcore.create("granularity", spec)
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("tensor", Tensor()),
        ("token", Token()),
        ("channel:0", Channel(0)),
        ("channel:-1", Channel(-1)),
        ("channel:0:groups=4", Channel(0, groups=4)),
        ("group:128", Group(128)),
        ("group:128:0", Group(128, 0)),
        ("group:128:tail=short", Group(128, tail="short")),
        ("group:128:0:tail=short", Group(128, 0, tail="short")),
        ("block:2:3", Block(2, 3)),
        ("block:2:3:tail=short", Block(2, 3, tail="short")),
    ],
)
def test_specs_round_trip(spec: str, expected: qcore.Granularity) -> None:
    made = qcore.create("granularity", spec)
    assert made == expected
    assert str(made) == spec
    assert type(made).from_config(made.config()) == made
    assert qcore.Recipe("symmetric", granularity=spec).granularity == spec


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("group:128:-1", "group:128"),
        ("group:size=128:axis=0", "group:128:0"),
        ("group:tail=short:size=8", "group:8:tail=short"),
        ("channel:axis=1:groups=0", "channel:1"),
        ("block:columns=3:rows=2", "block:2:3"),
        ("group:4:tail=error", "group:4"),
    ],
)
def test_other_ways_to_write_a_spec_are_normalised(written: str, normal: str) -> None:
    assert str(qcore.create("granularity", written)) == normal

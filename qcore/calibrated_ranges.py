"""What a calibration found: a range for each activation, and the file that keeps them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from qcore import json_file
from qcore.builtin.granularities import Tensor
from qcore.builtin.observers import Fixed
from qcore.errors import QcoreError, ReadError, UsageError, located, nearest
from qcore.interfaces.observer import Observer
from qcore.loading import versions
from qcore.recipe import AXES, Recipe
from qcore.sources import Unreadable


@dataclass(frozen=True)
class CalibratedRange:
    """The range of one activation over all of its batches.

    Attributes:
        lo: the lower end, a float32 as its shortest decimal.
        hi: the upper end, likewise, not below the lower.
        batches: how many were observed.
        elements: how many those held in all.
        nonfinite: how many of these were not finite, and were clipped.

    Raises:
        UsageError: the ends are not finite in float32, or in the wrong order.
    """

    lo: float
    hi: float
    batches: int
    elements: int
    nonfinite: int = 0

    def __post_init__(self) -> None:
        for end in ("lo", "hi"):
            object.__setattr__(self, end, _shortest(getattr(self, end)))
        if self.lo > self.hi:
            raise UsageError(f"lo {self.lo} is above hi {self.hi}")

    def to_dict(self) -> dict[str, Any]:
        """The range as JSON holds it."""
        counts = {"batches": self.batches, "elements": self.elements}
        clipped = {"nonfinite": self.nonfinite} if self.nonfinite else {}
        return {"lo": self.lo, "hi": self.hi, **counts, **clipped}


@dataclass(frozen=True)
class Calibration:
    """The ranges of some activations, so that quantizing one need not look for its range.

    Attributes:
        template: what was calibrated for; a tensor's own recipe has its range as the observer.
        ranges: by the tensor's name.
        failed: by name, why tensors in files have no range.
        unreadable: files that could not be opened.
        skipped: how many tensors were left out, by the rule that did.
    """

    template: Recipe
    ranges: Mapping[str, CalibratedRange]
    failed: Mapping[str, QcoreError] = field(default_factory=dict, compare=False)
    unreadable: Sequence[Unreadable] = field(default=(), compare=False)
    skipped: Mapping[str, int] = field(default_factory=dict, compare=False)

    def __getitem__(self, name: str) -> CalibratedRange:
        """The range of a tensor.

        Raises:
            UsageError: it was not calibrated.
            QcoreError: its calibration failed, with this error.
        """
        if name in self.failed:
            raise self.failed[name]
        if name not in self.ranges:
            raise UsageError(f"{name!r} was not calibrated{nearest(str(name), self.ranges)}")
        return self.ranges[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.ranges)

    def __len__(self) -> int:
        return len(self.ranges)

    def recipe(self, name: str, other: Recipe | str | None = None) -> Recipe:
        """The recipe that quantizes a tensor with its calibrated range.

        Args:
            name: the tensor's.
            other: a recipe, or its text, to take scheme, rounding and scale format from; those
                that were calibrated for, if None.

        Raises:
            UsageError: the tensor was not calibrated, or its range suits one recipe alone.
        """
        known = self[name]
        own = self.template.parts
        given = Recipe.parse(other) if isinstance(other, str) else other or self.template
        parts = given.parts
        check_granularity(given)
        same = (parts.quantizer, parts.rounding, parts.scale_format)
        if own.observer.needs_trial and same != (own.quantizer, own.rounding, own.scale_format):
            raise UsageError(
                f"'{own.observer}' found the range of {name!r} for '{self.template}' alone; "
                f"calibrate for '{given}' too, or with minmax or percentile for both"
            )
        return with_observer(given, Fixed(known.lo, known.hi))

    def to_dict(self) -> dict[str, Any]:
        """The ranges as their file holds them, by name."""
        return {
            "qcore": {"version": versions()["version"]},
            "recipe": self.template.to_dict(),
            "ranges": {name: self.ranges[name].to_dict() for name in sorted(self.ranges)},
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the ranges as JSON; the file is the old one or the new one, never half of it.

        Raises:
            UsageError: it cannot be written.
        """
        json_file.write(Path(path), self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote; nothing in it is trusted, and nothing in it is run.

        Raises:
            ReadError: there is no such file, or it holds something else.
            UsageError: it holds a recipe or a range that cannot be.
        """
        try:
            document = json_file.read(Path(path))
            template = _recipe(json_file.member(document, "recipe", dict))
            ranges = json_file.member(document, "ranges", dict)
            return cls(template, {name: _range(name, entry) for name, entry in ranges.items()})
        except QcoreError as error:
            raise located(error, f"'{path}'") from error.__cause__


def _recipe(stored: dict[str, Any]) -> Recipe:
    """The recipe that `Recipe.to_dict` wrote; an axis that it does not name is at its default."""
    kinds: dict[str, type] = {
        "scheme": str,
        "options": dict,
        "bits": int,
        **dict.fromkeys(AXES, str),
    }
    for name in stored:
        if name not in kinds:
            raise ReadError(f"recipe: there is no {name!r}{nearest(name, kinds)}")
    required = {"scheme", "bits"} | stored.keys()
    fields: dict[str, Any] = {
        name: json_file.member(stored, name, kinds[name]) for name in sorted(required)
    }
    try:
        recipe = Recipe(**fields)
    except QcoreError:
        raise
    except Exception as error:  # of a plugin's class, made from what it did not expect
        raise ReadError(f"recipe: {type(error).__name__}: {error}") from error
    check_granularity(recipe)
    return recipe


def _range(name: str, stored: Any) -> CalibratedRange:
    """The range that `CalibratedRange.to_dict` wrote."""
    try:
        entry = json_file.checked(stored, dict, "a range")
        lo, hi = (json_file.member(entry, end, float) for end in ("lo", "hi"))
        counts = {"nonfinite": 0, **entry}
        batches, elements, nonfinite = (
            json_file.member(counts, count, int) for count in ("batches", "elements", "nonfinite")
        )
        if min(batches, elements) < 1 or nonfinite < 0:
            raise ReadError("its counts cannot be")
        return CalibratedRange(lo, hi, batches, elements, nonfinite)
    except QcoreError as error:
        raise located(error, repr(name)) from None


def with_observer(recipe: Recipe, observer: Observer) -> Recipe:
    """The recipe with another observer."""
    parts: dict[str, Any] = {**recipe.parts._asdict(), "observer": observer}
    return Recipe(parts.pop("quantizer"), **parts)


def check_granularity(recipe: Recipe) -> None:
    """Refuse a recipe with more than one range for an activation.

    Raises:
        UsageError: its granularity is not `tensor`.
    """
    if not isinstance(recipe.parts.granularity, Tensor):
        raise UsageError(
            f"granularity={recipe.granularity} cannot be calibrated: one range is kept for all of "
            "an activation, granularity=tensor; quantize finds finer ones as the data comes"
        )


def _shortest(value: float) -> float:
    """The float32 nearest to `value`, as the shortest decimal that stands for it; −0 as 0.

    Raises:
        UsageError: it is not finite.
    """
    try:
        with np.errstate(over="ignore"):
            single = np.float32(value) + np.float32(0)
    except OverflowError:  # an integer beyond any float
        single = np.float32(np.inf)
    if not np.isfinite(single):
        raise UsageError("lo and hi are finite float32 numbers")
    short = float(str(single))
    # By way of float64, 7.038531e-26 alone of all float32 would come back as its neighbour.
    return short if np.float32(short) == single else float(single)

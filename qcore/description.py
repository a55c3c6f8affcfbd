"""What there is to say of a recipe without data: equation, levels, thresholds, and true cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from qcore.blame import contained
from qcore.blocking import Layout
from qcore.engine import quantize
from qcore.fitting import as_own
from qcore.interfaces.grid_quantizer import GridQuantizer
from qcore.level_table import LevelTable
from qcore.loading import create
from qcore.params import QuantParams
from qcore.qtensor import block_bits, stored_bits
from qcore.recipe import Recipe

SHAPE = (4096, 4096)
"""The matrix whose bits per weight are told."""

GRANULARITIES = ("tensor", "channel:0", "group:128", "group:32")


@dataclass(frozen=True, eq=False)
class Description:
    """What there is to say of a recipe without data.

    Attributes:
        recipe: its granularity and observer do not matter here.
        formula: the scheme's equation; empty where it gives none.
        levels: of a grid scheme; None of any other, whose map x → x̂ depends on the data.
        block_bits: what a block stores beside its codes, by field, in bits.
        bits_per_weight: of a matrix of `SHAPE`, by granularity.
    """

    recipe: Recipe
    formula: str
    levels: LevelTable | None
    block_bits: dict[str, int]
    bits_per_weight: dict[str, float]

    @classmethod
    def of(cls, recipe: Recipe) -> Self:
        """Describe a recipe.

        Raises:
            UsageError: the rounding policy takes one x to several x̂.
            SchemeError: the scheme fails.
        """
        try:
            with contained():
                return cls._of(recipe)
        except Exception as error:
            own = as_own(error, recipe)
            raise own from own.__cause__

    @classmethod
    def _of(cls, recipe: Recipe) -> Self:
        quantizer = recipe.parts.quantizer
        levels = LevelTable.of(recipe, quantizer) if isinstance(quantizer, GridQuantizer) else None
        cost: dict[str, float] = {}
        for granularity in GRANULARITIES:
            layout = Layout.of(create("granularity", granularity), SHAPE)
            params = levels.stairs.params if levels else _fitted(recipe, layout)
            stored = stored_bits(recipe, params, layout.size, layout.n_blocks)
            cost[granularity] = stored / layout.size
        return cls(recipe, quantizer.formula, levels, block_bits(recipe, params), cost)

    def rows(self) -> list[dict[str, Any]]:
        """The code table, each row with what it is of; none where there are no levels."""
        recipe = self.recipe
        what = {"scheme": recipe.scheme_spec, "bits": recipe.bits, "rounding": recipe.rounding}
        code_bits = recipe.parts.quantizer.code_bits
        return [{**what, **row} for row in (self.levels.rows(code_bits) if self.levels else ())]

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON holds it; `grid` is null where it is none."""
        recipe = self.recipe
        quantizer = recipe.parts.quantizer
        return {
            "scheme": recipe.scheme,
            "options": dict(recipe.options),
            "bits": recipe.bits,
            "rounding": recipe.rounding,
            "formula": self.formula or None,
            "code_bits": quantizer.code_bits,
            "code_range": list(quantizer.code_range),
            "block_bits": self.block_bits,
            "shape": list(SHAPE),
            "bits_per_weight": self.bits_per_weight,
            "grid": None if self.levels is None else self.levels.to_dict(),
        }


def _fitted(recipe: Recipe, layout: Layout) -> QuantParams:
    """The params of a block that is no longer than a row: what a scheme stores hangs on no more."""
    length = min(math.prod(layout.tile), SHAPE[-1])
    row = np.linspace(-1, 1, length, dtype=np.float32)
    return quantize(row, Recipe(recipe.parts.quantizer)).params  # type: ignore[arg-type]


def names(recipes: Sequence[Recipe]) -> list[str]:
    """What tells them apart: the scheme, and where they differ in it the width and the rounding."""
    further = ([f"{r.bits} bits" for r in recipes], [r.rounding for r in recipes])
    differing = [texts for texts in further if len(set(texts)) > 1]
    schemes = [recipe.scheme_spec for recipe in recipes]
    return [" ".join(parts) for parts in zip(schemes, *differing, strict=True)]

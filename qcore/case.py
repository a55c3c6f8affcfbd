"""A case: what one row of a comparison applies, to a tensor and to what it is multiplied with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from qcore.recipe import Recipe

FLOAT: Literal["float"] = "float"
"""Activations that are left as they are, as in W4A16."""

ActivationRecipe = Recipe | Literal["float"]


@dataclass(frozen=True)
class Stored:
    """In place of a recipe: what another checkpoint holds of the same tensors.

    Attributes:
        source: what it is called.
        encoding: how it stores a tensor, such as `Q4_K`; empty for several together.
    """

    source: str
    encoding: str = ""

    def __str__(self) -> str:
        return f"{self.source} {self.encoding}".rstrip()

    def to_dict(self) -> dict[str, Any]:
        """It as JSON holds it, where a recipe would be."""
        return {"against": self.source, "encoding": self.encoding or None}


@dataclass(frozen=True)
class Case:
    """A recipe for a tensor, and one for the activations that it multiplies.

    Attributes:
        recipe: for the tensor; or what another checkpoint holds of it.
        activations: for the activations, or `float`; None where no layer is looked at.
    """

    recipe: Recipe | Stored
    activations: ActivationRecipe | None = None

    def __str__(self) -> str:
        own = self.activations
        return str(self.recipe) if own is None else f"{self.recipe} × {own}"

    def activations_dict(self) -> dict[str, Any] | str | None:
        """The activations' recipe as JSON holds it."""
        own = self.activations
        return own.to_dict() if isinstance(own, Recipe) else own

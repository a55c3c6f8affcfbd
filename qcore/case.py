"""A case: what one row of a comparison applies, to a tensor and to what it is multiplied with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from qcore.recipe import Recipe

FLOAT: Literal["float"] = "float"
"""Activations that are left as they are, as in W4A16."""

ActivationRecipe = Recipe | Literal["float"]


@dataclass(frozen=True)
class Case:
    """A recipe for a tensor, and one for the activations that it multiplies.

    Attributes:
        recipe: for the tensor.
        activations: for the activations, or `float`; None where no layer is looked at.
    """

    recipe: Recipe
    activations: ActivationRecipe | None = None

    def activations_dict(self) -> dict[str, Any] | str | None:
        """The activations' recipe as JSON holds it."""
        own = self.activations
        return own.to_dict() if isinstance(own, Recipe) else own

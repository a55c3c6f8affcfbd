"""What a comparison does to every tensor, and what it finds of one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from qcore.against import Against
from qcore.case import Case, Stored
from qcore.error_stats import EXPECTED
from qcore.errors import QcoreError
from qcore.interfaces.backend import Backend
from qcore.measuring import Outcome
from qcore.observing import NonFinite
from qcore.outputs import OutputError, OutputTask
from qcore.recipe import Recipe
from qcore.sources import TensorRef
from qcore.spec import Configurable


@dataclass(frozen=True)
class Task:
    """What is done to every tensor.

    Attributes:
        recipes: what is applied.
        backend: what it runs on.
        sums: which sums are computed.
        nonfinite: what becomes of NaN and infinities.
        integers: whether integers are taken as numbers.
        tick: told of every chunk done: its elements × recipes.
        outputs: what is done to the layers that the tensors belong to, if anything.
        against: what holds the same tensors, in place of a last recipe, if anything.
    """

    recipes: Sequence[Recipe]
    backend: Backend
    sums: Collection[str]
    nonfinite: NonFinite
    integers: bool
    tick: Callable[[int], None] | None
    outputs: OutputTask | None
    against: Against | None = None

    @property
    def cases(self) -> list[Case]:
        """Every recipe with every one for the activations."""
        activations = [None] if self.outputs is None else self.outputs.recipes
        cases = [Case(recipe, other) for recipe in self.recipes for other in activations]
        return cases if self.against is None else [*cases, Case(Stored(self.against.label))]

    def parts(self) -> list[tuple[str, Configurable]]:
        """What plugins have given of it, each with its kind."""
        own = [*self.recipes]
        parts: list[tuple[str, Configurable]] = [("backend", self.backend)]
        if self.outputs is not None:
            own += [recipe for recipe in self.outputs.recipes if isinstance(recipe, Recipe)]
            parts.append(("backend", self.outputs.multiplying))
        kinds = ("scheme", "granularity", "rounding", "observer", "scale_format")
        return parts + [pair for recipe in own for pair in zip(kinds, recipe.parts, strict=True)]

    def options(self) -> dict[str, Any]:
        """What the results depend on beside the recipes, as JSON holds it."""
        return {
            "backend": str(self.backend),
            "sums": sorted(self.sums),
            "nonfinite": self.nonfinite,
            "integers": self.integers,
            "synthetic": self.outputs is not None and self.outputs.activations.refs is None,
            "against": None if self.against is None else self.against.label,
        }

    @property
    def measured(self) -> Collection[str]:
        """The sums that are of the errors themselves."""
        return [name for name in self.sums if name != EXPECTED]

    def further_refs(self) -> list[TensorRef]:
        """The stored tensors that it uses beside those it is done to."""
        fed = None if self.outputs is None else self.outputs.activations.refs
        other = {} if self.against is None else self.against.tensors
        return [*(fed or ()), *other.values()]

    def tell(self, amount: int) -> None:
        """Tell who looks on that so many elements × recipes are done."""
        if self.tick is not None:
            self.tick(amount)

    def alone(self) -> Task:
        """The recipes alone, with nobody told."""
        return dataclasses.replace(self, tick=None, against=None, outputs=None)

    def away(self, refs: Sequence[TensorRef]) -> Task:
        """The task as it travels with some tensors: what they need and no more."""
        against = None if self.against is None else self.against.of_tensors(refs)
        return dataclasses.replace(self, tick=None, against=against)


class Found(NamedTuple):
    """What a case did to a tensor, and to the output of its layer, if that was looked at."""

    tensor: Outcome
    output: OutputError | QcoreError | None = None

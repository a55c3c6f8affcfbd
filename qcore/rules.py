"""Rules: which tensor of a checkpoint is quantized by which recipe, told by its name."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qcore.errors import ReadError, UsageError, located
from qcore.recipe import Recipe

KEEP = "keep"
"""In place of a recipe: the tensor stays as it is."""


@dataclass(frozen=True)
class Rule:
    """A recipe for the tensors whose name matches.

    Attributes:
        pattern: a regular expression that the name must match somewhere; the empty one always does.
        recipe: what they are quantized by; None to keep them as they are.

    Raises:
        UsageError: the pattern is no regular expression.
    """

    pattern: str
    recipe: Recipe | None

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise UsageError(f"'{self.pattern}' is no regular expression: {error}") from None

    @classmethod
    def parse(cls, text: str) -> Rule:
        """A rule from `PATTERN=RECIPE`; the pattern ends at the first `=`.

        Raises:
            UsageError: it is none.
        """
        pattern, equals, recipe = text.partition("=")
        if not equals:
            raise UsageError(f"'{text}' is no rule; write it as PATTERN=RECIPE")
        return cls.of(pattern, recipe)

    @classmethod
    def of(cls, pattern: str, recipe: str) -> Rule:
        """A rule from its pattern and the text of its recipe, or `keep`.

        Raises:
            UsageError: one of them is none.
        """
        try:
            return cls(pattern, None if recipe.strip() == KEEP else Recipe.parse(recipe))
        except UsageError as error:
            raise located(error, f"rule '{pattern}'") from None

    def matches(self, name: str) -> bool:
        """Whether the rule is for a tensor."""
        return re.search(self.pattern, name) is not None


def first_match(rules: Sequence[Rule], name: str) -> Rule | None:
    """The rule for a tensor: the first that matches."""
    return next((rule for rule in rules if rule.matches(name)), None)


def read_rules(path: Path) -> list[Rule]:
    """The rules of a TOML file, in their order: a table `rules` from patterns to recipes.

    Raises:
        ReadError: it cannot be read, or is no TOML.
        UsageError: it holds something else, or a rule that is none.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReadError(f"'{path}' cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ReadError(f"'{path}' is no TOML: {error}") from None
    table = document.get("rules")
    if document.keys() != {"rules"} or not isinstance(table, dict):
        message = "must hold a table [rules] and nothing else: 'PATTERN' = 'RECIPE'"
        raise UsageError(f"'{path}' {message}")
    try:
        return [Rule.of(pattern, _text(pattern, recipe)) for pattern, recipe in table.items()]
    except UsageError as error:
        raise located(error, f"'{path}'") from None


def _text(pattern: str, recipe: object) -> str:
    if isinstance(recipe, str):
        return recipe
    message = "must be a recipe in quotes, or 'keep'; a pattern with dots is in quotes, too"
    raise UsageError(f"rule '{pattern}' {message}")

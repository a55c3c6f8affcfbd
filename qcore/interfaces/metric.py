"""Metrics: one number from the sums of a comparison."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from qcore.error_stats import ErrorStats
from qcore.spec import Configurable


class Metric(Configurable, ABC):
    """A number that follows from mergeable sums, never from whole arrays."""

    needs: ClassVar[frozenset[str]] = frozenset()
    """The sums and histograms it reads, by the names in `qcore.error_stats.STATS`."""

    title: ClassVar[str] = ""
    """The heading of its column, with the unit; the id where empty."""

    best: ClassVar[str] = "low"
    """Whether a `low` or a `high` value is the better one."""

    scope: ClassVar[Literal["tensor", "output"]] = "tensor"
    """What the sums are over: the `tensor` itself, or the `output` of the layer it belongs to."""

    @abstractmethod
    def from_stats(self, stats: ErrorStats) -> float:
        """The metric's value; NaN where it is not defined. `stats.count` is at least 1."""

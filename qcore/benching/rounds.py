"""Timing in turns: whatever the machine does besides, it does to every contestant."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from qcore.errors import QcoreError, UsageError

_BUDGET = 2.0
"""A contestant whose timed runs took so many seconds in all sits out the rounds that are left."""


class Contestant(Protocol):
    """What is timed."""

    def warm_up(self) -> None:
        """Ready what the runs need, run once, untimed, and check the result."""

    def run(self) -> object:
        """What is timed. The result is freed after the clock has stopped."""


@dataclass(frozen=True)
class Times:
    """The timed runs of one contestant.

    Attributes:
        seconds: one a round, from the first round on.
        error: why there are none, in one line, or None.
    """

    seconds: tuple[float, ...]
    error: str | None = None

    @property
    def median(self) -> float | None:
        """Seconds; None if there was no run."""
        return statistics.median(self.seconds) if self.seconds else None

    @property
    def spread(self) -> float | None:
        """What the middle half of the runs spans, over the median; None if there was no run."""
        if not self.seconds:
            return None
        quarter, median, three_quarters = np.percentile(self.seconds, [25, 50, 75])
        return float((three_quarters - quarter) / median) if median > 0 else None

    def over(self, other: Times) -> float | None:
        """The median of own seconds over the other's of the same round; None without any."""
        pairs = zip(self.seconds, other.seconds, strict=False)  # who sat out did so at the end
        ratios = [own / theirs for own, theirs in pairs if theirs > 0]
        return statistics.median(ratios) if ratios else None


def in_turns(contestants: Sequence[Contestant], repeat: int, seed: int) -> list[Times]:
    """Warm every contestant up, then time one run of each, again and again.

    Each round has an order of its own, so that nobody always finds the caches as the same
    neighbour left them. One that raises has an error instead of times.

    Args:
        contestants: who takes part.
        repeat: how many rounds; fewer for those that take long.
        seed: of the orders.

    Raises:
        UsageError: there is to be no round.
    """
    if repeat < 1:
        raise UsageError(f"repeat is at least 1, not {repeat}")
    seconds: list[list[float]] = [[] for _ in contestants]
    errors: dict[int, str] = {}
    for i, contestant in enumerate(contestants):
        try:
            contestant.warm_up()
        except Exception as error:
            errors[i] = _one_line(error)
    order = np.random.default_rng(seed)
    for _ in range(repeat):
        for i in map(int, order.permutation(len(contestants))):
            if i in errors or sum(seconds[i]) > _BUDGET:
                continue
            try:
                seconds[i].append(_time(contestants[i]))
            except Exception as error:
                errors[i] = _one_line(error)
    return [
        Times(() if i in errors else tuple(taken), errors.get(i)) for i, taken in enumerate(seconds)
    ]


def _time(contestant: Contestant) -> float:
    start = time.perf_counter()
    result = contestant.run()
    seconds = time.perf_counter() - start
    del result
    return seconds


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, QcoreError) else f"{type(error).__name__}: {text}"

"""Rounding policies as the kernels know them: a table of twelve bits, or numbers in [0, 1).

A policy that goes by where a value lies between its neighbours alone asks three things: is the
value below the threshold, at it or above; is it negative; is the lower neighbour even. The answers
to all twelve cases are the policy. They are read off the policies that come with qcore; what a
third party's asks cannot be known, so it runs as it is written.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple, cast

import numpy as np

import qcore
from qcore import Gap, RoundingPolicy

GIVEN, HASHED = -1, -2
"""Rules that go by a number for each element, as in rounding.cuh."""

_TABLED = (
    "half-even",
    "half-up",
    "half-down",
    "half-toward-zero",
    "half-away",
    "dpu",
    "floor",
    "ceil",
    "toward-zero",
)


class Rule(NamedTuple):
    """A policy for the kernels.

    Attributes:
        code: a table, `GIVEN` or `HASHED`.
        u: where it is `GIVEN`, the numbers, in the elements' shape, on the host.
        seed: where it is `HASHED`.
        position: of the first element, where it is `HASHED`.
    """

    code: int
    u: Any = None
    seed: int = 0
    position: int = 0


def rule_of(rounding: RoundingPolicy) -> Rule | None:
    """The rule of a policy that comes with qcore; None for any other."""
    kind, own, policy = type(rounding), _own_types(), cast(Any, rounding)
    if kind in own.tabled:
        return Rule(table_of(rounding))
    if kind is own.hashed:
        return Rule(HASHED, seed=policy.seed % 2**64)
    if kind is own.given:
        return Rule(GIVEN, u=policy.u)
    return None


@functools.lru_cache(maxsize=64)
def table_of(rounding: RoundingPolicy) -> int:
    """Bit 4·region + 2·negative + lower_even: whether a value in that case goes up."""
    region, negative, even = np.divmod(np.arange(12), 4)[0], *np.divmod(np.arange(12) % 4, 2)
    lower = np.where(negative == 1, -2.0, 1.0)
    gap = Gap(lower + 0.25 + 0.25 * region, lower, lower + 1, lower + 0.5, 1 - even)
    return int(np.sum(rounding.goes_up(gap).astype(np.int64) << np.arange(12)))


class _Own(NamedTuple):
    tabled: frozenset[type]
    hashed: type
    given: type


@functools.cache
def _own_types() -> _Own:
    stochastic = qcore.create("rounding", "stochastic")
    return _Own(
        frozenset(type(qcore.create("rounding", id)) for id in _TABLED),
        type(stochastic),
        type(stochastic.at(np.zeros((1, 1), np.uint64))),
    )

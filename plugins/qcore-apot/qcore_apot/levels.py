"""The level sets of APoT, built by dealing exponents to terms.

Exponents 0, 1, 2, … are dealt to n terms in turn, 2^k − 1 rounds of n: term i gets i, i + n,
i + 2n, …, and its set is zero and 2 to the minus each. A level is a sum that takes one element of
each set. With k = 2 and an odd number b of bits, one more term of one bit takes a single exponent
between the last two rounds, as the published implementation has it.
"""

from __future__ import annotations

import functools
import itertools

from qcore import LevelGrid, UsageError

_EXACT = 24
"""Integers of so many bits are exact in float32."""


def check_terms(bits: int, k: int, signed: bool) -> None:
    """Refuse what cannot be split into terms of k bits.

    Raises:
        UsageError: with the values of k that do.
    """
    magnitude = bits - signed
    if not _splits(magnitude, k):
        fits = [str(k) for k in range(1, magnitude + 1) if _splits(magnitude, k)]
        raise UsageError(
            f"'apot': {magnitude} magnitude bits do not split into terms of k={k} bits; "
            f"k that do at bits={bits}: {', '.join(fits)}"
        )


def _splits(magnitude: int, k: int) -> bool:
    return k >= magnitude or (k >= 1 and (magnitude % k == 0 or k == 2))


def term_sets(magnitude: int, k: int) -> list[list[float]]:
    """What each term may be: integers where float32 holds them, else scaled by a power of two."""
    terms = _deal(magnitude, min(k, magnitude))
    last = max(exponent for term in terms for exponent in term)
    top = last if last < _EXACT else 0
    return [[0.0, *(2.0 ** (top - exponent) for exponent in term)] for term in terms]


@functools.cache
def unsigned_grid(magnitude: int, k: int) -> LevelGrid:
    """The levels from zero up, in the units of `term_sets`."""
    return LevelGrid(sorted(map(sum, itertools.product(*term_sets(magnitude, k)))))


@functools.cache
def signed_grid(magnitude: int, k: int) -> LevelGrid:
    """Sign × the unsigned levels."""
    positive = unsigned_grid(magnitude, k).units.tolist()
    return LevelGrid([-unit for unit in reversed(positive[1:])] + positive)


def _deal(magnitude: int, k: int) -> list[list[int]]:
    """The exponents of each term, the odd one last."""
    terms, odd = divmod(magnitude, k)
    rounds = (1 << k) - 1
    exponents = itertools.count()
    dealt: list[list[int]] = [[] for _ in range(terms)]
    extra: list[int] = []
    for turn in range(rounds):
        if odd and turn == rounds - 1:
            extra = [next(exponents)]
        for term in dealt:
            term.append(next(exponents))
    return [*dealt, extra] if odd else dealt

"""The mean squared error of a staircase on random values, integrated in closed form."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcore.arithmetic import chunk_arithmetic
from qcore.random_values import Distribution
from qcore.recipe import Recipe
from qcore.staircase import Staircase

Floats = NDArray[np.float64]

_NEXT_TO_ZERO = 2.0**-900
"""Tails end before their edge: an end that belongs to the range is passed by as little as can be,
but not by so little that it is nothing over the scale of a distribution."""


class Noise(NamedTuple):
    """A mean squared error, value units², by where x lies.

    Attributes:
        granular: of x between the outermost x̂.
        clipping: of x beyond them.
    """

    granular: float
    clipping: float


def noise_between(stairs: Staircase, law: Distribution, lo: float, hi: float) -> Noise:
    """E[(x̂ − x)²] of a value above lo and not above hi; both may be infinite.

    With the jumps Δᵢ at the edges eᵢ, the middles mᵢ of the values on either side, and any value c,

        E[(x − x̂)²] = E[(x − c)²] − 2 Σ Δᵢ ∫_eᵢ^∞ (x − mᵢ) dP + 2 Σ Δᵢ ∫_−∞^eᵢ (x − mᵢ) dP,

    the first sum over the edges above c and the second over those below: starting from x̂ = c, each
    jump is put right. So nothing but tails is added up, and from where the tails are small.
    """
    lo, hi = (_NEXT_TO_ZERO if end == 0 else np.nextafter(end, np.inf) for end in (lo, hi))
    values, edges = stairs.values, stairs.edges[1:-1]
    centre = int(np.argmin(np.abs(values - np.clip(law.location, lo, hi))))
    above = law.above(np.clip([*edges[centre:], values[-1], hi], lo, hi))
    below = law.below(np.clip([lo, values[0], *edges[:centre]], lo, hi))
    inside = law.moments - above[:, -1] - below[:, 0]
    if inside[0] <= 0:  # nothing lies between
        return Noise(0.0, 0.0)
    above, below = above[:, :-1] - above[:, -1:], below[:, 1:] - below[:, :1]

    jumps, middles = np.diff(values), (values[:-1] + values[1:]) / 2
    mass, first, _ = np.hstack([-below[:, 1:], above[:, :-1]])
    total = _about(values[centre], inside) - 2 * np.sum(jumps * (first - middles * mass))
    clipping = _about(values[0], below[:, 0]) + _about(values[-1], above[:, -1])
    clipping = max(clipping, 0.0)  # of next to nothing, it may come out below
    return Noise(max(total - clipping, 0.0) / inside[0], clipping / inside[0])


def _about(value: float, moments: Floats) -> float:
    """∫ (x − value)² dP from the moments (3,) of P."""
    mass, first, second = moments
    return float(second - 2 * value * first + value * value * mass)


def noise_at(recipe: Recipe, stairs: Staircase, x: Floats) -> list[Noise]:
    """(x̂ − x)² of single values (n,), at the ends of the range that the stairs are for.

    There two steps may meet, and float32 decides: so they are quantized, as float32.
    """
    quantizer, _, rounding, *_ = recipe.parts
    block = x.astype(np.float32)[None]
    with chunk_arithmetic():
        restored = quantizer.decode(quantizer.encode(block, stairs.params, rounding), stairs.params)
    errors = (restored.astype(np.float64) - block)[0] ** 2
    beyond = (block[0] < stairs.values[0]) | (block[0] > stairs.values[-1])
    split = np.array([np.where(beyond, 0, errors), np.where(beyond, errors, 0)])
    return [Noise(*each) for each in split.T.tolist()]

"""NormalFloat keeps the contract of a scheme, and is NF4 at 4 bits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import qcore
import qcore.testing
from qcore_normal_float.scheme import NormalFloat

WIDTHS = range(2, 9)

# `get_4bit_type("nf4")` in bitsandbytes, whose quantiles were computed in float32.
NF4 = [
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
    -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
]  # fmt: skip


@qcore.testing.parametrize_with_checks([NormalFloat(bits) for bits in WIDTHS])
def test_conforms(scheme: NormalFloat, check: Callable[[NormalFloat], None]) -> None:
    check(scheme)


def test_four_bits_are_the_published_levels() -> None:
    assert NormalFloat(4).grid.units == pytest.approx(NF4, abs=1e-6)


@pytest.mark.parametrize("bits", WIDTHS)
def test_the_levels_reach_from_minus_one_to_one_with_zero_among_them(bits: int) -> None:
    units = NormalFloat(bits).grid.units
    assert len(units) == 2**bits
    assert (units[0], units[-1]) == (-1, 1)
    assert units[2 ** (bits - 1) - 1] == 0


def test_a_code_is_the_index_of_the_nearest_level() -> None:
    q = qcore.quantize(np.array([-2, -0.1, 0, 0.4, 2], np.float32), "normal-float bits=4")
    assert q.scale.tolist() == [2]
    assert q.codes.tolist() == [0, 6, 7, 9, 15]
    assert q.dequantize() == pytest.approx([-2, 2 * NF4[6], 0, 2 * NF4[9], 2])


def test_it_keeps_more_of_a_normal_distribution_than_even_steps_do() -> None:
    x = np.random.default_rng(0).standard_normal((64, 256)).astype(np.float32)
    recipes = [f"{scheme} bits=4 granularity=group:64" for scheme in ("normal-float", "symmetric")]
    own, even = (row.metrics["sqnr_db"] for row in qcore.compare({"x": x}, recipes).rows)
    assert own > even

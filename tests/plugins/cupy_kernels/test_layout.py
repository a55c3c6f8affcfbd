"""Every element finds its block, however the blocks lie in memory and are shared out."""

from __future__ import annotations

import numpy as np
import pytest

from against_reference import (
    REFERENCE,
    assert_same,
    context_of,
    normal,
    policy_for,
    quantizer_of,
)
from qcore import Backend, QuantParams
from qcore_cupy.errors import ORDER
from qcore_cupy.layout import TILE


@pytest.mark.parametrize("scheme", ["symmetric", "asymmetric", "uniform", "apot"])
@pytest.mark.parametrize(
    "shape",
    [
        (1, 1),
        (1, 5000),
        (5000, 1),
        (3, TILE),
        (2, TILE + 1),
        (TILE - 1, 3),
        (TILE + 1, 3),
        (300, 33),
        (33, 300),
    ],
)
@pytest.mark.parametrize("rounding", ["half-even", "stochastic:5"])
def test_every_element_finds_its_block_whatever_the_shape(
    backend: Backend, scheme: str, shape: tuple[int, int], rounding: str
) -> None:
    quantizer = quantizer_of(scheme, 6)
    rng = np.random.default_rng(2)
    sizes = np.exp2(rng.integers(-20, 20, (shape[0], 1)))
    blocks = (rng.standard_normal(shape) * sizes).astype(np.float32)
    params = quantizer.fit(blocks, context_of(blocks))
    assert_same(backend, quantizer, blocks, params, policy_for(rounding, shape))


def test_more_groups_than_run_at_once_share_the_work_and_sums_are_the_same_every_time(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qcore_cupy.layout._MOST_GROUPS", 3)
    quantizer, blocks = quantizer_of("symmetric", 8), normal(10, 5 * TILE // 2 + 7)
    params, policy = quantizer.fit(blocks, context_of(blocks)), policy_for("half-even", (1, 1))
    first = backend.measure(quantizer, blocks, params, policy, ORDER)
    assert first == backend.measure(quantizer, blocks, params, policy, ORDER)
    assert_same(backend, quantizer, blocks, params, policy)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
@pytest.mark.parametrize("scheme", ["symmetric", "apot"])
def test_nothing_is_quantized_to_nothing(
    backend: Backend, scheme: str, shape: tuple[int, int]
) -> None:
    quantizer, blocks = quantizer_of(scheme, 4), np.zeros(shape, np.float32)
    params = QuantParams(np.ones((shape[0], 1), np.float32))
    rounding = policy_for("half-even", shape)
    codes = backend.encode(quantizer, blocks, params, rounding)
    assert codes.shape == backend.decode(quantizer, codes, params).shape == shape
    assert backend.measure(quantizer, blocks, params, rounding, ORDER).e2 == 0


def test_blocks_and_params_may_lie_in_memory_in_any_way(backend: Backend) -> None:
    quantizer, blocks = quantizer_of("uniform", 5), normal(40, 60)
    fitted = quantizer.fit(blocks, context_of(blocks))
    wide = np.repeat(fitted.scale, 3, axis=1)[:, 1:2]
    params = QuantParams(wide, offset=np.broadcast_to(np.float32(-1.5), (40, 1)))
    assert not params.scale.flags.c_contiguous
    policy = policy_for("half-up", (40, 60))
    expected = REFERENCE.encode(quantizer, blocks, params, policy)
    spread = np.zeros((80, 180), np.float32)
    spread[::2, ::3] = blocks
    for laid in (spread[::2, ::3], np.asfortranarray(blocks), blocks[::-1][::-1]):
        codes = backend.encode(quantizer, laid, params, policy)
        np.testing.assert_array_equal(codes, expected)

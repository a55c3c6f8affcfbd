"""The backend as a whole, on the CPU: conforming, under the engine, and on one side at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import qcore
from against_reference import policy_for, quantizer_of
from cuda_on_cpu import OnDevice
from qcore import Backend, QuantParams
from qcore.testing import checks_for
from qcore_cupy import CupyBackend
from qcore_cupy.errors import ORDER


@pytest.mark.parametrize("check", checks_for(CupyBackend()), ids=lambda check: check.__name__)
def test_it_passes_the_conformance_kit(backend: Backend, check: Any) -> None:
    check(backend)


def test_the_engine_runs_on_it(backend: Backend) -> None:
    x = np.random.default_rng(0).standard_normal((64, 96)).astype(np.float32)
    for recipe in ("asymmetric bits=4 granularity=group:32 rounding=stochastic:3", "apot bits=5"):
        codes = qcore.quantize(x, recipe, backend=backend, threads=1).codes
        np.testing.assert_array_equal(codes, qcore.quantize(x, recipe, backend="reference").codes)
        ours, theirs = (
            qcore.compare({"x": x}, [recipe], backend=engine, threads=1).rows[0].metrics
            for engine in (backend, "reference")
        )
        assert ours == pytest.approx(theirs, rel=1e-12)
    layer = qcore.Linear(qcore.quantize(x, "symmetric bits=8"), backend=backend)
    y = layer(qcore.quantize(x, "asymmetric bits=8 granularity=token", backend="reference"))
    assert isinstance(y, np.ndarray)
    assert y.shape == (64, 64)


def test_some_here_and_some_there_is_refused_and_says_which(backend: Backend) -> None:
    quantizer, rounding = quantizer_of("symmetric", 4), policy_for("half-even", (2, 3))
    host = np.ones((2, 3), np.float32)
    params = QuantParams(np.ones((2, 1), np.float32))
    message = (
        r"^blocks is on the GPU \(\(2, 3\) float32\), but scale is in the host's memory \(\(2, 1\) "
        r"float32\); move one, with backend.asarray or cupy.asnumpy$"
    )
    with pytest.raises(qcore.UsageError, match=message):
        backend.encode(quantizer, host.view(OnDevice), params, rounding)
    own = QuantParams(params.scale.view(OnDevice))
    with pytest.raises(
        qcore.UsageError, match=r"^scale is on the GPU .* but blocks is in the host"
    ):
        backend.measure(quantizer, host, own, rounding, ORDER)
    a = np.ones((4, 3), np.int8)
    with pytest.raises(qcore.UsageError, match=r"^b is on the GPU .* but a is in the host"):
        backend.gemm(a, a.T.view(OnDevice))
    np.testing.assert_array_equal(backend.gemm(a, backend.prepare(a.T.view(OnDevice))), 3)
    np.testing.assert_array_equal(backend.gemm(a.view(OnDevice), backend.prepare(a.T)), 3)

"""The cupy backend against what the GPU itself can do, measured in the same run.

Quantizing and measuring a tensor that is on the GPU reads each element once, so the peer is a copy
from the GPU's memory to itself: bytes read a second, over bytes read and written a second. An int8
product stands beside one of float16. Data are random: on zeros a GPU runs faster.
"""

from __future__ import annotations

import importlib
import statistics
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import qcore
from qcore_cupy import CupyBackend

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # CuPy's, while it is imported
    REASON = CupyBackend().available()

pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))

ROUNDS = 15
LEAST_OF_COPY = 0.5
SIDE = 1 << 14  # 1 GiB of float32: many times what any GPU caches
GEMM_SIDE = 8192

# Scheme, bits, rounding, blocks (n, b), whether they lie side by side, and the least ratio.
CASES = {
    "symmetric 8 channel": ("symmetric", 8, "half-even", (SIDE, SIDE), False, LEAST_OF_COPY),
    "symmetric 8 tensor": ("symmetric", 8, "half-even", (1, SIDE * SIDE), False, LEAST_OF_COPY),
    "symmetric 8 group:32": ("symmetric", 8, "half-even", (SIDE * SIDE // 32, 32), False, 0.0),
    "symmetric 8 columns": ("symmetric", 8, "half-even", (SIDE, SIDE), True, 0.0),
    "symmetric 8 half-away": ("symmetric", 8, "half-away", (SIDE, SIDE), False, 0.0),
    "asymmetric 8 channel": ("asymmetric", 8, "half-even", (SIDE, SIDE), False, 0.0),
    "uniform 8 channel": ("uniform", 8, "half-even", (SIDE, SIDE), False, 0.0),
    "apot 4 channel": ("apot", 4, "half-even", (SIDE, SIDE), False, 0.0),
    "symmetric 8 stochastic": ("symmetric", 8, "stochastic", (SIDE, SIDE), False, 0.0),
}
SUMS = {"Σx² Σe²": ("x2", "e2"), "standard": ("x2", "e2", "xy", "y2", "max_e")}


@pytest.fixture(scope="module")
def cupy() -> Any:
    return importlib.import_module("cupy")


def seconds(cupy: Any, call: Callable[[], object]) -> float:
    """The median time that the GPU takes, until its results are there."""
    times = []
    for _ in range(3):
        call()
    for _ in range(ROUNDS):
        start, stop = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        call()
        stop.record()
        stop.synchronize()
        times.append(cupy.cuda.get_elapsed_time(start, stop) / 1e3)
    return statistics.median(times)


@pytest.mark.parametrize("name", CASES)
def test_quantizing_and_measuring_beside_a_copy(
    name: str, cupy: Any, report: list[str], benchmark: Any
) -> None:
    scheme, bits, rounding, shape, turned, floor = CASES[name]
    backend, policy = CupyBackend(), qcore.create("rounding", rounding)
    quantizer = qcore.create("scheme", scheme, bits=bits)
    memory = cupy.random.standard_normal(shape[::-1] if turned else shape, dtype=cupy.float32)
    x = memory.T if turned else memory
    ends = np.full((shape[0], 1), 4, np.float32)
    snap = qcore.create("scale_format", "float32").snap
    fitted = quantizer.fit(ends, qcore.FitContext(-ends, ends, snap))
    params = qcore.QuantParams(
        *(
            None if field is None else backend.asarray(field)
            for field in (fitted.scale, fitted.zero_point, fitted.offset)
        )
    )
    other = cupy.empty_like(memory)
    copy = 2 * x.nbytes / seconds(cupy, lambda: cupy.copyto(other, memory))
    for title, sums in SUMS.items():

        def measure(sums: tuple[str, ...] = sums) -> qcore.ErrorStats:
            return backend.measure(quantizer, x, params, policy, sums)

        read = x.nbytes / seconds(cupy, measure)
        ratio = read / copy
        report.append(
            f"cupy {name:24s} {title:9s} {read / 1e9:6.0f} GB/s  copy {copy / 1e9:6.0f} GB/s  "
            f"ratio {ratio:4.2f}" + (f"  (floor {floor})" if floor else "")
        )
        assert ratio >= (floor if title == "Σx² Σe²" else 0)
    benchmark.pedantic(measure, rounds=3)


def test_int8_products_beside_float16(cupy: Any, report: list[str], benchmark: Any) -> None:
    backend, shape = CupyBackend(), (GEMM_SIDE, GEMM_SIDE)
    a, b = (cupy.random.randint(-128, 128, shape).astype(cupy.int8) for _ in range(2))
    unsigned = a.view(cupy.uint8)
    halves = [cupy.random.standard_normal(shape, dtype=cupy.float32).astype("e") for _ in range(2)]
    prepared = backend.prepare(b)
    rows = cupy.asarray([0, GEMM_SIDE // 2, GEMM_SIDE - 1])
    sums = backend.gemm(a, prepared)[rows]
    np.testing.assert_array_equal(
        cupy.asnumpy(sums), cupy.asnumpy(a[rows].astype(float) @ b.astype(float))
    )
    operations = 2 * GEMM_SIDE**3
    peer = operations / seconds(cupy, lambda: cupy.matmul(*halves))
    for name, call in {
        "prepared": lambda: backend.gemm(a, prepared),
        "as they come": lambda: backend.gemm(a, b),
        "uint8 × int8, prepared": lambda: backend.gemm(unsigned, prepared),
    }.items():
        rate = operations / seconds(cupy, call)
        report.append(
            f"cupy int8 {GEMM_SIDE}³, {name:24s} {rate / 1e12:6.0f} Tops/s  "
            f"float16 {peer / 1e12:6.0f} Tflop/s  ratio {rate / peer:4.2f}"
        )
    benchmark.pedantic(lambda: backend.gemm(a, prepared), rounds=3)

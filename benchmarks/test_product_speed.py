"""int8-blas against what else multiplies int8 on a CPU, in the same run and in turns.

The floors are ratios to float32 sgemm of the same shape, and to ONNX Runtime and NumPy's own int32
product; the last two cannot exceed what sgemm itself reaches on the machine, so they are the lower
of their figure and nine tenths of that.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import qcore

ROUNDS = {"1024x1024x1024": 15, "2048x4096x4096": 5, "1x4096x4096": 31}
FLOORS = {
    ("1024x1024x1024", "gemm"): 0.75,
    ("1024x1024x1024", "prepared"): 0.9,
    ("2048x4096x4096", "gemm"): 0.75,
    ("2048x4096x4096", "prepared"): 0.9,
    ("1x4096x4096", "prepared"): 0.8,
}

Calls = dict[str, Callable[[], object]]


def integers(*shape: int, seed: int) -> NDArray[np.int8]:
    return np.random.default_rng(seed).integers(-128, 128, shape, dtype=np.int8)


def in_turns(calls: Calls, rounds: int) -> dict[str, float]:
    """The median seconds of each call."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in taken.items()}


@pytest.mark.parametrize("shape", ROUNDS)
def test_ratio_to_sgemm(shape: str, report: list[str]) -> None:
    m, k, n = map(int, shape.split("x"))
    a, b = integers(m, k, seed=0), integers(k, n, seed=1)
    floats = a.astype(np.float32), b.astype(np.float32)
    if m == 1:  # a matrix and a vector, which BLAS multiplies without packing either
        floats = floats[0][0], floats[1]
    out = np.empty((*floats[0].shape[:-1], n), np.float32)
    backend = qcore.create("backend", "int8-blas")
    prepared = backend.prepare(b)
    seconds = in_turns(
        {
            "sgemm": lambda: np.matmul(*floats, out=out),
            "gemm": lambda: backend.gemm(a, b),
            "prepared": lambda: backend.gemm(a, prepared),
        },
        ROUNDS[shape],
    )
    for name in ("gemm", "prepared"):
        ratio, floor = seconds["sgemm"] / seconds[name], FLOORS.get((shape, name))
        report.append(
            f"{shape:16s} {name:9s} {2e-9 * m * k * n / seconds[name]:7.1f} GOP/s  "
            f"ratio to sgemm {ratio:5.2f}" + (f"  (floor {floor})" if floor else "")
        )
        assert floor is None or ratio >= floor


def matmul_integer(a: NDArray[Any], b: NDArray[Any]) -> Callable[[], object]:
    """ONNX Runtime's MatMulInteger."""
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    kinds = {np.dtype(np.int8): onnx.TensorProto.INT8, np.dtype(np.uint8): onnx.TensorProto.UINT8}
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMulInteger", ["a", "b"], ["y"])],
        "product",
        [value("a", kinds[a.dtype], None), value("b", kinds[b.dtype], None)],
        [value("y", onnx.TensorProto.INT32, None)],
    )
    opset = onnx.helper.make_opsetid("", 21)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10)
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"a": a, "b": b})


def test_ratio_to_other_integer_products(report: list[str]) -> None:
    a, b = integers(1024, 1024, seed=0), integers(1024, 1024, seed=1)
    backend = qcore.create("backend", "int8-blas")
    floats = a.astype(np.float32), b.astype(np.float32)
    few, wide = a[:64].astype(np.int32), b.astype(np.int32)
    calls = {
        "sgemm": lambda: floats[0] @ floats[1],
        "ours": lambda: backend.gemm(a, b),
        "onnxruntime s8s8": matmul_integer(a, b),
        "onnxruntime u8s8": matmul_integer(a.view(np.uint8), b),
        "numpy int32": lambda: few @ wide,  # 64 of the 1024 rows
    }
    torch = pytest.importorskip("torch")
    left, right = torch.from_numpy(a), torch.from_numpy(b)
    calls["torch._int_mm"] = lambda: torch._int_mm(left, right)
    seconds = in_turns(calls, 7)
    seconds["numpy int32"] *= 1024 / len(few)
    for name, asked in {
        "onnxruntime s8s8": 3.0,
        "onnxruntime u8s8": 0.0,
        "numpy int32": 500.0,
        "torch._int_mm": 0.0,
    }.items():
        ratio, possible = seconds[name] / seconds["ours"], seconds[name] / seconds["sgemm"]
        report.append(
            f"1024x1024x1024   {name:17s} ratio {ratio:6.2f}  sgemm's {possible:6.2f}"
            + (f"  (floor {asked})" if asked else "")
        )
        assert ratio >= min(asked, 0.9 * possible)


def test_what_the_epilogue_costs(report: list[str]) -> None:
    generator = np.random.default_rng(0)
    x, weight, bias = (
        generator.standard_normal(shape).astype(np.float32)
        for shape in ((1024, 1024), (1024, 1024), (1024,))
    )
    backend = qcore.create("backend", "int8-blas")
    q = qcore.quantize(x, "symmetric bits=8")
    tokens = qcore.quantize(x, "asymmetric bits=8 granularity=token")
    w = qcore.quantize(weight, "symmetric bits=8 granularity=channel:0")
    bare = backend.prepare(np.ascontiguousarray(w.codes.T))
    output = "asymmetric bits=8 observer=fixed:0:120"
    layer = qcore.Linear(w, bias, activation="relu", output=output, backend=backend)
    seconds = in_turns(
        {
            "bare": lambda: backend.gemm(q.codes, bare),
            "bias, ReLU, requantize": lambda: layer(q),
            "and a zero point a token": lambda: layer(tokens),
        },
        15,
    )
    for name in list(seconds)[1:]:
        cost = seconds[name] / seconds["bare"] - 1
        report.append(f"1024x1024x1024   {name:25s} {cost:6.1%} over the bare product")
    assert seconds["bias, ReLU, requantize"] <= 1.3 * seconds["bare"]

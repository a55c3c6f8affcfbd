"""int8-blas against what else multiplies int8 on a CPU, in the same run and in turns.

The floors are ratios to float32 sgemm of the same shape, and to ONNX Runtime and NumPy's own int32
product; the last two cannot exceed what sgemm itself reaches on the machine, so they are the lower
of their figure and nine tenths of that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import qcore
from qcore.benching import rounds as rounds_

ROUNDS = {"1024x1024x1024": 15, "2048x4096x4096": 5, "1x4096x4096": 31}
FLOORS = {
    ("1024x1024x1024", "gemm"): 0.75,
    ("1024x1024x1024", "prepared"): 0.9,
    ("2048x4096x4096", "gemm"): 0.75,
    ("2048x4096x4096", "prepared"): 0.9,
    ("1x4096x4096", "prepared"): 0.8,
}


@dataclass(frozen=True)
class Call:
    """Something that is timed in turns with others."""

    run: Callable[[], object]

    def warm_up(self) -> None:
        self.run()


def in_turns(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, rounds_.Times]:
    """The timed runs of each call."""
    times = rounds_.in_turns([Call(run) for run in calls.values()], rounds, seed=0)
    return dict(zip(calls, times, strict=True))


def integers(*shape: int, seed: int) -> NDArray[np.int8]:
    return np.random.default_rng(seed).integers(-128, 128, shape, dtype=np.int8)


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
    times = in_turns(
        {
            "sgemm": lambda: np.matmul(*floats, out=out),
            "gemm": lambda: backend.gemm(a, b),
            "prepared": lambda: backend.gemm(a, prepared),
        },
        ROUNDS[shape],
    )
    for name in ("gemm", "prepared"):
        ratio, floor = ratio_of(times["sgemm"], times[name]), FLOORS.get((shape, name))
        seconds = times[name].median or math.nan
        report.append(
            f"{shape:16s} {name:9s} {2e-9 * m * k * n / seconds:7.1f} GOP/s  "
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
    times = in_turns(calls, 7)
    parts = {"numpy int32": 1024 / len(few)}
    floors = {"onnxruntime s8s8": 3.0, "numpy int32": 500.0}
    for name in ("onnxruntime s8s8", "onnxruntime u8s8", "numpy int32", "torch._int_mm"):
        ratio = parts.get(name, 1) * ratio_of(times[name], times["ours"])
        possible = parts.get(name, 1) * ratio_of(times[name], times["sgemm"])
        floor = floors.get(name)
        report.append(
            f"1024x1024x1024   {name:17s} ratio {ratio:6.2f}  sgemm's {possible:6.2f}"
            + (f"  (floor {floor:.0f})" if floor else "")
        )
        assert floor is None or ratio >= min(floor, 0.9 * possible)


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
    times = in_turns(
        {
            "bare": lambda: backend.gemm(q.codes, bare),
            "bias, ReLU, requantize": lambda: layer(q),
            "and a zero point a token": lambda: layer(tokens),
        },
        15,
    )
    for name in list(times)[1:]:
        cost = ratio_of(times[name], times["bare"]) - 1
        report.append(f"1024x1024x1024   {name:25s} {cost:6.1%} over the bare product")
    assert ratio_of(times["bias, ReLU, requantize"], times["bare"]) <= 1.3


def ratio_of(times: rounds_.Times, base: rounds_.Times) -> float:
    ratio = times.over(base)
    assert ratio is not None, times.error or base.error
    return ratio

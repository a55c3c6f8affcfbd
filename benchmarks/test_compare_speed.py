"""qcore.compare against the same computation in torch, on the matrices of a real model.

Both sides observe ranges, quantize and dequantize, and compute Σx², Σe², Σx·e and max|e|, from
which SQNR, max error and cosine follow; both on the same number of threads, in turns. The floors,
for one thread, are the least that is accepted.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

import qcore

torch = pytest.importorskip("torch")

ROUNDS = 7


def errors(x: Any, y: Any) -> tuple[float, ...]:
    flat = x.reshape(-1)
    e = (y - x).reshape(-1)
    return (
        torch.dot(flat, flat).item(),
        torch.dot(e, e).item(),
        torch.dot(flat, e).item(),
        e.abs().max().item(),
    )


def torch_symmetric(x: Any) -> tuple[float, ...]:
    scale = x.abs().amax(1) / 127
    zero = torch.zeros_like(scale, dtype=torch.int32)
    return errors(x, torch.fake_quantize_per_channel_affine(x, scale, zero, 0, -127, 127))


def torch_asymmetric(x: Any) -> tuple[float, ...]:
    low, high = torch.aminmax(x, dim=1)
    low, high = low.clamp(max=0), high.clamp(min=0)
    scale = (high - low) / 255
    zero = (-128 - low / scale).round().to(torch.int32)
    return errors(x, torch.fake_quantize_per_channel_affine(x, scale, zero, 0, -128, 127))


def torch_group(x: Any) -> tuple[float, ...]:
    blocks = x.reshape(-1, 32)
    return torch_symmetric(blocks)


def torch_levels(scheme: str) -> Callable[[Any], tuple[float, ...]]:
    grid = qcore.create("scheme", scheme, bits=4).grid
    levels = torch.tensor(grid.levels, dtype=torch.float32)
    cuts = torch.tensor(grid.cuts / grid.largest, dtype=torch.float32)

    def run(x: Any) -> tuple[float, ...]:
        scale = x.abs().amax(1, keepdim=True)
        index = torch.bucketize(x / scale, cuts)
        return errors(x, levels[index] * scale)

    return run


@dataclass(frozen=True)
class NaiveTernary(qcore.Quantizer):
    """A scheme as a third party writes it."""

    id: ClassVar[str] = "naive-ternary"
    bits: ClassVar[int] = 2

    def fit(self, blocks: Any, context: Any) -> qcore.QuantParams:
        scale = np.abs(blocks).mean(axis=1, keepdims=True)
        return qcore.QuantParams(context.snap(np.where(scale > 0, scale, 1)))

    def encode(self, blocks: Any, params: Any, rounding: Any) -> Any:
        return np.clip(rounding.round(blocks / params.scale), -1, 1).astype(np.int8)

    def decode(self, codes: Any, params: Any) -> Any:
        return codes * params.scale


def torch_ternary(x: Any) -> tuple[float, ...]:
    scale = x.abs().mean(1)
    zero = torch.zeros_like(scale, dtype=torch.int32)
    return errors(x, torch.fake_quantize_per_channel_affine(x, scale, zero, 0, -1, 1))


CASES = {
    "symmetric 8 channel:0": ("symmetric", 8, "channel:0", torch_symmetric, 4.0),
    "asymmetric 8 channel:0": ("asymmetric", 8, "channel:0", torch_asymmetric, 4.0),
    "pot 4 channel:0": ("pot", 4, "channel:0", torch_levels("pot"), 5.0),
    "apot 4 channel:0": ("apot", 4, "channel:0", torch_levels("apot"), 5.0),
    "symmetric 8 group:32": ("symmetric", 8, "group:32", torch_group, 3.0),
    "naive third party channel:0": (NaiveTernary(), None, "channel:0", torch_ternary, 2.5),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_ratio_to_torch(
    name: str,
    threads: int,
    matrices: dict[str, NDArray[np.float32]],
    report: list[str],
    benchmark: Any,
) -> None:
    scheme, bits, granularity, peer, floor = CASES[name]
    recipe = qcore.Recipe(scheme, bits, granularity)
    tensors = [torch.from_numpy(matrix) for matrix in matrices.values()]
    size = sum(matrix.nbytes for matrix in matrices.values())
    torch.set_num_threads(threads)

    def ours() -> qcore.Comparison:
        return qcore.compare(matrices, [recipe], threads=threads)

    def theirs() -> list[tuple[float, ...]]:
        return [peer(tensor) for tensor in tensors]

    comparison, sums = ours(), np.array(theirs()).sum(axis=0)
    expected = 10 * np.log10(sums[0] / sums[1])
    assert comparison.summary()[0].metrics["sqnr_db"] == pytest.approx(expected, abs=0.01)
    own, other = [], []
    for _ in range(ROUNDS):
        own.append(seconds(ours))
        other.append(seconds(theirs))
    benchmark.pedantic(ours, rounds=3)
    ratio = statistics.median(b / a for a, b in zip(own, other, strict=True))
    fast, slow = size / statistics.median(own) / 1e9, size / statistics.median(other) / 1e9
    report.append(
        f"{name:30s} {threads} thread{'s' if threads > 1 else ' '}  qcore {fast:5.2f} GB/s  "
        f"torch {slow:5.2f} GB/s  ratio {ratio:5.1f}  (floor {floor})"
    )
    assert threads > 1 or ratio >= floor


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start

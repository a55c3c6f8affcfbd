"""What comes with the core: a plugin like any other."""

from __future__ import annotations

from typing import Any

from qcore.builtin import (
    backends,
    distribution_metrics,
    granularities,
    metrics,
    observers,
    percentile,
    processes,
    roundings,
    scale_formats,
)
from qcore.builtin.readers import npy, npz, onnx, quantized, safetensors, torch
from qcore.hookspecs import hookimpl


@hookimpl
def qcore_roundings() -> list[type[Any]]:
    return [
        roundings.HalfEven,
        roundings.HalfUp,
        roundings.HalfDown,
        roundings.HalfTowardZero,
        roundings.HalfAway,
        roundings.Dpu,
        roundings.Floor,
        roundings.Ceil,
        roundings.TowardZero,
        roundings.Stochastic,
    ]


@hookimpl
def qcore_granularities() -> list[type[Any]]:
    return [
        granularities.Tensor,
        granularities.Channel,
        granularities.Group,
        granularities.Block,
        granularities.Token,
    ]


@hookimpl
def qcore_observers() -> list[type[Any]]:
    return [observers.MinMax, percentile.Percentile, observers.Mse, observers.Fixed]


@hookimpl
def qcore_scale_formats() -> list[type[Any]]:
    return [
        scale_formats.Float32,
        scale_formats.Float16,
        scale_formats.BFloat16,
        scale_formats.Pow2,
    ]


@hookimpl
def qcore_metrics() -> list[type[Any]]:
    return [
        metrics.SqnrDb,
        metrics.ExpectedSqnrDb,
        metrics.Mse,
        metrics.Rmse,
        metrics.Mae,
        metrics.MaxAbs,
        metrics.RelL2,
        metrics.Nsr,
        metrics.Cosine,
        metrics.Clipped,
        metrics.BitsPerWeight,
        metrics.OutputSqnrDb,
        metrics.OutputRelL2,
        distribution_metrics.P50,
        distribution_metrics.P95,
        distribution_metrics.P99,
        distribution_metrics.Decile,
    ]


@hookimpl
def qcore_backends() -> list[type[Any]]:
    return [backends.Reference]


@hookimpl
def qcore_readers() -> list[type[Any]]:
    return [
        npy.NpyReader,
        npz.NpzReader,
        quantized.QuantizedReader,
        safetensors.SafetensorsReader,
        onnx.OnnxReader,
        torch.TorchReader,
    ]


@hookimpl
def qcore_executors() -> list[type[Any]]:
    return [processes.Processes]

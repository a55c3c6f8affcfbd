"""The hooks a plugin may implement. None takes an argument; each returns a list of classes."""

from __future__ import annotations

import pluggy

from qcore.interfaces.backend import Backend
from qcore.interfaces.granularity import Granularity
from qcore.interfaces.metric import Metric
from qcore.interfaces.observer import Observer
from qcore.interfaces.quantizer import Quantizer
from qcore.interfaces.reader import TensorReader
from qcore.interfaces.rounding import RoundingPolicy
from qcore.interfaces.scale_format import ScaleFormat
from qcore.interfaces.workers import Workers

PLUGIN_API = 1
"""The version of all that a plugin relies on: hooks, interfaces, and what is handed over."""

hookspec = pluggy.HookspecMarker("qcore")
hookimpl = pluggy.HookimplMarker("qcore")
"""Marks a plugin's implementation of one of the hooks below."""


@hookspec
def qcore_schemes() -> list[type[Quantizer]]:
    """Quantization schemes."""
    return []


@hookspec
def qcore_roundings() -> list[type[RoundingPolicy]]:
    """Rounding policies."""
    return []


@hookspec
def qcore_granularities() -> list[type[Granularity]]:
    """Granularities."""
    return []


@hookspec
def qcore_observers() -> list[type[Observer]]:
    """Range observers."""
    return []


@hookspec
def qcore_scale_formats() -> list[type[ScaleFormat]]:
    """Scale formats."""
    return []


@hookspec
def qcore_backends() -> list[type[Backend]]:
    """Compute backends."""
    return []


@hookspec
def qcore_metrics() -> list[type[Metric]]:
    """Error metrics."""
    return []


@hookspec
def qcore_readers() -> list[type[TensorReader]]:
    """Readers of file formats."""
    return []


@hookspec
def qcore_executors() -> list[type[Workers]]:
    """Ways to run a comparison on other processes or machines."""
    return []

"""Where operands are: in the host's memory or in the device's, but never some here, some there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qcore import UsageError
from qcore_cupy.device import Device


def on_device(device: Device, operands: Mapping[str, Any]) -> bool:
    """Whether the operands are in the device's memory.

    Args:
        device: which.
        operands: arrays by what the caller calls them; None for one that is absent.

    Raises:
        UsageError: some are, and some are not.
    """
    present = {name: array for name, array in operands.items() if array is not None}
    here = {name: device.holds(array) for name, array in present.items()}
    if len(set(here.values())) > 1:
        there = next(name for name, held in here.items() if held)
        host = next(name for name, held in here.items() if not held)
        raise UsageError(
            f"{there} is on the GPU ({_words(present[there])}), but {host} is in the host's memory "
            f"({_words(present[host])}); move one, with backend.asarray or cupy.asnumpy"
        )
    return any(here.values())


def _words(array: Any) -> str:
    return f"{tuple(array.shape)} {array.dtype}"

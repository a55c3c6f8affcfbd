"""Schemes that the kernels do not know: as they are written, on arrays of the device.

CuPy's arrays answer to NumPy's functions, so most of what is written for NumPy runs on them. CuPy's
own kernels take subnormal float32 as zero, and so may such a scheme here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from qcore import QcoreError, Quantizer, QuantParams, RoundingPolicy, SchemeError
from qcore_cupy.availability import first_line
from qcore_cupy.device import Device

T = TypeVar("T")


def attempt(quantizer: Quantizer, call: Callable[[], T]) -> T:
    """What a scheme's own code gives on arrays of the device.

    Raises:
        SchemeError: it cannot work on them.
    """
    try:
        return call()
    except QcoreError:
        raise
    except (TypeError, ValueError, AttributeError, NotImplementedError) as error:
        raise SchemeError(
            f"'{quantizer.id}' cannot work on CuPy arrays ({type(error).__name__}: "
            f"{first_line(error)}); --backend numpy runs it"
        ) from error


def device_params(device: Device, params: QuantParams) -> QuantParams:
    """Params with every array on the device."""
    moved = {name: device.upload(array) for name, array in params.fields().items()}
    own = {name: moved.pop(name, None) for name in ("scale", "zero_point", "offset")}
    return dataclasses.replace(params, **own, extra=moved)


def device_rounding(device: Device, rounding: RoundingPolicy) -> RoundingPolicy:
    """A policy with every array that it holds on the device: numbers for each position, say."""
    if not dataclasses.is_dataclass(rounding):
        return rounding
    fields: dict[str, Any] = {
        f.name: getattr(rounding, f.name) for f in dataclasses.fields(rounding)
    }
    arrays = {name: field for name, field in fields.items() if isinstance(field, np.ndarray)}
    moved = {name: device.upload(array) for name, array in arrays.items()}
    return dataclasses.replace(rounding, **moved) if moved else rounding

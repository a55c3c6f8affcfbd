"""What kernels are told, as the structures that they take by value; every field has 8 bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ADDRESS, _INTEGER, _FLOAT = "u8", "i8", "f8"

BLOCKS = np.dtype([(name, _INTEGER) for name in ("size", "outer", "inner", "turned")])
"""`Blocks` of places.cuh."""

SCHEME = np.dtype(
    [
        ("scale", _ADDRESS),
        ("zero_point", _ADDRESS),
        ("offset", _ADDRESS),
        ("units", _ADDRESS),
        ("cuts", _ADDRESS),
        ("count", _INTEGER),
        ("low", _INTEGER),
        ("high", _INTEGER),
        ("clip_low", _FLOAT),
        ("clip_high", _FLOAT),
        ("rule", _INTEGER),
        ("u", _ADDRESS),
        ("seed", "u8"),
        ("position", _INTEGER),
    ]
)
"""`Scheme` of scheme.cuh."""

LAYER = np.dtype(
    [
        ("columns", _INTEGER),
        ("row_sums", _ADDRESS),
        ("column_sums", _ADDRESS),
        ("power", _FLOAT),
        ("row_scale", _ADDRESS),
        ("row_step", _INTEGER),
        ("column_scale", _ADDRESS),
        ("column_step", _INTEGER),
        ("left", _ADDRESS),
        ("left_step", _INTEGER),
        ("right", _ADDRESS),
        ("right_step", _INTEGER),
        ("terms", _INTEGER),
        ("total", _ADDRESS),
        ("adds", _INTEGER),
        ("bias", _ADDRESS),
        ("relu", _INTEGER),
        ("out", _ADDRESS),
    ]
)
"""`Layer` of epilogue.cuh."""


@dataclass(frozen=True, eq=False)
class Structure:
    """One structure, to be passed by value.

    It keeps its arrays until the kernel that reads them has been started: memory that is given
    back earlier may be another thread's by then.

    Attributes:
        dtype: which one.
        fields: numbers; arrays of the device, which become their addresses; None for no address.
            What is left out is 0.
    """

    dtype: np.dtype[Any]
    fields: Mapping[str, Any]

    def filled(self, address: Callable[[Any], int]) -> NDArray[Any]:
        """The structure as an array of one element."""
        value = np.zeros(1, self.dtype)
        for name, field in self.fields.items():
            if field is not None:
                value[name] = field if isinstance(field, int | float) else address(field)
        return value


def by_value(argument: Any, address: Callable[[Any], int]) -> Any:
    """An argument of a kernel as a launch takes it: no Python objects, no None."""
    if isinstance(argument, Structure):
        return argument.filled(address)
    if argument is None:
        return np.uint64(0)
    return np.int64(argument) if isinstance(argument, int) else argument

"""The scale formats: float32, float16, bfloat16 and powers of two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from qcore.errors import RangeError
from qcore.interfaces.scale_format import ScaleFormat

_MIN_NORMAL = 2.0**-126
_SQRT_HALF = np.sqrt(0.5)
_LARGEST_HALF = 65504.0
_LARGEST_POWER = 127


@dataclass(frozen=True)
class Float32(ScaleFormat):
    """IEEE single precision; subnormals are not used."""

    id: ClassVar[str] = "float32"
    bits: ClassVar[int] = 32
    dtype: ClassVar[str] = "float32"

    def snap(self, scale: NDArray[Any]) -> NDArray[np.float32]:
        largest = float(np.finfo(np.float32).max)
        return bounded(self, scale, _MIN_NORMAL, largest).astype(np.float32)


@dataclass(frozen=True)
class Float16(ScaleFormat):
    """IEEE half precision, to nearest even; from 2⁻²⁴ to 65504."""

    id: ClassVar[str] = "float16"
    bits: ClassVar[int] = 16
    dtype: ClassVar[str] = "float16"

    def snap(self, scale: NDArray[Any]) -> NDArray[np.float32]:
        # From 65520 on rounding to nearest would give infinity.
        near = np.where((scale > _LARGEST_HALF) & (scale < 65520), _LARGEST_HALF, scale)
        kept = bounded(self, near, 2.0**-24, _LARGEST_HALF)
        return kept.astype(np.float16).astype(np.float32)


@dataclass(frozen=True)
class BFloat16(ScaleFormat):
    """The upper half of a float32, to nearest even; subnormals are not used."""

    id: ClassVar[str] = "bfloat16"
    bits: ClassVar[int] = 16
    dtype: ClassVar[str] = "bfloat16"

    def snap(self, scale: NDArray[Any]) -> NDArray[np.float32]:
        largest = (2 - 2.0**-7) * 2.0**127
        single = bounded(self, scale, _MIN_NORMAL, largest).astype(np.float32).view(np.uint32)
        even = (single >> np.uint32(16)) & np.uint32(1)
        rounded = single + np.uint32(0x7FFF) + even
        return (rounded & np.uint32(0xFFFF0000)).view(np.float32)


@dataclass(frozen=True)
class Pow2(ScaleFormat):
    """A power of two from 2⁻¹²⁶ to 2¹²⁷, stored as an 8-bit exponent: a shift in hardware.

    Attributes:
        mode: `up` to the next power of two, so that nothing is clipped; to the `nearest` exponent,
            so from √2·2ᵏ up to 2ᵏ⁺¹; or `floor`.
    """

    id: ClassVar[str] = "pow2"
    bits: ClassVar[int] = 8
    dtype: ClassVar[str] = "float8_e8m0fnu"
    mode: Literal["up", "nearest", "floor"] = "up"

    def snap(self, scale: NDArray[Any]) -> NDArray[np.float32]:
        # By frexp, scale = fraction · 2^exponent with fraction in [½, 1): log2 is not exact.
        kept = bounded(self, scale, _MIN_NORMAL, float(np.finfo(np.float64).max))
        fraction, exponent = np.frexp(kept)
        below = {"up": fraction == 0.5, "nearest": fraction < _SQRT_HALF, "floor": True}[self.mode]
        power = exponent - below
        if (power > _LARGEST_POWER).any():
            raise too_large(self, scale, 2.0**_LARGEST_POWER)
        snapped: NDArray[np.float32] = np.ldexp(np.float32(1), power)
        return snapped


def bounded(
    scale_format: ScaleFormat, scale: NDArray[Any], smallest: float, largest: float
) -> NDArray[np.float64]:
    """`scale` in float64, raised to the smallest.

    Raises:
        RangeError: one is above the largest, or NaN.
    """
    wide: NDArray[np.float64] = np.maximum(scale, smallest, dtype=np.float64)
    if not (wide <= largest).all():
        raise too_large(scale_format, scale, largest)
    return wide


def too_large(scale_format: ScaleFormat, scale: NDArray[Any], largest: float) -> RangeError:
    """The error for a scale that the format cannot hold."""
    widest = scale_format.id == "float32"
    way_out = "scale the tensor down" if widest else "use scale_format=float32"
    return RangeError(
        f"a scale of {float(np.max(scale)):.6g} is too large for {scale_format} "
        f"(at most {largest:.6g}); {way_out}"
    )

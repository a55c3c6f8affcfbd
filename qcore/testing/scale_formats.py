"""Checks of scale formats: snap gives a stored number, the same ones every time, in order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qcore.errors import RangeError
from qcore.interfaces.scale_format import ScaleFormat
from qcore.testing.blocks import frozen
from qcore.testing.laws import (
    CheckSkipped,
    given,
    law,
    require,
    require_same,
    require_unchanged,
)

_COUNTED = 16
"""Formats of so many bits have few enough numbers to count."""


def _scales() -> NDArray[np.float64]:
    """Scales around one, ascending: even and odd ones, powers of two and their neighbours."""
    powers = np.exp2(np.arange(-12.0, 3))
    spread = np.exp2(np.random.default_rng(2).uniform(-12, 2, 200))
    beside = [np.nextafter(powers, 0), np.nextafter(powers, 9), powers * 1.5]
    return frozen(np.sort(np.concatenate([powers, *beside, spread])))


@law
def check_scale_format_bits(scale_format: ScaleFormat) -> None:
    """What a stored scale takes, bits, is a whole number from 1 to 64."""
    bits = scale_format.bits
    require(isinstance(bits, int) and 1 <= bits <= 64, f"bits is {bits!r}")


@law
def check_scale_format_gives_float32(scale_format: ScaleFormat) -> None:
    """Snapped scales are float32 in the same shape, positive and finite; the input stays."""
    for dtype in (np.float32, np.float64):
        for shape in ((1, 1), (7, 1), (0, 1), (5,)):
            with given(f"{dtype.__name__} scales of shape {shape}"):
                scale = np.full(shape, 0.3, dtype)
                before = scale.copy()
                snapped = scale_format.snap(frozen(scale))
                require_unchanged("the scale", before, scale)
                require(snapped.dtype == np.float32, f"snap gave {snapped.dtype}")
                require(snapped.shape == shape, f"snap gave shape {snapped.shape}")
                require(((snapped > 0) & np.isfinite(snapped)).all(), f"snap gave {snapped}")


@law
def check_scale_format_is_idempotent(scale_format: ScaleFormat) -> None:
    """A stored number is stored as itself: snap(snap(s)) = snap(s)."""
    once = scale_format.snap(_scales())
    require_same("snap of what was snapped", scale_format.snap(once), once, s=_scales())


@law
def check_scale_format_is_monotone(scale_format: ScaleFormat) -> None:
    """A larger scale is never stored as a smaller number."""
    snapped = scale_format.snap(_scales())
    highest = np.maximum.accumulate(snapped)
    require_same("snap of ascending scales", snapped, highest, s=_scales())


@law
def check_scale_format_is_near(scale_format: ScaleFormat) -> None:
    """From 2⁻¹² to 4, what is stored is from half the scale to twice the scale."""
    scales = _scales()
    snapped = scale_format.snap(scales).astype(np.float64)
    near = np.clip(snapped, scales / 2, scales * 2)
    require_same("the stored number", snapped, near, s=scales)


@law
def check_scale_format_by_element(scale_format: ScaleFormat) -> None:
    """A scale is stored alone as it is among others, and alike every time."""
    scales = _scales()
    together = scale_format.snap(scales)
    require_same("snap again", scale_format.snap(scales), together, s=scales)
    alone = np.concatenate([scale_format.snap(scales[i : i + 1]) for i in range(scales.size)])
    require_same("each by itself", alone, together, s=scales)


@law
def check_scale_format_has_as_many_numbers_as_bits(scale_format: ScaleFormat) -> None:
    """There are no more stored numbers than bits can tell apart."""
    if scale_format.bits > _COUNTED:
        raise CheckSkipped(f"{scale_format.bits} bits hold more numbers than can be counted")
    most = 1 << scale_format.bits
    random = np.random.default_rng(4)
    found: set[float] = set()
    for exponent in range(-126, 126, 2):
        scales = np.exp2(exponent + random.uniform(0, 2, 1024))
        try:
            found.update(np.unique(scale_format.snap(scales)).tolist())
        except RangeError:
            break
    require(len(found) <= most, f"{scale_format.bits} bits hold {most} numbers, not {len(found)}")


@law
def check_scale_format_ends(scale_format: ScaleFormat) -> None:
    """The faintest scale is raised to a stored number; the largest is finite, or a RangeError."""
    for faint in (np.float32(1e-45), np.float64(1e-300), np.float32(1e-38)):
        with given(f"a scale of {faint}"):
            snapped = scale_format.snap(np.array([[faint]]))
            require(((snapped > 0) & np.isfinite(snapped)).all(), f"snap gave {snapped}")
            require_same("snap again", scale_format.snap(snapped), snapped)
    for huge in (np.float32(3.4e38), np.float64(1e300), np.float64(np.inf), np.float64(np.nan)):
        with given(f"a scale of {huge}"):
            try:
                snapped = scale_format.snap(np.array([[huge]]))
            except RangeError:
                continue
            require(((snapped > 0) & np.isfinite(snapped)).all(), f"snap gave {snapped}")


CHECKS = (
    check_scale_format_bits,
    check_scale_format_gives_float32,
    check_scale_format_is_idempotent,
    check_scale_format_is_monotone,
    check_scale_format_is_near,
    check_scale_format_by_element,
    check_scale_format_has_as_many_numbers_as_bits,
    check_scale_format_ends,
)

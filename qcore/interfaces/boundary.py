"""What a scheme, an observer or a backend hands back is checked before anything is made of it.

Blocks are read-only, so what is handed out needs no check. That values are finite is read off the
error sums, which cost nothing more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.errors import SchemeError
from qcore.interfaces.quantizer import Quantizer
from qcore.interfaces.scale_format import ScaleFormat
from qcore.params import QuantParams


def check_range(lo: Any, hi: Any, blocks: int) -> None:
    """Refuse what is no range for each of so many blocks.

    Raises:
        SchemeError: the ends are not (blocks, 1) finite floats, the lower not above the upper.
    """
    for name, end in (("lo", lo), ("hi", hi)):
        _check_array(name, end, "f", (blocks, 1))
    finite = lo.min(initial=0) > -np.inf and hi.max(initial=0) < np.inf
    if not (finite and (lo <= hi).all()):  # nor is NaN below anything
        raise SchemeError("gave a range that is not finite, or with lo above hi")


def check_params(params: Any, blocks: int) -> None:
    """Refuse what are no params for so many blocks.

    Raises:
        SchemeError: the scale is not (blocks, 1) float32, positive and finite, or another field
            not as `QuantParams` documents it.
    """
    if not isinstance(params, QuantParams):
        raise SchemeError(f"gave {type(params).__name__} from fit; give QuantParams")
    column = (blocks, 1)
    _check_array("scale", params.scale, "f", column)
    if params.scale.dtype != np.float32:
        raise SchemeError(f"gave a {params.scale.dtype} scale; give context.snap(scale), float32")
    least, greatest = params.scale.min(initial=1), params.scale.max(initial=1)
    if not (least > 0 and greatest < np.inf):
        raise SchemeError(f"gave scales from {least} to {greatest}; a scale is positive and finite")
    if params.zero_point is not None:
        _check_array("zero_point", params.zero_point, "i", column)
    if params.offset is not None:
        _check_array("offset", params.offset, "f", column)
        if not np.isfinite(params.offset).all():
            raise SchemeError("gave an offset that is not finite")
    for name, array in params.extra.items():
        _check_array(f"extra '{name}'", array, "biufV", (blocks, *np.shape(array)[1:2]))


def check_stored_scale(scale: NDArray[np.float32], scale_format: ScaleFormat) -> None:
    """Refuse scales that would be others once they are stored: no table is to flatter a scheme.

    Raises:
        SchemeError: one is none of the format's numbers.
        RangeError: one is larger than the largest of them.
    """
    if not (scale_format.snap(scale) == scale).all():
        raise SchemeError(
            f"gave a scale that {scale_format} does not store; give context.snap(scale)"
        )


def check_codes(codes: Any, shape: tuple[int, ...], quantizer: Quantizer) -> None:
    """Refuse codes that would not survive being stored.

    Raises:
        SchemeError: they are no integers in the shape of the blocks, or out of range.
    """
    _check_array("codes", codes, "iu", shape)
    if not codes.size:
        return
    low, high = quantizer.code_range
    least, greatest = int(codes.min()), int(codes.max())
    if least < low or greatest > high:
        raise SchemeError(f"gave codes from {least} to {greatest}; its codes are {low} … {high}")


def check_values(values: Any, shape: tuple[int, ...]) -> None:
    """Refuse values that are no floats in the shape of the blocks.

    Raises:
        SchemeError: they are not.
    """
    _check_array("values", values, "f", shape)


def _check_array(name: str, array: Any, kinds: str, shape: tuple[int, ...]) -> None:
    if not isinstance(array, np.ndarray):
        raise SchemeError(f"gave {name} as {type(array).__name__}; give a NumPy array")
    if array.dtype.kind not in kinds:
        wanted = "floats" if "f" in kinds else "integers"
        raise SchemeError(f"gave {name} of dtype {array.dtype}; they are {wanted}")
    if array.shape != shape:
        raise SchemeError(f"gave {name} of shape {array.shape}; these blocks need {shape}")

"""Scale formats: how a scale is stored. What is stored is what is used."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from qcore.spec import Configurable


class ScaleFormat(Configurable, ABC):
    """A set of positive numbers that a scale may take."""

    bits: ClassVar[int]
    """What one stored scale takes."""

    dtype: ClassVar[str] = ""
    """The number type, by NumPy's or ml_dtypes' name, of `bits` bits, that holds every scale of
    this format as it is; where there is none, tensors with it cannot be saved."""

    @abstractmethod
    def snap(self, scale: NDArray[Any]) -> NDArray[np.float32]:
        """The stored number for each scale, in float32.

        Args:
            scale: float32 or float64, > 0.

        Raises:
            RangeError: a scale is larger than the largest stored number. One that is smaller
                than the smallest is raised to it.
        """

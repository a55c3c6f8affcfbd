"""The backend `cupy`: fused kernels and cuBLAS on an NVIDIA GPU."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import ClassVar

from qcore import Backend


@dataclass(frozen=True)
class CupyBackend(Backend):
    """Quantizes and multiplies on an NVIDIA GPU through CuPy; the codes are the reference's."""

    id: ClassVar[str] = "cupy"

    def available(self) -> str | None:
        if importlib.util.find_spec("cupy") is None:
            return "CuPy is not installed; pip install 'qcore-cupy[cuda12]' or [cuda13]"
        return None

"""The reference backend: every kernel as the schemes and the grids define it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from qcore.interfaces.backend import Backend


@dataclass(frozen=True)
class Reference(Backend):
    """Plain definitions, all sums in float64: slow, and the oracle of every other backend."""

    id: ClassVar[str] = "reference"

    def available(self) -> str | None:
        return None

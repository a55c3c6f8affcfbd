"""Who takes part: backends that can run here and have kernels of their own."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from qcore.engine import usable_backend
from qcore.errors import QcoreError
from qcore.interfaces.backend import Backend
from qcore.loading import create, ids

_ORACLE = "reference"


@dataclass(frozen=True)
class Lineup:
    """The backends of a bench.

    Attributes:
        backends: those that take part.
        unavailable: by id, why one cannot run here, in one line.
        inheriting: ids of those left out because they run the reference's kernels unchanged.
    """

    backends: list[Backend]
    unavailable: dict[str, str] = field(default_factory=dict)
    inheriting: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, asked: Iterable[str | Backend] | None, kernels: Collection[str]) -> Lineup:
        """The backends asked for, or all that are worth a row.

        Args:
            asked: specs or objects; all that are installed, if None.
            kernels: methods of `Backend`: a backend that overrides none of them is left out,
                unless it was asked for or is the reference itself.

        Raises:
            UnknownIdError: one asked for is not installed.
            UnavailableError: one asked for cannot run here.
        """
        if asked is not None:
            return cls(list(dict.fromkeys(usable_backend(backend) for backend in asked)))
        lineup = cls([])
        for id in ids("backend"):
            try:
                backend: Backend = create("backend", id)
                reason = backend.available()
            except QcoreError as error:  # it needs a field: only asking by spec can give that
                reason = str(error)
            if reason is not None:
                lineup.unavailable[id] = reason
            elif id == _ORACLE or overrides(backend, kernels):
                lineup.backends.append(backend)
            else:
                lineup.inheriting.append(id)
        return lineup

    def absent(self) -> dict[str, Any]:
        """Those that do not take part, as JSON holds them."""
        return {"unavailable": self.unavailable, "inheriting": self.inheriting}


def overrides(backend: Backend, methods: Collection[str]) -> bool:
    """Whether a backend has its own version of any of some methods of `Backend`."""
    return any(getattr(type(backend), name) is not getattr(Backend, name) for name in methods)

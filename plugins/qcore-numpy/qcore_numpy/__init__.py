"""The fast NumPy backend of qcore."""

from __future__ import annotations

import qcore
from qcore_numpy.backend import NumpyBackend


@qcore.hookimpl
def qcore_backends() -> list[type[NumpyBackend]]:
    return [NumpyBackend]

"""Comparisons of qcore on a dask cluster."""

from __future__ import annotations

import qcore
from qcore_dask.workers import Dask


@qcore.hookimpl
def qcore_executors() -> list[type[Dask]]:
    return [Dask]

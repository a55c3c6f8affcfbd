"""Which checks there are for each kind of part."""

from __future__ import annotations

from typing import Any

from qcore.testing import (
    backend_products,
    backends,
    configuration,
    executors,
    granularities,
    metrics,
    observers,
    readers,
    roundings,
    scale_formats,
    scheme_edges,
    scheme_invariance,
    scheme_storage,
    schemes,
)
from qcore.testing.laws import Check

CHECKS: dict[str, tuple[Check, ...]] = {
    "scheme": (
        *schemes.CHECKS,
        *scheme_edges.CHECKS,
        *scheme_invariance.CHECKS,
        *scheme_storage.CHECKS,
    ),
    "rounding": roundings.CHECKS,
    "granularity": granularities.CHECKS,
    "observer": observers.CHECKS,
    "scale_format": scale_formats.CHECKS,
    "backend": (*backends.CHECKS, *backend_products.CHECKS),
    "metric": metrics.CHECKS,
    "reader": readers.CHECKS,
    "executor": executors.CHECKS,
}
"""The checks of each kind, beside those of `configuration` that all share."""


def checks_for(part: Any) -> tuple[Check, ...]:
    """Every check for an object or a class.

    Raises:
        TypeError: it implements none of qcore's interfaces.
    """
    return (*configuration.CHECKS, *CHECKS[configuration.kind_of(part)])

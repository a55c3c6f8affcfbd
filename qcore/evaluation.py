"""The metrics of sums; one of a plugin that fails takes no other with it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from qcore.blame import contained
from qcore.error_stats import ErrorStats
from qcore.interfaces.metric import Metric


def evaluate(
    metrics: Sequence[Metric],
    stats: ErrorStats,
    output: ErrorStats,
    failed: dict[str, str] | None = None,
) -> dict[str, float]:
    """The metrics of some sums, over a tensor and over its layer's output, by spec.

    NaN where there are no elements, and where a metric fails: `failed` is then told why, by spec.
    """
    scopes = {"tensor": stats, "output": output}
    values: dict[str, float] = {}
    for metric in metrics:
        sums = scopes[metric.scope]
        try:
            with contained():
                values[str(metric)] = float(metric.from_stats(sums)) if sums.count else math.nan
        except Exception as error:  # of a plugin: the other metrics stand
            values[str(metric)] = math.nan
            if failed is not None:
                failed[str(metric)] = f"metric '{metric}' failed: {type(error).__name__}: {error}"
    return values

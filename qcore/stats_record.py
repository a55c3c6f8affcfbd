"""Error sums as JSON holds them: every number to the last bit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from qcore.error_detail import HISTOGRAMS
from qcore.error_stats import EXPECTED, SUMS, ErrorStats
from qcore.errors import ReadError
from qcore.float_bins import Histogram
from qcore.json_file import member

_COUNTS = ("count", "stored_bits", "nonfinite")


def to_record(stats: ErrorStats) -> dict[str, Any]:
    """The sums; null for one that was not asked for, and no histogram that was not."""
    record: dict[str, Any] = {name: getattr(stats, name) for name in _COUNTS}
    record |= {name: _text(getattr(stats, name)) for name in (*SUMS, EXPECTED)}
    for name in HISTOGRAMS:
        histogram: Histogram = getattr(stats, name)
        if histogram.bins.size:
            record[name] = {
                "bins": histogram.bins.tolist(),
                "counts": histogram.counts.tolist(),
                "sums": {key: [*map(_text, own.tolist())] for key, own in histogram.sums.items()},
            }
    return record


def from_record(record: dict[str, Any]) -> ErrorStats:
    """The sums that gave `record`.

    Raises:
        KeyError, OverflowError, ReadError, TypeError, ValueError: it is none.
    """
    fields: dict[str, Any] = {name: member(record, name, int) for name in _COUNTS}
    fields |= {name: _number(record[name]) for name in (*SUMS, EXPECTED)}
    fields |= {
        name: _histogram(member(record, name, dict)) for name in HISTOGRAMS if name in record
    }
    return ErrorStats(**fields)


def _histogram(record: dict[str, Any]) -> Histogram:
    bins, counts = member(record, "bins", list), member(record, "counts", list)
    sums = {key: [*map(_number, own)] for key, own in member(record, "sums", dict).items()}
    if any(len(own) != len(bins) for own in (counts, *sums.values())):
        raise ReadError("a histogram has more of one than of another")
    return Histogram(
        np.array(bins, np.int32),
        np.array(counts, np.int64),
        {key: np.array(own, np.float64) for key, own in sums.items()},
    )


def _text(value: float) -> str | None:
    return None if math.isnan(value) else float(value).hex()


def _number(text: str | None) -> float:
    return math.nan if text is None else float.fromhex(text)

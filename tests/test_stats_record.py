"""Error sums come back from JSON as they were, to the last bit."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from qcore.error_stats import EXPECTED, STATS, SUMS, ErrorStats, measure_errors
from qcore.errors import ReadError
from qcore.stats_record import from_record, to_record


def stats(sums: Any, size: float = 1.0) -> ErrorStats:
    x = np.random.default_rng(0).standard_normal(500) * size
    return measure_errors(x, np.round(x, 1).astype(np.float32), sums)


@pytest.mark.parametrize("sums", [STATS, SUMS, ("errors",), ("magnitudes", "e2"), ()])
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_they_come_back_to_the_last_bit(sums: Any, size: float) -> None:
    before = stats(sums, size)
    after = from_record(json.loads(json.dumps(to_record(before), allow_nan=False)))
    assert to_record(after) == to_record(before)
    for name in SUMS:
        own, other = getattr(before, name), getattr(after, name)
        assert own == other or math.isnan(own) is math.isnan(other) is True
    for name in ("errors", "magnitudes"):
        own, other = getattr(before, name), getattr(after, name)
        for a, b in [(own.bins, other.bins), (own.counts, other.counts)]:
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
        assert own.sums.keys() == other.sums.keys()
        for key in own.sums:
            assert own.sums[key].tobytes() == other.sums[key].tobytes()


def test_what_is_infinite_comes_back_too() -> None:
    before = ErrorStats(3, 4, 5, x2=math.inf, max_e=-math.inf, clipped=math.nan)
    after = from_record(json.loads(json.dumps(to_record(before), allow_nan=False)))
    assert repr(after) == repr(before)


def test_a_record_has_no_histogram_that_nobody_asked_for() -> None:
    assert to_record(stats(SUMS)).keys() == {"count", "stored_bits", "nonfinite", *SUMS, EXPECTED}


@pytest.mark.parametrize(
    "change",
    [
        {"count": None},
        {"x2": "much"},
        {"x2": "0x1p99999"},
        {"errors": {"bins": [1], "counts": [1, 2], "sums": {}}},
        {"errors": {"bins": [1], "counts": [1], "sums": {"e2": []}}},
        {"errors": {"bins": [1 << 40], "counts": [1], "sums": {}}},
        {"errors": {"bins": ["a"], "counts": [1], "sums": {}}},
        {"errors": []},
    ],
)
def test_what_is_none_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises((KeyError, OverflowError, ReadError, TypeError, ValueError)):
        from_record(to_record(stats(SUMS)) | change)

"""Everything that ships keeps the laws of its interface, at every width and with every choice."""

from __future__ import annotations

from typing import Any

import pytest

from qcore.builtin import (
    qcore_granularities,
    qcore_metrics,
    qcore_observers,
    qcore_readers,
    qcore_roundings,
    qcore_scale_formats,
)
from qcore.loading import ids, plugins
from qcore.registry import KINDS
from qcore.testing import examples, run_checks
from qcore.testing.examples import label

PARTS = [
    pytest.param(part, id=f"{kind}-{label(part)}")
    for kind in KINDS
    for id in ids(kind)
    for part in examples(plugins().get(kind, id))
]


@pytest.mark.parametrize("part", PARTS)
def test_it_keeps_every_law(part: Any) -> None:
    results = run_checks(part)
    assert [(r.check, r.message) for r in results if r.outcome == "failed"] == []
    assert any(r.outcome == "passed" for r in results)


def test_nothing_that_ships_is_left_out() -> None:
    checked = {type(param.values[0]) for param in PARTS}
    hooks = (
        qcore_roundings, qcore_granularities, qcore_observers, qcore_scale_formats,
        qcore_metrics, qcore_readers,
    )  # fmt: skip
    assert checked >= {cls for hook in hooks for cls in hook()}

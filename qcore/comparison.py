"""Tensors × recipes: every recipe applied to every tensor, and the error measured."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from qcore.blocking import Layout, float_tensor
from qcore.engine import usable_backend
from qcore.error_stats import ErrorStats
from qcore.errors import QcoreError, ReadError, UsageError
from qcore.fitting import Cut, as_own
from qcore.interfaces.backend import Backend
from qcore.interfaces.metric import Metric
from qcore.loading import create
from qcore.measuring import Measurement, Outcome, measure
from qcore.observing import NonFinite, Source, check_nonfinite
from qcore.recipe import Recipe
from qcore.results import Comparison, Row, evaluate
from qcore.scheduling import Job, run_all
from qcore.sources import (
    Selection,
    TensorRef,
    Unreadable,
    from_arrays,
    from_paths,
)

STANDARD_METRICS = (
    "sqnr_db",
    "mse",
    "rmse",
    "rel_l2",
    "nsr",
    "cosine",
    "max_abs",
    "bits_per_weight",
)
"""The metrics that every comparison has."""


def compare(
    source: Mapping[str, Any] | str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    recipes: Iterable[Recipe | str] | Recipe | str,
    *,
    metrics: Iterable[str] | str = (),
    include: str | None = None,
    exclude: str | None = None,
    min_ndim: int | None = None,
    integers: bool = False,
    nonfinite: NonFinite = "error",
    backend: str | Backend | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Apply every recipe to every tensor, and measure the error.

    Args:
        source: arrays by name, or a file or folder, or several.
        recipes: recipes, or their text; or a single one.
        metrics: ids of metrics beside the standard ones; or a single one.
        include: a regular expression that a tensor's name must match somewhere.
        exclude: one that it must not.
        min_ndim: the fewest dimensions of a tensor; 2 for files, 0 for arrays, if None.
        integers: whether to compare integer tensors too, taken as the numbers they are.
        nonfinite: `error`, or `clip` to take NaN as 0 and infinities as the largest float32.
        backend: what to run on; `numpy` where it is installed, if None.
        threads: all processors if None. Results do not depend on it.
        progress: called with (elements × recipes done, in all), from any thread.

    Returns:
        A row for each tensor and recipe; a tensor that fails has its error there.

    Raises:
        UsageError: there is nothing to compare, or an option is wrong.
        ReadError: no file could be opened.
        UnavailableError: the backend cannot run here.
    """
    several = [recipes] if isinstance(recipes, str | Recipe) else recipes
    chosen = [Recipe.parse(r) if isinstance(r, str) else r for r in several]
    if not chosen:
        raise UsageError("give at least one recipe")
    check_nonfinite(nonfinite)
    measured = _metrics(metrics)
    engine = usable_backend(backend)
    refs, unreadable, fewest = _references(source)
    least = fewest if min_ndim is None else min_ndim
    selection = Selection(include, exclude, least, integers)
    kept, skipped = selection.apply(refs)
    if not refs and unreadable:
        raise ReadError(unreadable[0].error)
    if not kept:
        causes = ", ".join(f"{count} {rule}" for rule, count in skipped.items()) or "no tensors"
        raise UsageError("; ".join([f"nothing to compare: {causes}", *selection.ways_out(refs)]))
    sums = frozenset[str]().union(*(metric.needs for metric in measured)) | {"e2"}
    total = sum(math.prod(ref.shape) for ref in kept) * len(chosen)
    tick = None if progress is None else _Ticker(total, progress)
    jobs = (_measure_tensor(ref, chosen, engine, sums, nonfinite, integers, tick) for ref in kept)
    rows = [
        _row(ref, recipe, engine, outcome, measured)
        for ref, outcomes in zip(kept, run_all(jobs, threads), strict=True)
        for recipe, outcome in zip(chosen, outcomes, strict=True)
    ]
    return Comparison(rows, chosen, measured, str(engine), len(kept), skipped, unreadable)


def _references(source: Any) -> tuple[list[TensorRef], list[Unreadable], int]:
    """What there is to compare, what could not be opened, and the default of `min_ndim`."""
    if isinstance(source, Mapping):
        return from_arrays(source), [], 0
    paths = [source] if isinstance(source, str | os.PathLike) else source
    return *from_paths(paths), 2


def _metrics(asked: Iterable[str] | str) -> list[Metric]:
    asked = [asked] if isinstance(asked, str) else asked
    metrics = {m.id: m for m in (create("metric", id) for id in (*STANDARD_METRICS, *asked))}
    return list(metrics.values())


def _measure_tensor(
    ref: TensorRef,
    recipes: Sequence[Recipe],
    backend: Backend,
    sums: Collection[str],
    nonfinite: NonFinite,
    integers: bool,
    tick: Callable[[int], None] | None,
) -> Job[list[Outcome]]:
    """Read a tensor once and apply every recipe to it, those of one layout together."""
    outcomes: dict[Recipe, Outcome] = {}
    try:
        (loaded,) = yield [ref.load]
        tensor = float_tensor(loaded, ref.name, integers=integers)
        for same in _by_cut(recipes, backend):
            try:
                layout = Layout.of(same[0].parts.granularity, tensor.shape)
            except Exception as error:
                outcomes |= {recipe: as_own(error, recipe) for recipe in same}
                continue
            source = Source(tensor.reshape(layout.shape), layout, nonfinite)
            found = yield from measure(source, same, backend, sums, tick)
            outcomes |= dict(zip(same, found, strict=True))
    except QcoreError as error:
        return [error] * len(recipes)
    except Exception as error:  # the tensor's failure, not the run's
        return [ReadError(f"{type(error).__name__}: {error}")] * len(recipes)
    return [outcomes[recipe] for recipe in recipes]


def _by_cut(recipes: Sequence[Recipe], backend: Backend) -> list[list[Recipe]]:
    """Recipes that cut a tensor in the same way."""
    groups: dict[Cut, list[Recipe]] = {}
    for recipe in recipes:
        groups.setdefault(Cut.of(recipe, backend), []).append(recipe)
    return list(groups.values())


def _row(
    ref: TensorRef, recipe: Recipe, backend: Backend, outcome: Outcome, metrics: Sequence[Metric]
) -> Row:
    if isinstance(outcome, Measurement):
        stats, seconds, error = outcome.stats, outcome.seconds, None
    else:
        where = f"{ref.source}: '{ref.name}'" if ref.source else f"'{ref.name}'"
        error = str(outcome)
        if not (ref.source and ref.source in error):  # a reader names its file itself
            error = f"{where}: {error}"
        stats, seconds = ErrorStats(), 0.0
    values = evaluate(metrics, stats)
    identity = (ref.name, ref.source, ref.shape, ref.dtype)
    return Row(*identity, recipe, str(backend), values, seconds, error, stats)


class _Ticker:
    """Counts work done in all threads, and tells somebody."""

    def __init__(self, total: int, report: Callable[[int, int], None]) -> None:
        self._total = total
        self._report = report
        self._done = 0
        self._lock = threading.Lock()

    def __call__(self, amount: int) -> None:
        with self._lock:
            self._done += amount
            self._report(self._done, self._total)

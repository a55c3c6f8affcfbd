"""Tensors × recipes: every recipe applied to every tensor, and the error measured."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from qcore.activations import Activations
from qcore.case import FLOAT, ActivationRecipe, Case
from qcore.engine import usable_backend
from qcore.error_stats import ErrorStats
from qcore.errors import QcoreError, ReadError, UsageError
from qcore.interfaces.backend import Backend
from qcore.interfaces.metric import Metric
from qcore.loading import create, default_product_backend
from qcore.measuring import Measurement
from qcore.observing import NonFinite, check_nonfinite
from qcore.outputs import OutputTask
from qcore.recipe import Recipe
from qcore.results import Comparison, Row, evaluate
from qcore.scheduling import run_all
from qcore.sources import (
    Selection,
    TensorRef,
    Unreadable,
    from_arrays,
    from_paths,
)
from qcore.tensor_job import Found, Task, measure_tensor

OUTPUT_METRICS = ("output_sqnr_db", "output_rel_l2")
"""The metrics that a comparison with activations has beside them."""

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
    activations: Any = None,
    activation_recipes: Iterable[Recipe | str] | Recipe | str = (FLOAT,),
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
        activations: what the layers receive, so that the error of their outputs is measured too:
            arrays by name, files, or `synthetic:normal`. The weight `fc1.weight`, (N, K), goes with
            `fc1.input`, (…, K), or with a tensor of its own name elsewhere; a single tensor goes
            with every weight of as many columns. A layer is held in memory while it is measured:
            its weight in codes and in float32, its input and its outputs in float64.
        activation_recipes: recipes for the activations, each combined with each of `recipes`;
            `float` leaves them as they are.
        metrics: ids of metrics beside the standard ones; or a single one.
        include: a regular expression that a tensor's name must match somewhere.
        exclude: one that it must not.
        min_ndim: the fewest dimensions of a tensor; 2 for files, 0 for arrays, if None.
        integers: whether to compare integer tensors too, taken as the numbers they are.
        nonfinite: `error`, or `clip` to take NaN as 0 and infinities as the largest float32.
        backend: what to run on; `numpy` where it is installed, if None.
        threads: all processors if None. Results do not depend on it.
        progress: called with (elements × recipes done, in all), from any thread; outputs are
            not counted.

    Returns:
        A row for each tensor and case; a tensor that fails has its error there.

    Raises:
        UsageError: there is nothing to compare, or an option is wrong.
        ReadError: no file could be opened.
        UnavailableError: the backend cannot run here.
    """
    chosen = _recipes(recipes)
    check_nonfinite(nonfinite)
    engine = usable_backend(backend)
    for_inputs = _activation_recipes(activation_recipes)
    outputs = None
    if activations is not None:
        product = usable_backend(default_product_backend() if backend is None else engine)
        found = Activations.of(activations)
        outputs = OutputTask(found, for_inputs, engine, product, nonfinite, integers)
    elif for_inputs != [FLOAT]:
        raise UsageError("recipes for activations are given, but no activations")
    measured = _metrics(metrics, outputs=outputs is not None)
    refs, unreadable, fewest = _references(source)
    least = fewest if min_ndim is None else min_ndim
    selection = Selection(include, exclude, least, integers)
    kept, skipped = selection.apply(refs)
    if not refs and unreadable:
        raise ReadError(unreadable[0].error)
    if not kept:
        causes = ", ".join(f"{count} {rule}" for rule, count in skipped.items()) or "no tensors"
        raise UsageError("; ".join([f"nothing to compare: {causes}", *selection.ways_out(refs)]))
    if outputs is not None and not any(outputs.activations.find(ref) for ref in kept):
        raise UsageError(
            f"the activations fit none of the {len(kept)} tensors; the input of 'fc1.weight', "
            "(N, K), is 'fc1.input', (…, K)"
        )
    sums = frozenset[str]().union(*(m.needs for m in measured if m.scope == "tensor")) | {"e2"}
    total = sum(math.prod(ref.shape) for ref in kept) * len(chosen)
    tick = None if progress is None else _Ticker(total, progress)
    task = Task(chosen, engine, sums, nonfinite, integers, tick, outputs)
    jobs = (measure_tensor(ref, task) for ref in kept)
    broken: dict[str, str] = {}
    rows = [
        _row(ref, case, engine, found, measured, broken)
        for ref, every in zip(kept, run_all(jobs, threads), strict=True)
        for case, found in zip(task.cases, every, strict=True)
    ]
    return Comparison(
        rows, task.cases, measured, str(engine), len(kept), skipped, unreadable, broken
    )


def _recipes(given: Iterable[Recipe | str] | Recipe | str) -> list[Recipe]:
    several = [given] if isinstance(given, str | Recipe) else given
    recipes = [Recipe.parse(r) if isinstance(r, str) else r for r in several]
    if not recipes:
        raise UsageError("give at least one recipe")
    return recipes


def _references(source: Any) -> tuple[list[TensorRef], list[Unreadable], int]:
    """What there is to compare, what could not be opened, and the default of `min_ndim`."""
    if isinstance(source, Mapping):
        return from_arrays(source), [], 0
    paths = [source] if isinstance(source, str | os.PathLike) else source
    return *from_paths(paths), 2


def _activation_recipes(given: Iterable[Recipe | str] | Recipe | str) -> list[ActivationRecipe]:
    several = [given] if isinstance(given, str | Recipe) else given
    recipes: list[ActivationRecipe] = [
        FLOAT if r == FLOAT else Recipe.parse(r) if isinstance(r, str) else r for r in several
    ]
    if not recipes:
        raise UsageError("give at least one recipe for the activations, or 'float'")
    return recipes


def _metrics(asked: Iterable[str] | str, *, outputs: bool) -> list[Metric]:
    asked = [asked] if isinstance(asked, str) else asked
    standard = (*STANDARD_METRICS, *(OUTPUT_METRICS if outputs else ()))
    metrics = {m.id: m for m in (create("metric", id) for id in (*standard, *asked))}
    for metric in metrics.values():
        if metric.scope == "output" and not outputs:
            raise UsageError(f"'{metric.id}' measures a layer's output; give activations too")
    return list(metrics.values())


def _row(
    ref: TensorRef,
    case: Case,
    backend: Backend,
    found: Found,
    metrics: Sequence[Metric],
    broken: dict[str, str],
) -> Row:
    outcome, output = found
    stats, seconds, failure = ErrorStats(), 0.0, None
    if isinstance(outcome, Measurement):
        stats, seconds = outcome.stats, outcome.seconds
    else:
        failure = outcome
    if isinstance(output, QcoreError):
        failure, output = failure or output, None
    return Row(
        tensor=ref.name,
        source=ref.source,
        shape=ref.shape,
        dtype=ref.dtype,
        recipe=case.recipe,
        backend=str(backend),
        metrics=evaluate(metrics, stats, ErrorStats() if output is None else output.stats, broken),
        seconds=seconds,
        error=None if failure is None else _placed(failure, ref),
        stats=stats,
        activations=case.activations,
        output=output,
    )


def _placed(error: QcoreError, ref: TensorRef) -> str:
    """The error's text, led by the tensor."""
    if ref.source and ref.source in str(error):  # a reader names its file itself
        return str(error)
    where = f"{ref.source}: '{ref.name}'" if ref.source else f"'{ref.name}'"
    return f"{where}: {error}"


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

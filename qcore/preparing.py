"""A comparison before it runs: which tensors, which cases, which sums; and its rows after."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qcore.activations import Activations
from qcore.against import Against, Checkpoint
from qcore.case import FLOAT, ActivationRecipe, Case, Stored
from qcore.engine import usable_backend
from qcore.error_stats import EXPECTED, ErrorStats
from qcore.errors import QcoreError, ReadError, UsageError
from qcore.evaluation import evaluate
from qcore.interfaces.backend import Backend
from qcore.interfaces.metric import Metric
from qcore.interfaces.workers import Team
from qcore.loading import create, default_product_backend
from qcore.measuring import Measurement
from qcore.observing import NonFinite, check_nonfinite
from qcore.outputs import OutputTask
from qcore.recipe import Recipe
from qcore.results import Comparison, Row
from qcore.running import measure_all, with_journal
from qcore.sources import Selection, TensorRef, Unreadable, from_arrays, from_paths
from qcore.tensor_task import Found, Task

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


@dataclass(frozen=True)
class Run:
    """A comparison that has been prepared: what is compared with what, nothing read yet.

    Attributes:
        refs: the tensors.
        task: what is done to them.
        metrics: what is measured.
        other: the checkpoint that they are compared with, if any.
        skipped: how many tensors were left out, by the rule that did.
        unreadable: files that could not be opened.
        broken: by id, why a metric that failed did.
    """

    refs: list[TensorRef]
    task: Task
    metrics: list[Metric]
    other: Against | None
    skipped: dict[str, int]
    unreadable: list[Unreadable]
    broken: dict[str, str] = field(default_factory=dict)

    def results(
        self,
        team: Team | None,
        threads: int | None,
        journal: str | os.PathLike[str] | None,
        resume: bool,
    ) -> Generator[tuple[int, list[Found]], None, None]:
        """What every case does to every tensor, as it comes, with the tensor's place."""
        if journal is None:
            return measure_all(self.refs, self.task, team, threads)
        return with_journal(self.refs, self.task, team, threads, Path(journal), resume)

    def rows(self, place: int, every: Sequence[Found]) -> list[Row]:
        """The rows of one tensor."""
        ref = self.refs[place]
        return [
            _row(ref, case, self.task.backend, found, self.metrics, self.broken, self.other)
            for case, found in zip(self.task.cases, every, strict=True)
        ]

    def comparison(self, found: Mapping[int, Sequence[Found]]) -> Comparison:
        """All that was found, in the order of the tensors."""
        rows = [row for place in sorted(found) for row in self.rows(place, found[place])]
        return Comparison(
            rows,
            self.task.cases,
            self.metrics,
            str(self.task.backend),
            len(found),
            self.skipped,
            self.unreadable,
            self.broken,
            len(self.refs) - len(found),
        )


def prepare(
    source: Checkpoint,
    recipes: Iterable[Recipe | str] | Recipe | str = (),
    *,
    against: Checkpoint | None = None,
    activations: Any = None,
    activation_recipes: Iterable[Recipe | str] | Recipe | str = (FLOAT,),
    metrics: Iterable[str] | str = (),
    include: str | None = None,
    exclude: str | None = None,
    min_ndim: int | None = None,
    integers: bool = False,
    nonfinite: NonFinite = "error",
    backend: str | Backend | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Run:
    """All that `compare` does before it reads any tensor; its arguments and its errors."""
    chosen = _recipes(recipes, needed=against is None)
    other = None if against is None else Against.of(against)
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
    if other is not None:
        kept, missing = other.shared(kept)
        skipped |= missing
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
    if any(EXPECTED in metric.needs for metric in measured):
        from qcore.distributions import distribution

        distribution("normal")  # SciPy is there, or a line says how to get it
    sums = frozenset[str]().union(*(m.needs for m in measured if m.scope == "tensor")) | {"e2"}
    total = sum(ref.size for ref in kept) * max(1, len(chosen))
    tick = None if progress is None else _Ticker(total, progress)
    task = Task(chosen, engine, sums, nonfinite, integers, tick, outputs, other)
    return Run(kept, task, measured, other, skipped, unreadable)


def _recipes(given: Iterable[Recipe | str] | Recipe | str, *, needed: bool) -> list[Recipe]:
    several = [given] if isinstance(given, str | Recipe) else given
    recipes = [Recipe.parse(r) if isinstance(r, str) else r for r in several]
    if not recipes and needed:
        raise UsageError("give at least one recipe, or against=")
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
    metrics = {str(m): m for m in (create("metric", id) for id in (*standard, *asked))}
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
    other: Against | None,
) -> Row:
    outcome, output = found
    recipe = other.of_tensor(ref) if other and isinstance(case.recipe, Stored) else case.recipe
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
        recipe=recipe,
        backend=str(backend),
        metrics=evaluate(metrics, stats, ErrorStats() if output is None else output.stats, broken),
        seconds=seconds,
        error=None if failure is None else ref.placed(str(failure)),
        stats=stats,
        activations=case.activations,
        output=output,
    )


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

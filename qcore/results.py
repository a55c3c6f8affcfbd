"""What a comparison found: a row for each tensor and case, and a summary for each case."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qcore.case import ActivationRecipe, Case, Stored
from qcore.error_detail import drawn
from qcore.error_stats import ErrorStats
from qcore.evaluation import evaluate
from qcore.interfaces.metric import Metric
from qcore.loading import versions
from qcore.outputs import OutputError
from qcore.recipe import Recipe
from qcore.sources import Unreadable


@dataclass(frozen=True)
class Row:
    """What one case did to one tensor.

    Attributes:
        tensor: the tensor's name.
        source: the file that holds it; empty for an array.
        shape: of the tensor.
        dtype: of the tensor, as stored.
        recipe: what was applied; or what another checkpoint holds of the tensor.
        backend: what it ran on.
        metrics: by spec, such as `sqnr_db`; NaN where one is not defined.
        seconds: processor time for the tensor; its layer's output is not counted.
        error: why there are no metrics, or none of the output, in one line, or None.
        stats: the sums behind the metrics.
        activations: what was applied to the activations; None where no layer was looked at.
        output: what became of the layer's output; None where it was not measured.
    """

    tensor: str
    source: str
    shape: tuple[int, ...]
    dtype: str
    recipe: Recipe | Stored
    backend: str
    metrics: Mapping[str, float]
    seconds: float
    error: str | None
    stats: ErrorStats = field(repr=False)
    activations: ActivationRecipe | None = None
    output: OutputError | None = None

    @property
    def case(self) -> Case:
        """What was applied."""
        return Case(self.recipe, self.activations)

    @property
    def has_tensor(self) -> bool:
        """Whether the tensor itself was measured, whatever became of its layer's output."""
        return self.error is None or self.stats.count > 0

    @property
    def has_output(self) -> bool:
        """Whether the layer's output was measured."""
        return self.output is not None

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON holds it."""
        return {
            "tensor": self.tensor,
            "source": self.source,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "recipe": self.recipe.to_dict(),
            "activations": self.case.activations_dict(),
            "output": None if self.output is None else self.output.to_dict(),
            "backend": self.backend,
            "metrics": _finite_or_none(self.metrics),
            **_histogram(self.stats),
            "nonfinite": self.stats.nonfinite,
            "seconds": self.seconds,
            "error": self.error,
        }


@dataclass(frozen=True)
class Summary:
    """One case over all the tensors on which every case succeeded that did on any.

    Attributes:
        case: what was applied.
        metrics: by spec, from the pooled sums: Σe² and Σx² over all of the tensors, and so on.
        tensors: how many.
        elements: how many in all.
        seconds: processor time.
        failed: on how many tensors this case failed.
        stats: the pooled sums.
        layers: over how many layers the metrics of outputs are.
    """

    case: Case
    metrics: Mapping[str, float]
    tensors: int
    elements: int
    seconds: float
    failed: int
    stats: ErrorStats = field(repr=False)
    layers: int = 0

    @property
    def recipe(self) -> Recipe | Stored:
        """What was applied to the tensors, or where they are compared with."""
        return self.case.recipe

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON holds it."""
        return {
            "recipe": self.recipe.to_dict(),
            "activations": self.case.activations_dict(),
            "metrics": _finite_or_none(self.metrics),
            **_histogram(self.stats),
            "tensors": self.tensors,
            "layers": self.layers,
            "elements": self.elements,
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class Comparison:
    """All the rows of a comparison, in the order of tensors, then cases.

    Attributes:
        rows: one for each tensor and case.
        cases: what was compared.
        metrics: what was measured.
        backend: what it ran on.
        tensors: how many tensors were compared.
        skipped: how many were left out, by the rule that did.
        unreadable: files that could not be opened.
        broken_metrics: by spec, why a metric that failed did.
        unfinished: how many more tensors there were when the run was interrupted.
    """

    rows: list[Row]
    cases: list[Case]
    metrics: list[Metric]
    backend: str
    tensors: int
    skipped: Mapping[str, int]
    unreadable: list[Unreadable]
    broken_metrics: Mapping[str, str] = field(default_factory=dict)
    unfinished: int = 0

    @property
    def with_outputs(self) -> bool:
        """Whether the outputs of layers were measured."""
        return any(case.activations is not None for case in self.cases)

    @property
    def failed(self) -> list[Row]:
        """The rows that have an error."""
        return [row for row in self.rows if row.error is not None]

    def summary(self) -> list[Summary]:
        """One entry a case, in the order of `cases`.

        Pooled are the tensors on which every case succeeded, but for cases that failed on all; and
        the same for the outputs of layers.
        """
        tensors = self._pools(lambda row: row.has_tensor)
        outputs = self._pools(lambda row: row.has_output)
        count = len(self.cases)
        return [
            self._pooled(case, tensors[i], outputs[i], self.rows[i::count])
            for i, case in enumerate(self.cases)
        ]

    def _pools(self, measured: Callable[[Row], bool]) -> list[list[Row]]:
        """For each case the rows to be pooled; none for a case that was measured nowhere."""
        count = len(self.cases)
        by_tensor = [self.rows[i : i + count] for i in range(0, len(self.rows), count)]
        alive = [i for i in range(count) if any(measured(rows[i]) for rows in by_tensor)]
        complete = [rows for rows in by_tensor if all(measured(rows[i]) for i in alive)]
        return [[rows[i] for rows in complete] if i in alive else [] for i in range(count)]

    def _pooled(
        self, case: Case, tensors: Sequence[Row], outputs: Sequence[Row], every: Sequence[Row]
    ) -> Summary:
        stats, output, seconds = ErrorStats(), ErrorStats(), 0.0
        for row in tensors:
            stats, seconds = stats.merge(row.stats), seconds + row.seconds
        for row in outputs:
            if row.output is not None:
                output = output.merge(row.output.stats)
        return Summary(
            case=case,
            metrics=evaluate(self.metrics, stats, output),
            tensors=len(tensors),
            elements=stats.count,
            seconds=seconds,
            failed=sum(row.error is not None for row in every),
            stats=stats,
            layers=len(outputs) if self.with_outputs else 0,
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything as one JSON object, without NaN or Infinity."""
        return {
            "qcore": versions(),
            "results": [row.to_dict() for row in self.rows],
            "summary": [summary.to_dict() for summary in self.summary()],
            "skipped": dict(self.skipped),
            "unreadable": [{"source": u.source, "error": u.error} for u in self.unreadable],
        }


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in the middle of a comparison.

    Attributes:
        comparison: what is known so far, of the tensors that are done.
    """

    def __init__(self, comparison: Comparison) -> None:
        super().__init__()
        self.comparison = comparison


def _histogram(stats: ErrorStats) -> dict[str, Any]:
    """The histogram of |e|, where a metric has asked for it."""
    return {"error_histogram": drawn(stats.errors)} if stats.errors.bins.size else {}


def _finite_or_none(metrics: Mapping[str, float]) -> dict[str, float | None]:
    return {id: value if math.isfinite(value) else None for id, value in metrics.items()}

"""What is found of a tensor beside its errors: of another checkpoint, of its layer, by theory."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from qcore.against import measure_against
from qcore.case import Case, Stored
from qcore.error_stats import EXPECTED
from qcore.errors import NonFiniteError, QcoreError
from qcore.measuring import Measurement, Outcome
from qcore.outputs import OutputError, measure_outputs
from qcore.recipe import Recipe
from qcore.scheduling import Job
from qcore.sources import TensorRef
from qcore.tensor_task import Found, Task


@dataclass
class Further:
    """What is found of a tensor beside its errors.

    Attributes:
        stored: what another checkpoint made of it.
        outputs: what became of its layer's output.
        expected: the Σe² that theory expects.
    """

    stored: dict[Recipe | Stored, Outcome]
    outputs: dict[Case, OutputError | QcoreError]
    expected: dict[Recipe, float]

    def beside(
        self, outcomes: dict[Recipe | Stored, Outcome], cases: Sequence[Case]
    ) -> list[Found]:
        """All of it, by case."""
        every = outcomes | self.stored
        for recipe, outcome in every.items():
            if isinstance(outcome, Measurement):
                e2 = self.expected.get(recipe, math.nan) if isinstance(recipe, Recipe) else math.nan
                stats = dataclasses.replace(outcome.stats, expected_e2=e2)
                every[recipe] = Measurement(stats, outcome.seconds)
        return [Found(every[case.recipe], self.outputs.get(case)) for case in cases]


def measure_further(ref: TensorRef, tensor: NDArray[Any], task: Task) -> Job[Further]:
    """Find as much of it as the task asks for, as a job."""
    further = Further({}, {}, {})
    if task.against is not None:
        stored = yield from _measure_against(ref, tensor, task)
        further.stored[Stored(task.against.label)] = stored
    if task.outputs is not None:
        outputs = yield from measure_outputs(ref, tensor, task.recipes, task.outputs)
        further.outputs.update(outputs)
    if EXPECTED in task.sums:
        from qcore.expected_errors import expected_errors  # and with it SciPy

        further.expected.update((yield from expected_errors(tensor, task.recipes)))
    return further


def _measure_against(ref: TensorRef, tensor: NDArray[Any], task: Task) -> Job[Outcome]:
    """What the other checkpoint made of the tensor, or why that is not known."""
    assert task.against is not None
    other = task.against.tensors[ref.name]
    try:
        return (yield from measure_against(tensor, other, task.nonfinite, task.measured))
    except NonFiniteError:
        raise
    except QcoreError as error:
        return error

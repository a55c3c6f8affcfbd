"""Tensors × recipes: every recipe applied to every tensor, and the error measured."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from typing import Any, Protocol

from qcore.against import Checkpoint
from qcore.case import FLOAT
from qcore.errors import UsageError
from qcore.interfaces.backend import Backend
from qcore.interfaces.workers import Team, Workers
from qcore.observing import NonFinite
from qcore.preparing import Run, prepare
from qcore.recipe import Recipe
from qcore.results import Comparison, Interrupted, Row
from qcore.running import team_of
from qcore.sources import TensorRef
from qcore.tensor_task import Found


class Watch(Protocol):
    """Looks on while a comparison runs."""

    def begins(self, refs: Sequence[TensorRef], team: Team | None) -> None:
        """The tensors are known, and the workers are there; None stands for threads."""

    def rows(self, ref: TensorRef, rows: Sequence[Row]) -> None:
        """A tensor is done, or was by an earlier run."""


def compare(
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
    threads: int | None = None,
    executor: Executor | Workers | str | None = None,
    workers: int | None = None,
    journal: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
    watch: Watch | None = None,
) -> Comparison:
    """Apply every recipe to every tensor, and measure the error.

    Args:
        source: arrays by name, or a file or folder, or several.
        recipes: recipes, or their text; or a single one. None are needed beside `against`.
        against: another checkpoint, of which the tensors by the same names are measured against
            these: what some other tool has quantized. Tensors that it has not are left out.
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
        executor: where the work is done: any `concurrent.futures.Executor`, or the spec of workers,
            such as `processes`; threads of this process if None. Results do not depend on it.
        workers: how many of those; as many as there are processors if None.
        journal: a file that is told of each tensor once it is done.
        resume: whether to go on with the journal that is there.
        progress: called with (elements × recipes done, in all), from any thread; outputs are
            not counted.
        watch: told of workers and of rows as they come.

    Returns:
        A row for each tensor and case; a tensor that fails has its error there.

    Raises:
        UsageError: there is nothing to compare, or an option is wrong.
        ReadError: no file could be opened.
        UnavailableError: the backend or the workers cannot be had here.
        WorkerError: a worker lacks a plugin, or is gone.
        Interrupted: Ctrl-C; with the comparison as far as it came.
    """
    run = prepare(
        source,
        recipes,
        against=against,
        activations=activations,
        activation_recipes=activation_recipes,
        metrics=metrics,
        include=include,
        exclude=exclude,
        min_ndim=min_ndim,
        integers=integers,
        nonfinite=nonfinite,
        backend=backend,
        progress=progress,
    )
    return carry_out(
        run,
        threads=threads,
        executor=executor,
        workers=workers,
        journal=journal,
        resume=resume,
        watch=watch,
    )


def carry_out(
    run: Run,
    *,
    threads: int | None = None,
    executor: Executor | Workers | str | None = None,
    workers: int | None = None,
    journal: str | os.PathLike[str] | None = None,
    resume: bool = False,
    watch: Watch | None = None,
) -> Comparison:
    """All that `compare` does once it is prepared; its arguments and its errors."""
    found: dict[int, list[Found]] = {}
    if resume and journal is None:
        raise UsageError("there is no journal to resume; name it too")
    try:
        with team_of(executor, workers) as team:
            if watch is not None:
                watch.begins(run.refs, team)
            with contextlib.closing(run.results(team, threads, journal, resume)) as results:
                for place, every in results:
                    found[place] = every
                    if watch is not None:
                        watch.rows(run.refs[place], run.rows(place, every))
    except KeyboardInterrupt:
        raise Interrupted(run.comparison(found)) from None
    return run.comparison(found)

"""Calibration: the range of each activation, observed beforehand over all of its batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from qcore.activation_job import Batches, Task, calibrate_activation, count_elements
from qcore.calibrated_ranges import CalibratedRange, Calibration, check_granularity
from qcore.errors import QcoreError, ReadError, UsageError
from qcore.observing import NonFinite, check_nonfinite
from qcore.recipe import Recipe
from qcore.scheduling import run_all
from qcore.sources import Selection, TensorRef, Unreadable, from_arrays, from_paths


def calibrate(
    source: Mapping[str, Any] | str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    recipe: Recipe | str,
    *,
    include: str | None = None,
    exclude: str | None = None,
    integers: bool = False,
    nonfinite: NonFinite = "error",
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Calibration:
    """Observe the range of each activation over all of its batches.

    Args:
        source: by name, an array, or a list or tuple of arrays of any shapes, its batches; or a
            file or folder, or several: a name that several files have is one activation, its
            batches in the order of the files. Of what files hold, scalars are left out.
        recipe: a recipe of granularity `tensor`, or its text; its observer gives the ranges.
        include: a regular expression that an activation's name must match somewhere.
        exclude: one that it must not.
        integers: whether integer tensors are taken too, as the numbers they are.
        nonfinite: `error`, or `clip` to take NaN as 0 and infinities as the largest float32.
        threads: all processors if None. Ranges do not depend on it.
        progress: called with (elements × passes done, in all).

    Returns:
        The ranges; and of files, what failed.

    Raises:
        UsageError: there is nothing to calibrate, or an option is wrong.
        ReadError: no file could be opened.
        QcoreError: what failed first, if arrays were given or nothing succeeded: a
            `NonFiniteError` where a batch holds NaN or infinities, a `DtypeError`, …
    """
    template = Recipe.parse(recipe) if isinstance(recipe, str) else recipe
    check_granularity(template)
    check_nonfinite(nonfinite)
    batches, unreadable, fewest = _batches(source)
    if not batches and unreadable:
        raise ReadError(unreadable[0].error)
    names, skipped = _chosen(batches, Selection(include, exclude, fewest, integers))
    chosen = [batches[name] for name in names]
    task = Task(template, nonfinite, integers, lambda _: None)
    if progress is not None:
        total = sum(map(count_elements, chosen)) * task.passes
        task = Task(template, nonfinite, integers, _ticker(total, progress))
    found = dict(
        zip(names, run_all((calibrate_activation(b, task) for b in chosen), threads), strict=True)
    )
    ranges = {name: known for name, known in found.items() if isinstance(known, CalibratedRange)}
    failed = {name: error for name, error in found.items() if isinstance(error, QcoreError)}
    if failed and (isinstance(source, Mapping) or not ranges):
        raise next(iter(failed.values()))
    return Calibration(template, ranges, failed, unreadable, skipped)


def _batches(source: Any) -> tuple[dict[str, Batches], list[Unreadable], int]:
    """The batches of every name, what could not be opened, and the fewest dimensions to take."""
    if isinstance(source, Mapping):
        return {name: _arrays(name, value) for name, value in source.items()}, [], 0
    refs, unreadable = from_paths([source] if isinstance(source, str | os.PathLike) else source)
    batches: dict[str, list[TensorRef]] = {}
    for ref in refs:
        batches.setdefault(ref.name, []).append(ref)
    return dict(batches), unreadable, 1


def _arrays(name: object, value: Any) -> Batches:
    if not isinstance(name, str):
        raise UsageError(f"the name of an activation is a text, not {name!r}")
    several = value if isinstance(value, list | tuple) else [value]
    if not several:
        raise UsageError(f"'{name}' has no batches")
    return [ref for array in several for ref in from_arrays({name: array})]


def _chosen(
    batches: Mapping[str, Batches], selection: Selection
) -> tuple[list[str], Mapping[str, int]]:
    """The names that are taken, told by their first batch, and how many are left out by a rule.

    Raises:
        UsageError: none is taken.
    """
    firsts = [of_one_name[0] for of_one_name in batches.values()]
    taken, skipped = selection.apply(firsts)
    if not taken:
        causes = ", ".join(f"{count} {rule}" for rule, count in skipped.items()) or "no tensors"
        ways_out = selection.ways_out(r for r in firsts if len(r.shape) >= selection.min_ndim)
        raise UsageError("; ".join([f"nothing to calibrate: {causes}", *ways_out]))
    return [ref.name for ref in taken], skipped


def _ticker(total: int, report: Callable[[int, int], None]) -> Callable[[int], None]:
    """What adds up and reports; jobs tick from the thread that runs them, one at a time."""
    done = 0

    def tick(amount: int) -> None:
        nonlocal done
        done += amount
        report(done, total)

    return tick

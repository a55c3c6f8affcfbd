"""Checks of executors: whoever works gives what a thread gives, and is gone afterwards."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial

import numpy as np

from qcore.comparison import compare
from qcore.interfaces.workers import Team, Workers
from qcore.testing.laws import CheckSkipped, law, require

_PATIENCE = 60.0
_RECIPES = ("symmetric bits=4", "uniform bits=3 granularity=channel:0 rounding=stochastic:1")


@law
def check_executor_available(workers: Workers) -> None:
    """available() says in one line why it cannot run here, or gives None."""
    reason = workers.available()
    require(reason is None or isinstance(reason, str), f"gave {reason!r}")
    require(reason is None or (reason and "\n" not in reason), f"{reason!r} is not one line")


@law
def check_executor_works(workers: Workers) -> None:
    """It gives a qcore.Team, whose executor does many tasks and whose size is their workers'."""
    with _opened(workers) as team:
        require(isinstance(team.executor, Executor), f"{team.executor!r} is no Executor")
        require(isinstance(team.dashboard, str), f"dashboard is {team.dashboard!r}, no str")
        futures = [team.executor.submit(operator.mul, i, i) for i in range(20)]
        found = [future.result(_PATIENCE) for future in futures]
        require(found == [i * i for i in range(20)], f"squares came back as {found}")


@law
def check_executor_respects_the_count(workers: Workers) -> None:
    """As many workers are there as were asked for."""
    with _opened(workers, 2) as team:
        size = team.size()
        require(size == 2, f"2 were asked for, and size() gave {size!r}")


@law
def check_executor_gives_errors_back(workers: Workers) -> None:
    """What a task raises comes out of its future as it was, and the next task is done."""
    with _opened(workers) as team:
        error = team.executor.submit(int, "no number").exception(_PATIENCE)
        require(type(error) is ValueError, f"a ValueError came back as {error!r}")
        require("no number" in str(error), f"its message came back as '{error}'")
        require(team.executor.submit(int, "7").result(_PATIENCE) == 7, "int('7') is not 7 any more")


@law
def check_executor_gives_what_threads_give(workers: Workers) -> None:
    """A comparison has the same sums to the last bit, whoever works."""
    random = np.random.default_rng(0)
    tensors = {f"t{i}": random.standard_normal((64, 48), np.float32) for i in range(6)}
    expected = [row.stats for row in compare(tensors, _RECIPES, threads=1).rows]
    with _opened(workers) as team:
        found = compare(tensors, _RECIPES, executor=team.executor).rows
    for row, stats in zip(found, expected, strict=True):
        require(row.error is None, f"'{row.tensor}' failed: {row.error}")
        require(repr(row.stats) == repr(stats), f"expected {stats}, got {row.stats}")


@law
def check_executor_ends(workers: Workers) -> None:
    """Once the block ends no work is taken, also where it ends by an exception."""
    raised = KeyError("the block's own")
    try:
        with _opened(workers) as team:
            raise raised
    except KeyError as error:
        require(error is raised, f"{error!r} came out of the block")
    else:
        require(False, "an exception of the block was swallowed")
    require(_refuses(team), "a task was done after the block had ended")


def _refuses(team: Team) -> bool:
    try:
        team.executor.submit(partial(int, "7")).result(1.0)
    except Exception:  # each executor has one of its own
        return True
    return False


@contextmanager
def _opened(workers: Workers, count: int = 1) -> Iterator[Team]:
    reason = workers.available()
    if reason is not None:
        raise CheckSkipped(f"it cannot run here: {reason}")
    with workers.open(count) as team:
        require(isinstance(team, Team), f"open() gave {team!r}, no qcore.Team")
        yield team


CHECKS = (
    check_executor_available,
    check_executor_works,
    check_executor_respects_the_count,
    check_executor_gives_errors_back,
    check_executor_gives_what_threads_give,
    check_executor_ends,
)

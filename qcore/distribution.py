"""Tensors × recipes over any executor: cut into tasks of about equal cost.

What travels is where a tensor is stored, which part of it, and the recipes; never the tensor. A
task is some whole tensors, or some chunks of one that is too large. The chunks are those that a
single thread would take, and their sums are merged in the same order, so the result is the same to
the last bit whatever the executor, the number of workers, or the split.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from qcore.interfaces.workers import Team
from qcore.parcel import needs_of, pack, send
from qcore.scheduling import Job, run_here, run_over
from qcore.sources import TensorRef
from qcore.tensor_job import measure_in_pieces, measure_tensor
from qcore.tensor_task import Found, Task

_LEAST, _MOST = 1 << 14, 1 << 26
"""Elements × recipes of a task: long enough to be sent, short enough to be lost."""

_TASKS_A_WORKER = 8
_AHEAD = 3
"""Jobs under way for each worker, so that none is idle."""

Results = list[tuple[int, list[Found]]]
"""What was found, with each tensor's place in the run."""


@dataclass
class Unit:
    """Tensors that are done by one job.

    Attributes:
        members: by their place in the run.
        cost: elements × recipes.
        pieces: how many tasks it is cut into: several for one large tensor.
    """

    members: list[int]
    cost: int
    pieces: int = 1


def plan(refs: Sequence[TensorRef], recipes: int, workers: int) -> list[Unit]:
    """Tensors, in their order, as units of about equal cost, or of several such pieces.

    Args:
        refs: the tensors.
        recipes: what is applied to each.
        workers: how many share the work.
    """
    costs = [ref.size * recipes for ref in refs]
    most = min(_MOST, max(_LEAST, sum(costs) // (_TASKS_A_WORKER * workers)))
    units: list[Unit] = []
    for index, (ref, cost) in enumerate(zip(refs, costs, strict=True)):
        last = units[-1] if units else None
        if cost > 2 * most and ref.info is not None:  # an array would travel with every piece
            units.append(Unit([index], cost, -(-cost // most)))
        elif last is None or last.pieces > 1 or last.cost + cost > most:
            units.append(Unit([index], cost))
        else:
            last.members.append(index)
            last.cost += cost
    return units


def measure_elsewhere(
    refs: Sequence[TensorRef], task: Task, team: Team
) -> Generator[tuple[int, list[Found]], None, None]:
    """What every case does to every tensor, with the tensor's place, as results come in.

    Raises:
        WorkerError: a worker lacks a plugin, or is gone.
    """
    needs = needs_of([*task.parts(), *(("reader", ref.reader) for ref in refs if ref.reader)])
    under_way: set[Future[Any]] = set()

    def submit(call: Callable[[], Any]) -> Future[Any]:
        answer, sent = send(pack(call, needs), team.executor)
        under_way.add(sent)
        sent.add_done_callback(under_way.discard)
        return answer

    units = plan(refs, max(1, len(task.recipes)), max(1, team.size()))
    jobs = (_job(unit, refs, task) for unit in units)
    try:
        for place, results in run_over(jobs, submit, lambda: _AHEAD * max(1, team.size())):
            task.tell(units[place].cost)
            yield from results
    finally:
        for future in list(under_way):
            future.cancel()


def _job(unit: Unit, refs: Sequence[TensorRef], task: Task) -> Job[Results]:
    members = [refs[index] for index in unit.members]
    own = task.away(members)
    if unit.pieces > 1:
        found = [(yield from measure_in_pieces(members[0], own, unit.pieces))]
    else:
        (found,) = yield [partial(_measure_whole, members, own)]
    return list(zip(unit.members, found, strict=True))


def _measure_whole(refs: Sequence[TensorRef], task: Task) -> list[list[Found]]:
    return [run_here(measure_tensor(ref, task)) for ref in refs]

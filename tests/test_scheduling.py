"""Jobs give their results in order, whatever the number of threads."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from qcore.scheduling import Job, default_threads, run, run_all

THREADS = pytest.mark.parametrize("threads", [1, 2, 4, None])


def call(value: Any, delay: float = 0.0) -> Callable[[], Any]:
    def task() -> Any:
        time.sleep(delay)
        return value

    return task


def fail(text: str, delay: float = 0.0) -> Callable[[], Any]:
    def task() -> Any:
        time.sleep(delay)
        raise ValueError(text)

    return task


def squares(count: int, delay: float = 0.0) -> Job[list[int]]:
    """One stage of `count` tasks, and what came back."""
    results = yield [call(i * i, delay * (count - i)) for i in range(count)]
    return results


@THREADS
def test_a_job_is_sent_the_results_of_each_stage_in_order(threads: int | None) -> None:
    def job() -> Job[list[Any]]:
        first = yield [call(i, 0.002 * (8 - i)) for i in range(8)]
        second = yield [call((i, first[i])) for i in range(3)]
        return [*first, *second]

    assert run(job(), threads) == [*range(8), (0, 0), (1, 1), (2, 2)]


@THREADS
def test_a_stage_begins_only_when_the_one_before_is_complete(threads: int | None) -> None:
    done: list[tuple[int, int]] = []

    def job() -> Job[None]:
        for stage in range(4):
            yield [
                lambda stage=stage, i=i: (time.sleep(0.001), done.append((stage, i)))
                for i in range(6)
            ]
            assert len(done) == 6 * (stage + 1)

    run(job(), threads)
    assert [stage for stage, _ in done] == sorted(stage for stage, _ in done)


@THREADS
def test_jobs_give_their_results_in_their_own_order(threads: int | None) -> None:
    jobs = (squares(n, 0.001) for n in (9, 1, 5, 0, 3, 8, 2, 7, 1, 4))
    expected = [[i * i for i in range(n)] for n in (9, 1, 5, 0, 3, 8, 2, 7, 1, 4)]
    assert list(run_all(jobs, threads)) == expected


@THREADS
@pytest.mark.parametrize("stages", [0, 1, 3])
def test_empty_stages_are_passed_through(threads: int | None, stages: int) -> None:
    def job() -> Job[list[Any]]:
        seen = []
        for stage in [*[[]] * stages, [call("work")], *[[]] * stages]:
            results = yield stage
            seen.append(results)
        return seen

    assert run(job(), threads) == [*[[]] * stages, ["work"], *[[]] * stages]


@THREADS
def test_a_job_without_stages_gives_its_result(threads: int | None) -> None:
    def job(value: int) -> Job[int]:
        return value
        yield []

    assert list(run_all(map(job, range(20)), threads)) == list(range(20))


@THREADS
def test_no_jobs_give_no_results(threads: int | None) -> None:
    assert list(run_all([], threads)) == []


@THREADS
def test_a_job_is_thrown_the_first_error_of_its_stage_and_may_go_on(threads: int | None) -> None:
    def job() -> Job[list[Any]]:
        try:
            yield [call(1), fail("first", 0.02), fail("second"), call(2)]
        except ValueError as error:
            caught = str(error)
        again = yield [call("went on")]
        try:
            yield [fail("third")]
        except ValueError as error:
            return [caught, *again, str(error)]
        return []

    assert run(job(), threads) == ["first", "went on", "third"]


@THREADS
def test_a_job_that_recovers_into_an_empty_stage_goes_on(threads: int | None) -> None:
    def job() -> Job[Any]:
        try:
            yield [fail("x")]
        except ValueError:
            nothing = yield []
        return nothing

    assert run(job(), threads) == []


@THREADS
def test_an_error_in_one_job_is_not_another_ones(threads: int | None) -> None:
    def job(i: int) -> Job[str]:
        try:
            (result,) = yield [fail(f"{i}") if i % 3 == 0 else call(f"fine {i}", 0.001)]
        except ValueError as error:
            return f"failed {error}"
        return str(result)

    expected = [f"failed {i}" if i % 3 == 0 else f"fine {i}" for i in range(20)]
    assert list(run_all(map(job, range(20)), threads)) == expected


@THREADS
@pytest.mark.parametrize("where", ["task", "start", "later", "iterator"])
def test_an_error_that_no_job_catches_ends_the_run(threads: int | None, where: str) -> None:
    begun: list[int] = []

    def job(i: int) -> Job[int]:
        begun.append(i)
        if i == 3 and where == "start":
            raise ValueError("at the start")
        yield [fail("in a task") if i == 3 and where == "task" else call(i)]
        if i == 3 and where == "later":
            raise ValueError("later")
        return i

    def jobs() -> Iterator[Job[int]]:
        for i in range(1000):
            if i == 3 and where == "iterator":
                raise ValueError("in the iterator")
            yield job(i)

    texts = {"task": "in a task", "start": "at the start", "later": "later",
             "iterator": "in the iterator"}  # fmt: skip
    with pytest.raises(ValueError, match=f"^{texts[where]}$"):
        list(run_all(jobs(), threads))
    assert len(begun) < 100  # the rest is given up
    before = len(begun)
    time.sleep(0.02)
    assert len(begun) == before


@pytest.mark.parametrize("threads", [2, 4])
def test_what_has_not_begun_is_given_up_after_an_error(threads: int) -> None:
    ran: list[int] = []

    def job() -> Job[None]:
        def slow(i: int) -> None:
            time.sleep(0.005)
            ran.append(i)

        yield [lambda i=i: slow(i) for i in range(500)]

    def failing() -> Job[None]:
        yield [fail("at once")]

    with pytest.raises(ValueError, match=r"^at once$"):
        list(run_all([failing(), job()], threads))
    assert len(ran) < 250


@pytest.mark.parametrize("seed", range(3))
def test_one_thread_and_four_compute_the_same(seed: int) -> None:
    rng = random.Random(seed)
    plans = [[rng.randrange(6) for _ in range(rng.randrange(5))] for _ in range(40)]

    def job(plan: list[int]) -> Job[list[Any]]:
        trace: list[Any] = []
        for tasks in plan:
            calls = [call(t) if (t + tasks) % 4 else fail(f"{t}") for t in range(tasks)]
            try:
                trace.append((yield calls))
            except ValueError as error:
                trace.append(str(error))
        return trace

    results = [list(run_all(map(job, plans), threads)) for threads in (1, 2, 4)]
    assert results[0] == results[1] == results[2]


@THREADS
def test_many_tasks_run_once_each(threads: int | None) -> None:
    lock, counts = threading.Lock(), dict.fromkeys(range(5000), 0)

    def task(i: int) -> int:
        with lock:
            counts[i] += 1
        return i

    def job() -> Job[int]:
        results = yield [lambda i=i: task(i) for i in range(5000)]
        assert results == list(range(5000))
        return sum(results)

    assert run(job(), threads) == sum(range(5000))
    assert set(counts.values()) == {1}


@THREADS
def test_many_small_jobs_run(threads: int | None) -> None:
    jobs = (squares(n % 3) for n in range(1000))
    assert sum(map(len, run_all(jobs, threads))) == sum(n % 3 for n in range(1000))


@THREADS
def test_jobs_are_taken_a_few_at_a_time(threads: int | None) -> None:
    begun: list[int] = []

    def job(i: int) -> Job[int]:
        begun.append(i)
        yield [call(None)]
        return i

    results = run_all(map(job, itertools.count()), threads)
    assert list(itertools.islice(results, 5)) == [0, 1, 2, 3, 4]
    results.close()  # type: ignore[attr-defined]
    assert len(begun) <= 5 + 2 * (threads or default_threads())


def test_tasks_run_side_by_side_on_several_threads() -> None:
    both = threading.Barrier(2, timeout=10)

    def job() -> Job[list[int]]:
        results = yield [both.wait, both.wait]
        return results

    assert sorted(run(job(), 2)) == [0, 1]


def test_small_jobs_fill_the_pool_together() -> None:
    both = threading.Barrier(2, timeout=10)

    def job() -> Job[Any]:
        return (yield [both.wait])

    assert sorted(r[0] for r in run_all([job(), job()], 2)) == [0, 1]


def test_one_thread_is_the_caller_itself() -> None:
    def job() -> Job[list[Any]]:
        return (yield [threading.current_thread])

    assert run(job(), 1) == [threading.current_thread()]


def test_no_thread_is_left_behind() -> None:
    before = threading.active_count()
    run(squares(20), 4)
    list(run_all((squares(3) for _ in range(10)), 4))
    assert threading.active_count() == before


def test_the_default_is_at_least_one_thread() -> None:
    assert default_threads() >= 1

"""Work that is done elsewhere: packed with what it needs, and unpacked only where that is there."""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from qcore.blame import Travelled, told
from qcore.errors import QcoreError, SchemeError, WorkerError
from qcore.loading import plugins, versions
from qcore.spec import Configurable


@dataclass(frozen=True)
class Reply:
    """What came of a call: a value, or the error that it raised, fit to travel."""

    value: Any = None
    error: Exception | None = None


@dataclass(frozen=True)
class Parcel:
    """A call that can travel.

    Attributes:
        needs: the version of each distribution that the call uses, by name.
        content: the call, pickled.
    """

    needs: Mapping[str, str]
    content: bytes

    def __call__(self) -> Reply:
        """Do the work, on a worker. What it raises is a reply too: it is not tried again."""
        lack = self._lack()
        if lack is not None:
            return Reply(error=lack)
        try:
            return Reply(pickle.loads(self.content)())
        except Exception as error:
            return Reply(error=_fit_to_travel(error))

    def _lack(self) -> WorkerError | None:
        """What this worker lacks, or has in another version."""
        installed: dict[str, str] = versions()["plugins"]
        for name, wanted in self.needs.items():
            found = installed.get(name)
            if found != wanted:
                has = f"has no plugin {name}" if found is None else f"has version {found} of {name}"
                place = f"worker {socket.gethostname()} (process {os.getpid()})"
                cure = f"pip install '{name}=={wanted}' there, and look at its QCORE_PLUGINS"
                return WorkerError(f"{place} {has}, and {wanted} is needed; {cure}")
        return None


def pack(call: Callable[[], Any], needs: Mapping[str, str]) -> Parcel:
    """A call as a parcel; it must be picklable."""
    return Parcel(needs, pickle.dumps(call, pickle.HIGHEST_PROTOCOL))


def send(parcel: Parcel, executor: Executor) -> tuple[Future[Any], Future[Reply]]:
    """Hand a parcel to a worker.

    Returns:
        What the call gives or raises, a `WorkerError` where a worker was lost or lacks something;
        and the executor's own future, to be cancelled.
    """
    answer: Future[Any] = Future()
    try:
        sent = executor.submit(parcel)
    except Exception as error:  # it has no workers left
        raise _lost(error) from error
    sent.add_done_callback(partial(_open, answer))
    return answer, sent


def _open(answer: Future[Any], sent: Future[Reply]) -> None:
    if sent.cancelled():
        answer.set_exception(WorkerError("the executor has cancelled a task"))
        return
    error = sent.exception()
    if error is not None:
        lost = _lost(error)
        lost.__cause__ = error
        answer.set_exception(lost)
    elif sent.result().error is not None:
        answer.set_exception(sent.result().error)
    else:
        answer.set_result(sent.result().value)


def _lost(error: BaseException) -> WorkerError:
    cure = "take fewer workers if memory was short, or go on with --resume"
    return WorkerError(f"a worker is gone or cannot do its work: {told(error)}; {cure}")


def needs_of(parts: Iterable[tuple[str, Configurable]]) -> dict[str, str]:
    """The distributions that gave some parts, each with its kind, and the version of each."""
    entries = plugins().registry.entries
    installed: dict[str, str] = versions()["plugins"]
    needs = {}
    for kind, part in parts:
        entry = entries[kind].get(part.id)
        if entry is not None and entry.cls is type(part):
            needs[entry.distribution] = installed[entry.distribution]
    return needs


def _fit_to_travel(error: Exception) -> Exception:
    """One of qcore's own errors as it is, which says all; of any other what it says, and where."""
    if isinstance(error, QcoreError) and type(error) is not SchemeError:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # of a class that a plugin defines
            return Travelled(error)
        return error
    return Travelled(error)

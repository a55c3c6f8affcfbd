"""Workers: where the work of a comparison is done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from typing import NamedTuple

from qcore.spec import Configurable


class Team(NamedTuple):
    """Workers that are ready.

    Attributes:
        executor: runs what it is given, anywhere; what travels to it is pickled.
        size: gives how many workers it has just now; 0 while none has come to a cluster.
        dashboard: the address of a page that shows them at work, if there is one.
    """

    executor: Executor
    size: Callable[[], int]
    dashboard: str = ""


class Workers(Configurable, ABC):
    """A way to run the tasks of a comparison: in processes, or on a cluster.

    Tasks are pure: a worker that is lost costs what it had begun, and nothing else.
    """

    def available(self) -> str | None:
        """Why it cannot run here, or None if it can."""
        return None

    @abstractmethod
    def open(self, count: int | None) -> AbstractContextManager[Team]:
        """The workers, until the `with` block ends.

        Args:
            count: how many; as many as there are processors, or as a cluster has, if None.

        Raises:
            UnavailableError: they cannot be had.
        """

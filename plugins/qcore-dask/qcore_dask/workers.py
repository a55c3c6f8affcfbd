"""The workers of a dask cluster: one begun here, or one that is there already."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
from collections.abc import Iterator
from concurrent.futures import InvalidStateError
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any, ClassVar

import qcore

_PORT = 8786
_PATIENCE = 2.0  # seconds until a scheduler that does not answer is taken for absent
_RETRIES = 5  # of a task whose worker was lost

_ENVIRONMENT = {
    f"distributed.nanny.pre-spawn-environ.{library}_NUM_THREADS": None
    for library in ("OMP", "MKL", "OPENBLAS")
}
"""Workers of this machine multiply with as many threads as this process: the last bits of a product
of floats depend on it."""


@dataclass(frozen=True)
class Dask(qcore.Workers):
    """A dask cluster: `dask` begins one on this machine, `dask:tcp://host:8786` joins one.

    Without an address, DASK_SCHEDULER_ADDRESS is joined if it is set. What dask itself is
    configured with, by file or environment, holds: TLS, time-outs, the memory of a worker.

    Attributes:
        protocol: what comes first in the address, such as `tcp` or `tls`.
        host: the host, with its slashes.
        port: the scheduler's; 8786 where none is given.
        tls_ca_file: the certificates that are trusted.
        tls_cert: this client's certificate.
        tls_key: the key to it.
    """

    id: ClassVar[str] = "dask"
    protocol: str = ""
    host: str = ""
    port: int = 0
    _: KW_ONLY
    tls_ca_file: str = ""
    tls_cert: str = ""
    tls_key: str = ""

    @property
    def address(self) -> str:
        """Where the scheduler is; empty for a cluster of this machine."""
        if not self.protocol:
            return os.environ.get("DASK_SCHEDULER_ADDRESS", "")
        return f"{self.protocol}:{self.host}:{self.port or _PORT}"

    def available(self) -> str | None:
        if importlib.util.find_spec("distributed") is None:
            return "distributed is not installed; pip install 'qcore-dask[distributed]'"
        return None

    @contextlib.contextmanager
    def open(self, count: int | None) -> Iterator[qcore.Team]:
        with self._cluster(count) as cluster, _connected(cluster, self._security()) as client:
            executor = client.get_executor(pure=False, retries=_RETRIES)
            yield qcore.Team(executor, partial(_threads, client), client.dashboard_link or "")

    @contextlib.contextmanager
    def _cluster(self, count: int | None) -> Iterator[Any]:
        """What a client connects to: an address, or a cluster of this machine."""
        if self.address:
            if count is not None:
                message = f"the cluster at {self.address} has the workers that it has"
                raise qcore.UsageError(f"{message}; leave out workers=… (--workers)")
            yield self.address
            return
        import dask
        from distributed import LocalCluster

        options: dict[str, Any] = {"n_workers": count, "dashboard_address": ":0"}
        options["threads_per_worker"] = 1  # several of one process would share its interpreter lock
        with (
            dask.config.set(_ENVIRONMENT),
            LocalCluster(**options, silence_logs="ERROR") as cluster,
        ):
            yield cluster

    def _security(self) -> Any:
        given = {"tls_ca_file": self.tls_ca_file, "tls_client_cert": self.tls_cert}
        given |= {"tls_client_key": self.tls_key}
        if not any(given.values()):
            return None  # what dask is configured with
        from distributed.security import Security

        return Security(require_encryption=True, **{k: v for k, v in given.items() if v})


@contextlib.contextmanager
def _connected(cluster: Any, security: Any) -> Iterator[Any]:
    """A client of a cluster.

    Raises:
        UnavailableError: its scheduler does not answer.
    """
    from distributed import Client

    if isinstance(cluster, str):
        asyncio.run(_try(cluster, security))
    log = logging.getLogger("tornado.application")
    log.addFilter(_is_news)
    client = Client(cluster, security=security, set_as_default=False)
    try:
        yield client
    finally:
        client.close()
        log.removeFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line of the log is about anything but a task that was cancelled as it ended.

    A run that ends early cancels what is under way, and dask's executor logs each that it misses.
    """
    from distributed.client import FutureCancelledError

    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, FutureCancelledError | InvalidStateError)


async def _try(address: str, security: Any) -> None:
    """Shake hands with a scheduler: a client that cannot would be slow to give up, and loud."""
    from distributed.comm import connect
    from distributed.security import Security

    arguments = (security or Security()).get_connection_args("client")
    try:
        comm = await connect(address, timeout=_PATIENCE, **arguments)
    except Exception as error:  # of whatever answers there
        reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
        message = f"no dask scheduler answers at {address}: {reason}"
        raise qcore.UnavailableError(f"{message}; start one with 'dask scheduler'") from None
    await comm.close()


def _threads(client: Any) -> int:
    """How many tasks the cluster runs at once; workers come and go."""
    threads: dict[str, int] = client.nthreads()
    return sum(threads.values())

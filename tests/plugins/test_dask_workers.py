"""A dask cluster: workers come, go and lack things; results do not tell, and errors do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import qcore
from qcore_dask import Dask

pytest.importorskip("distributed")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are of POSIX")

AXES = ["--scheme", "symmetric", "--bits", "4", "--observer", "mse", "--format", "json"]
RECIPE = "symmetric bits=4 observer=mse"
TENSORS, SHAPE = 60, (64, 96)
PATIENCE = 90.0


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("cluster") / "model.safetensors"
    tensors = {
        f"layers.{i:02}.weight": random.standard_normal(SHAPE, np.float32) for i in range(TENSORS)
    }
    save_file(tensors, path)
    return path


class Cluster:
    """A scheduler and workers, each a process of its own, as they are begun by hand."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
        port = self.address.rpartition(":")[2]
        self.processes = [
            self._begin("scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard")
        ]

    def worker(self, **environment: str) -> subprocess.Popen[bytes]:
        """One more, which need not be ready yet."""
        options = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--death-timeout", "60")
        process = self._begin("worker", self.address, *options, **environment)
        self.processes.append(process)
        return process

    def _begin(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_" + arguments[0], *arguments[1:]],
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait_for(self, workers: int) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                with Dask.from_config({**spec(self.address)}).open(None) as team:
                    executor: Any = team.executor
                    executor._client.wait_for_workers(workers, timeout=PATIENCE)
                    return
            except qcore.UnavailableError:
                time.sleep(0.2)
        raise AssertionError("no cluster")

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


def spec(address: str) -> dict[str, Any]:
    protocol, host, port = address.split(":")
    return {"protocol": protocol, "host": host, "port": int(port)}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    yield made
    made.end()


def begin(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "qcore", "compare", *map(str, arguments)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def facts(comparison: qcore.Comparison) -> list[Any]:
    return [(row.tensor, str(row.recipe), row.error, repr(row.stats)) for row in comparison.rows]


def test_one_worker_is_killed_another_joins_and_nobody_can_tell(
    cluster: Cluster, file: Path
) -> None:
    first, _ = cluster.worker(), cluster.worker()
    cluster.wait_for(2)

    class Kills:
        done = 0

        def begins(self, refs: Any, team: Any) -> None:
            assert team.size() == 2

        def rows(self, ref: Any, rows: Any) -> None:
            self.done += 1
            if self.done == TENSORS // 4:
                first.send_signal(signal.SIGKILL)
                cluster.worker()

    watch = Kills()
    found = qcore.compare(file, RECIPE, executor=f"dask:{cluster.address}", watch=watch)
    assert watch.done == TENSORS
    assert first.wait() == -signal.SIGKILL
    assert facts(found) == facts(qcore.compare(file, RECIPE))


def test_a_worker_without_a_plugin_is_named_with_it(cluster: Cluster, file: Path) -> None:
    worker = cluster.worker(QCORE_PLUGINS="numpy")
    cluster.wait_for(1)
    process = begin(file, *AXES, "--executor", f"dask:{cluster.address}")
    output, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, output) == (1, "")
    expected = f"(process {worker.pid}) has no plugin qcore-symmetric, and "
    assert expected in errors
    assert f"worker {socket.gethostname()}" in errors
    assert "pip install 'qcore-symmetric==" in errors
    assert errors.count("\n") == 1, errors


def test_the_address_may_be_in_the_environment(cluster: Cluster, file: Path) -> None:
    cluster.worker()
    cluster.wait_for(1)
    few = ["--include", "layers.0[0-3]"]
    process = begin(file, *AXES, *few, "--executor", "dask", DASK_SCHEDULER_ADDRESS=cluster.address)
    output, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (0, "")
    assert output.count('"source"') == 4
    with pytest.raises(qcore.UsageError, match=r"the cluster at .* has the workers that it has"):
        qcore.compare(file, RECIPE, executor=f"dask:{cluster.address}", workers=3)


def test_no_scheduler_is_one_line_within_five_seconds(file: Path) -> None:
    with socket.socket() as taken:  # bound, so that nobody else listens there
        taken.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(qcore.UnavailableError, match="no dask scheduler answers at") as caught:
            qcore.compare(file, RECIPE, executor=f"dask:{address}")
    assert time.monotonic() - start < 5
    assert address in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_cluster_of_this_machine_is_begun_and_says_nothing(file: Path) -> None:
    process = begin(file, *AXES, "--executor", "dask", "--workers", 2)
    output, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (0, "")
    assert output.count('"source"') == TENSORS


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("dask:tcp://host:8786", "tcp://host:8786"),
        ("dask:tls://10.0.0.1", "tls://10.0.0.1:8786"),
        ("dask:tls://h:1:tls_ca_file=/etc/ca.pem", "tls://h:1"),
        ("dask", ""),
    ],
)
def test_an_address_is_part_of_the_spec(
    monkeypatch: pytest.MonkeyPatch, text: str, address: str
) -> None:
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    made = qcore.create("executor", text)
    assert made.address == address
    assert qcore.create("executor", str(made)) == made


def test_without_distributed_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    monkeypatch.setattr("qcore_dask.workers.importlib.util.find_spec", {}.get)
    with pytest.raises(qcore.UnavailableError, match=r"pip install 'qcore-dask\[distributed\]'"):
        qcore.compare(file, RECIPE, executor="dask")

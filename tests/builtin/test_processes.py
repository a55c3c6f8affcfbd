"""Processes: as many as are asked for, gone when they are no longer needed, deaf to Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qcore.builtin.processes import Processes

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are of POSIX")


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def gone(pids: set[int], patience: float = 10.0) -> bool:
    end = time.monotonic() + patience
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(map(alive, pids))


def test_two_work_side_by_side_and_are_gone_afterwards() -> None:
    with Processes().open(2) as team:
        assert team.size() == 2
        naps = [team.executor.submit(time.sleep, 0.3) for _ in range(2)]  # one each
        pids = {team.executor.submit(os.getpid).result() for _ in naps}
        for nap in naps:
            nap.result()
        assert os.getpid() not in pids
    assert gone(pids)


def test_there_is_one_for_each_processor_by_default() -> None:
    with Processes().open(None) as team:
        assert team.size() == len(os.sched_getaffinity(0))


def test_a_worker_neither_hears_ctrl_c_nor_outlives_a_killed_parent() -> None:
    script = """
import os, sys, time
from qcore.builtin.processes import Processes

if __name__ == "__main__":
    with Processes().open(1) as team:
        print(team.executor.submit(os.getpid).result(), flush=True)
        team.executor.submit(time.sleep, 60)
        time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        os.kill(worker, signal.SIGINT)
        time.sleep(0.1)
        assert alive(worker)
    finally:
        parent.kill()
        parent.communicate()
    assert gone({worker})

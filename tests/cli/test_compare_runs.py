"""`qcore compare` run for long: killed, interrupted and gone on with; what it would take."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are of POSIX")

TENSORS, KILLS, CASES = 24, 4, 2
SHAPE = (64, 96)
AXES = ["--scheme", "symmetric,apot", "--bits", "4", "--observer", "mse", "--quiet"]
PATIENCE = 60.0


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About a second of work."""
    random = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("runs") / "model.safetensors"
    tensors = {
        f"layers.{i:02}.weight": random.standard_normal(SHAPE, np.float32) for i in range(TENSORS)
    }
    save_file(tensors, path)
    return path


def begin(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "qcore", "compare", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def rows(text: str) -> list[Any]:
    """The rows of a JSON document, but for the time that they took."""
    return [
        {name: value for name, value in row.items() if name != "seconds"}
        for row in json.loads(text)["results"]
    ]


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for_lines(journal: Path, count: int, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + PATIENCE
    while lines(journal) < count and process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)


@pytest.fixture(scope="module")
def expected(file: Path) -> list[Any]:
    done = begin(file, *AXES, "--threads", 1, "--format", "json")
    return rows(done.communicate()[0])


@pytest.mark.parametrize("how", [[], ["--executor", "processes", "--workers", "2"]])
def test_killed_again_and_again_a_run_ends_as_if_it_had_not_been(
    file: Path, tmp_path: Path, expected: list[Any], how: list[str]
) -> None:
    journal = tmp_path / "run.jsonl"
    options = [file, *AXES, *how, "--journal", journal, "--resume", "--format", "json"]
    begun = 0
    for kill in range(KILLS):
        process = begin(*options)
        wait_for_lines(journal, begun + 2 + 3 * kill, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert lines(journal) >= begun  # nothing is lost
        begun = lines(journal)
    done = begin(*options)
    output, errors = done.communicate()
    assert (done.returncode, errors) == (0, "")
    assert rows(output) == expected
    assert begun < 1 + CASES * TENSORS, "no kill was early enough to matter"
    written = [line.partition(b" ")[2] for line in journal.read_bytes().splitlines()[1:]]
    keys = [(entry["tensor"], entry["case"]) for entry in map(json.loads, written)]
    assert len(set(keys)) == CASES * TENSORS
    torn = CASES - 1  # of a tensor whose lines were cut apart, at each kill
    assert len(keys) <= len(set(keys)) + KILLS * torn


@pytest.mark.parametrize("how", [[], ["--executor", "processes", "--workers", "2"]])
def test_ctrl_c_prints_what_is_done_and_the_rest_can_follow(
    file: Path, tmp_path: Path, expected: list[Any], how: list[str]
) -> None:
    journal = tmp_path / "run.jsonl"
    options = [file, *AXES, *how, "--journal", journal, "--format", "json"]
    process = begin(*options)
    wait_for_lines(journal, 4, process)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "Traceback" not in errors
    so_far = rows(output)
    assert 1 <= len(so_far) < len(expected)
    assert all(row in expected for row in so_far)
    rest = begin(*options, "--resume")
    output, errors = rest.communicate()
    assert (rest.returncode, errors) == (0, "")
    assert rows(output) == expected


def test_ctrl_c_prints_a_table_too(file: Path, tmp_path: Path) -> None:
    journal = tmp_path / "run.jsonl"
    process = begin(file, *AXES, "--journal", journal)
    wait_for_lines(journal, 4, process)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "symmetric" in output
    assert "Traceback" not in errors


@pytest.mark.parametrize("how", [[], ["--executor", "processes", "--workers", "2"]])
def test_a_second_ctrl_c_stops_at_once(tmp_path: Path, how: list[str]) -> None:
    path = tmp_path / "zeros.safetensors"  # sparse, and one recipe on it many seconds of work
    count = 1 << 28
    header = json.dumps(
        {"w": {"dtype": "F16", "shape": [count >> 10, 1 << 10], "data_offsets": [0, 2 * count]}}
    ).encode()
    with path.open("wb") as sparse:
        sparse.write(len(header).to_bytes(8, "little") + header)
        sparse.truncate(sparse.tell() + 2 * count)
    process = begin(path, *AXES, *how)
    time.sleep(3)
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.05)
    start = time.monotonic()
    while process.poll() is None and time.monotonic() < start + PATIENCE:
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.05)
    taken = time.monotonic() - start
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode in (130, -signal.SIGINT)  # of threads the first may be quicker
    assert taken < 2
    assert "Traceback" not in errors
    assert output == ""


# --- what it would take ---------------------------------------------------------------------------

Run = Callable[..., tuple[int, str, str]]


def test_a_dry_run_does_nothing_and_says_what_it_would_take(
    run: Run, file: Path, tmp_path: Path
) -> None:
    journal = tmp_path / "run.jsonl"
    status, output, errors = run("compare", file, *AXES, "--dry-run", "--journal", journal)
    assert (status, errors) == (0, "")
    assert not journal.exists()
    status, output, errors = run("compare", file, *AXES, "--dry-run", "--format", "json")
    (facts,) = (
        json.loads(output)["rows"] if isinstance(json.loads(output), dict) else json.loads(output)
    )
    assert facts["tensors"] == TENSORS
    assert facts["elements"] == TENSORS * SHAPE[0] * SHAPE[1]
    assert facts["bytes"] == 4 * facts["elements"]
    assert facts["recipes"] == CASES
    assert 0 < facts["seconds"] < 100
    assert errors == ""


def test_processes_print_the_same_table(run: Run, file: Path) -> None:
    few = ["--include", "layers.0[0-3]", "--format", "json"]
    status, expected, _ = run("compare", file, *AXES, *few)
    assert status == 0
    done = begin(file, *AXES, *few, "--executor", "processes")
    output, errors = done.communicate()
    assert (done.returncode, errors) == (0, "")
    assert rows(output) == rows(expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resume"], "there is no journal to resume; name it too"),
        (["--executor", "proceses"], "unknown executor 'proceses', did you mean 'processes'?"),
        (["--executor", "processes:3"], "'processes"),
    ],
)
def test_what_cannot_be_is_one_line(
    run: Run, file: Path, arguments: list[str], message: str
) -> None:
    status, output, errors = run("compare", file, *AXES, *arguments)
    assert status in (1, 2)
    assert output == ""
    assert message in errors
    assert errors.count("\n") == 1

"""Kills `qcore compare --journal --resume` at random moments, again and again, and tells of it.

    python benchmarks/kill_resume.py [kills] [executor]

The final table must be that of a run that nobody killed, and nothing may have been computed twice
but what was under way when a kill came.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

TENSORS, SHAPE = 200, (64, 96)
AXES = ["--scheme", "symmetric,asymmetric", "--bits", "4", "--observer", "mse", "--quiet"]
CASES = 2


def command(*options: object) -> list[str]:
    return [sys.executable, "-m", "qcore", "compare", *map(str, options), "--format", "json"]


def rows(output: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(output)["results"]
    return [{name: row[name] for name in row if name != "seconds"} for row in found]


def entries(journal: Path) -> list[tuple[str, str]]:
    """The tensor and the case of each whole line but the first."""
    if not journal.exists():
        return []
    lines = [line for line in journal.read_bytes().splitlines(keepends=True) if line[-1:] == b"\n"]
    found = [json.loads(line.partition(b" ")[2]) for line in lines[1:]]
    return [(entry["tensor"], entry["case"]) for entry in found]


def main(kills: int, executor: str) -> None:
    chance = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        file, journal = Path(folder, "model.safetensors"), Path(folder, "run.jsonl")
        values = np.random.default_rng(0)
        names = [f"layers.{i:03}.weight" for i in range(TENSORS)]
        save_file({name: values.standard_normal(SHAPE, np.float32) for name in names}, file)
        start = time.perf_counter()
        expected = subprocess.run(
            command(file, *AXES, "--threads", 2), capture_output=True, check=True, text=True
        )
        whole = time.perf_counter() - start
        print(f"uninterrupted: {TENSORS} tensors × {CASES} recipes in {whole:.1f} s")
        options = [file, *AXES, "--executor", executor]
        start = time.perf_counter()
        subprocess.run(command(*options, "--include", names[0]), capture_output=True, check=True)
        boot = time.perf_counter() - start
        options += ["--journal", journal, "--resume"]
        kill = early = again = rounds = 0

        def finish() -> None:
            """Let a run end, compare, and begin the next one from nothing."""
            nonlocal again, rounds
            done = subprocess.run(command(*options), capture_output=True, check=True, text=True)
            assert rows(done.stdout) == rows(expected.stdout), "the tables differ"
            again, rounds = again + len(entries(journal)) - len(set(entries(journal))), rounds + 1
            journal.unlink()

        while kill < kills:
            before = entries(journal)
            process = subprocess.Popen(
                command(*options), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
            time.sleep(chance.uniform(0.6 * boot, boot + whole / 5))
            alive = process.poll() is None
            if alive:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kill += alive
            after = entries(journal)
            assert after[: len(before)] == before, "something was lost"
            early += alive and after == before
            if alive and kill % 10 == 0:
                print(f"kill {kill:3}: {len(set(after))} of {TENSORS * CASES} rows", flush=True)
            if len(set(after)) == TENSORS * CASES:
                finish()
        finish()
        print(f"{kills} kills in {rounds} runs, {early} before anything more was done")
        assert again <= kills * (CASES - 1), "rows were computed twice"
        print(f"every table equals the uninterrupted one; rows computed twice: {again}")


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 50,
        sys.argv[2] if len(sys.argv) > 2 else "threads",
    )

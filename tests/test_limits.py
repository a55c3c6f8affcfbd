"""A tensor may be far larger than what a comparison holds in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

GIB = 1 << 30
MOST = 64 << 20
"""Anonymous memory that a comparison may take beyond an idle process, bytes."""

THREADS = 4  # fixed, so that the limit means the same on every machine

MEASURED = """
import json, sys, threading, time
import numpy as np
import qcore

def anonymous():
    with open("/proc/self/status") as status:
        (line,) = [line for line in status if line.startswith("RssAnon:")]
    return int(line.split()[1]) * 1024

RECIPES = ["symmetric bits=8", "symmetric bits=8 granularity=channel:0"]
qcore.compare({"warm": np.eye(4096, 256, dtype=np.float32)}, RECIPES, threads=int(sys.argv[2]))
idle = anonymous()
peak = idle
done = threading.Event()

def watch():
    global peak
    while not done.wait(0.001):
        peak = max(peak, anonymous())

watcher = threading.Thread(target=watch)
watcher.start()
comparison = qcore.compare(sys.argv[1], RECIPES, threads=int(sys.argv[2]))
done.set()
watcher.join()
print(json.dumps({
    "extra": max(peak, anonymous()) - idle,
    "errors": [row.error for row in comparison.rows],
    "elements": comparison.summary()[0].elements,
    "max_abs": [row.metrics["max_abs"] for row in comparison.rows],
}))
"""


def sparse(path: Path, size: int, pages: int) -> None:
    """A float32 .npy of `size` bytes that takes no room on disk but for some random pages."""
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 14, size >> 16)}
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        file.truncate(start + size)
        rng = np.random.default_rng(0)
        for place in rng.integers(0, size // 4096, pages):
            file.seek(start + int(place) * 4096)
            file.write(rng.standard_normal(1024).astype("<f4").tobytes())


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
@pytest.mark.parametrize(
    ("size", "pages"), [(GIB // 4, 0), (GIB, 1000)], ids=["zeros", "random pages"]
)
def test_a_tensor_of_one_gibibyte_is_compared_in_sixty_four_mebibytes(
    tmp_path: Path, size: int, pages: int
) -> None:
    path = tmp_path / "large.npy"
    sparse(path, size, pages)
    try:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", MEASURED, str(path), str(THREADS)],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    finally:
        path.unlink()
    found = json.loads(done.stdout)
    assert found["errors"] == [None, None]
    assert found["elements"] == size // 4
    assert [error > 0 for error in found["max_abs"]] == [pages > 0] * 2
    assert found["extra"] <= MOST, f"{found['extra'] / 2**20:.0f} MiB"

"""A run over a file needs memory for some chunks, however large the file is."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="/proc is of Linux")

SIZE = 1 << 28
MOST = 256 << 20
HOW = {
    "threads": [],
    "processes": ["--executor", "processes", "--workers", "2"],
}


def sparse(path: Path, tensors: int, nbytes: int) -> Path:
    """Tensors of bfloat16 zeros, of so many bytes in all, which take no space on the disk."""
    each = nbytes // tensors
    header = {
        f"w{i}": {
            "dtype": "BF16",
            "shape": [each >> 13, 1 << 12],
            "data_offsets": [i * each, (i + 1) * each],
        }
        for i in range(tensors)
    }
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(file.tell() + tensors * each)
    return path


def anonymous(pid: int) -> int:
    """Bytes of memory that a process has for itself."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))


def family(pid: int) -> list[int]:
    """A process and what its threads have begun."""
    try:
        texts = [path.read_text("utf-8") for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        texts = []
    return [pid, *(own for text in texts for child in text.split() for own in family(int(child)))]


@pytest.mark.parametrize(("how", "tensors"), [("threads", 1), ("processes", 1), ("processes", 8)])
def test_each_process_stays_below_256_mb(tmp_path: Path, how: str, tensors: int) -> None:
    path = sparse(tmp_path / "model.safetensors", tensors, SIZE)
    command = [sys.executable, "-m", "qcore", "compare", str(path), "--scheme", "symmetric"]
    command += ["--bits", "4", "--granularity", "group:128", *HOW[how]]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peak: dict[int, int] = {}
    while run.poll() is None:
        for pid in family(run.pid):
            peak[pid] = max(peak.get(pid, 0), anonymous(pid))
        time.sleep(0.01)
    output, errors = run.communicate()
    assert (run.returncode, errors) == (0, "")
    assert "symmetric" in output
    assert max(peak.values()) > 20 << 20, "nothing was measured"
    assert max(peak.values()) <= MOST, {pid: f"{value >> 20} MB" for pid, value in peak.items()}

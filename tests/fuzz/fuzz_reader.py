"""Feeds a reader whatever a coverage-guided fuzzer makes up; only a ReadError may come of it.

pip install atheris
python tests/fuzz/fuzz_reader.py gguf -max_total_time=600

An argument after the reader's id is libFuzzer's own. What is found goes to tests/fuzz/found/; put a
file that failed into tests/fuzz/corpus/ID/ once it is mended, so that CI replays it.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["qcore", "qcore_gguf"]):
    import qcore_gguf  # noqa: F401
    from qcore.builtin.readers import (  # noqa: F401
        npy,
        npz,
        onnx,
        quantized,
        safetensors,
        torch,
    )
    from qcore.loading import create

sys.path.insert(0, os.fspath(Path(__file__).parent))
from replay import CORPUS, read_all

FOUND = Path(__file__).parent / "found"
MEMORY_MB = 256  # of the whole process; the libraries take 100


def main() -> None:
    """Fuzz the reader named on the command line."""
    program, id, *options = sys.argv
    reader = create("reader", id)
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    path = folder / "fuzzed"
    working = FOUND / id
    working.mkdir(parents=True, exist_ok=True)

    def one(data: bytes) -> None:
        path.write_bytes(data)
        read_all(reader, path)

    limits = ["-timeout=2", f"-rss_limit_mb={MEMORY_MB}", f"-artifact_prefix={working}/"]
    atheris.Setup([program, *limits, *options, str(working), str(CORPUS / id)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

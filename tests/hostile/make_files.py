"""Makes the hostile files of every format: python tests/hostile/make_files.py FOLDER

Nothing of qcore is needed, and nothing but the standard library.
"""

from __future__ import annotations

import sys
from pathlib import Path

import folder_files
import gguf_files
import named_files
import npy_files
import npz_files
import onnx_files
import other_files
import quantized_files
import safetensors_files
import torch_files
from cases import SECRET, put

CASES = {
    "safetensors": safetensors_files.CASES,
    "shards": folder_files.SHARDS,
    "hugging-face-cache": folder_files.CACHE,
    "npy": npy_files.CASES,
    "npz": npz_files.CASES,
    "quantized": quantized_files.CASES,
    "gguf": gguf_files.CASES,
    "onnx": onnx_files.CASES,
    "torch": torch_files.CASES,
    "other": other_files.CASES,
}
"""By format, which is the name of their folder."""

NAMED = "named"
"""The folder of sound files with names that are not."""


def make(folder: Path) -> None:
    """All files, in folders that are not there yet; and beside them what none may reach."""
    put(folder / SECRET / "weights.safetensors", safetensors_files.GOOD)
    put(folder / SECRET / "data.bin", bytes(16))
    for format, cases in CASES.items():
        for case in cases:
            put(folder / format / case.path, case.content)
    for path, (content, _) in named_files.FILES.items():
        put(folder / NAMED / path, content)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    make(Path(sys.argv[1]))

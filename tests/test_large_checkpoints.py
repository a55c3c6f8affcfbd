"""A checkpoint larger than any memory is listed from its headers alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SHARDS, TENSORS, SIZE = 40, 25, 5 << 19  # in a shard; elements of a tensor along each axis
LIST = """
import json, resource, sys
from pathlib import Path
import qcore
from qcore.sources import from_paths

def used():
    io = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10, int(io["rchar"])

from_paths([sys.argv[1]])
memory, read = used()
refs, failed = from_paths(sys.argv[2:])
found = {
    "failed": [each.error for each in failed],
    "tensors": [[ref.name, list(ref.shape), ref.dtype] for ref in refs],
}
peak, after = used()
row = refs[-1].load()[-1, -3:].tolist()
print(json.dumps(found | {"memory": peak - memory, "read": after - read, "row": row}))
"""


def sparse_shard(path: Path, names: list[str], shape: tuple[int, int]) -> int:
    """A shard of bfloat16 tensors of nothing but zeros, which takes no space on the disk."""
    nbytes = 2 * shape[0] * shape[1]
    header = {
        name: {"dtype": "BF16", "shape": shape, "data_offsets": [i * nbytes, (i + 1) * nbytes]}
        for i, name in enumerate(names)
    }
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(file.tell() + len(names) * nbytes)
    return path.stat().st_size


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """100 GB in 40 shards, with their index."""
    weights: dict[str, str] = {}
    total = 0
    for shard in range(SHARDS):
        path = tmp_path / f"model-{shard + 1:05}-of-{SHARDS:05}.safetensors"
        names = [f"model.layers.{shard}.part{i}.weight" for i in range(TENSORS)]
        total += sparse_shard(path, names, (20, SIZE))
        weights |= dict.fromkeys(names, path.name)
    assert total > 100e9
    index: dict[str, Any] = {"metadata": {"total_size": total}, "weight_map": weights}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    return tmp_path


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="a system that does not count")
def test_100_gb_are_listed_with_little_memory_and_no_data_read(
    checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    small = tmp_path_factory.mktemp("small") / "m.safetensors"
    sparse_shard(small, ["w"], (1, 1))
    done = subprocess.run(
        [sys.executable, "-c", LIST, str(small), str(checkpoint)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["failed"] == []
    assert len(found["tensors"]) == SHARDS * TENSORS
    assert found["tensors"][-1] == ["model.layers.39.part24.weight", [20, SIZE], "bfloat16"]
    assert found["memory"] < 100e6
    assert found["read"] < 10e6
    assert found["row"] == [0, 0, 0]

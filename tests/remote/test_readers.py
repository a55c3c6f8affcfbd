"""Readers give from far away what they give from here, and fetch headers and what is read alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file
from upath import UPath

import qcore
from qcore.remote_file import READ_AHEAD
from qcore.sources import TensorRef, from_paths

RNG = np.random.default_rng(0)
ARRAYS = {
    "a.weight": RNG.normal(size=(300, 200)).astype(np.float32),
    "b.weight": RNG.integers(0, 255, (500, 400), np.uint8),
    "c.bias": RNG.normal(size=3).astype(np.float16),
    "empty": np.zeros((0, 4)),
}
INDEX = "model.safetensors.index.json"


def safetensors(folder: Path) -> str:
    extra = {"d": np.ones((2, 3), ml_dtypes.bfloat16)}
    save_file(ARRAYS | extra, folder / "m.safetensors", {"written": "here"})
    return "m.safetensors"


def npy(folder: Path) -> str:
    np.save(folder / "w.npy", np.asfortranarray(ARRAYS["a.weight"]))
    return "w.npy"


def npz(folder: Path) -> str:
    np.savez(folder / "m.npz", **ARRAYS)
    return "m.npz"


def deflated(folder: Path) -> str:
    np.savez_compressed(folder / "z.npz", **ARRAYS)
    return "z.npz"


def shards(folder: Path, indexed: bool = False) -> str:
    (folder / "shards").mkdir()
    names = {}
    for number, (name, array) in enumerate(ARRAYS.items()):
        names[name] = f"{number}.safetensors"
        save_file({name: array}, folder / "shards" / names[name])
    if indexed:
        (folder / "shards" / INDEX).write_text(json.dumps({"weight_map": names}))
    return "shards"


def indexed(folder: Path) -> str:
    return shards(folder, indexed=True)


def mixed(folder: Path) -> str:
    (folder / "mixed").mkdir()
    (folder / "mixed" / "README.md").write_text("not a tensor")
    for write in (npy, npz):
        write(folder / "mixed")
    return "mixed"


WRITERS = pytest.mark.parametrize(
    "write", [safetensors, npy, npz, deflated, shards, indexed, mixed]
)
Writer = Callable[[Path], str]


def assert_alike(here: list[TensorRef], far: list[TensorRef]) -> None:
    assert len(here) == len(far) > 0
    for local, remote in zip(here, far, strict=True):
        assert (remote.name, remote.shape, remote.dtype) == (local.name, local.shape, local.dtype)
        assert remote.source.rpartition("/")[2] == Path(local.source).name
        expected, found = local.load(), remote.load()
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert found.strides == expected.strides
        assert found.tobytes() == expected.tobytes()
        assert not found.flags.writeable


@WRITERS
def test_from_a_web_server_come_the_same_tensors(web: Any, write: Writer) -> None:
    name = write(web.folder)
    far, failed = from_paths([f"{web.url}/{name}"])
    assert failed == []
    assert_alike(from_paths([web.folder / name])[0], far)


@WRITERS
def test_from_memory_come_the_same_tensors(tmp_path: Path, memory: UPath, write: Writer) -> None:
    name = write(tmp_path)
    memory.fs.put(str(tmp_path / name), (memory / name).path, recursive=True)
    far, failed = from_paths([str(memory / name)])
    assert failed == []
    assert_alike(from_paths([tmp_path / name])[0], far)


def large(folder: Path, save: Callable[..., None], name: str, **arrays: Any) -> Path:
    save(folder / name, **arrays)
    return folder / name


HUGE = {"v": RNG.normal(size=(700, 300)), "w": RNG.normal(size=(500, 400))}


def test_of_a_safetensors_file_the_header_is_fetched_and_then_the_tensor(web: Any) -> None:
    save_file(HUGE, web.folder / "m.safetensors")
    refs, _ = from_paths([f"{web.url}/m.safetensors"])
    assert web.served == [(0, READ_AHEAD)]
    assert web.asked == 2  # one of them for the size
    for ref in refs:
        web.forget()
        assert ref.load().tobytes() == HUGE[ref.name].tobytes()
        start, end, _ = ref.info.where
        assert web.served == [(start, HUGE[ref.name].nbytes)]
        assert start + HUGE[ref.name].nbytes == end


def test_a_header_longer_than_is_read_ahead_is_fetched_whole(web: Any) -> None:
    names = [f"{'x' * 200}{number}" for number in range(1000)]
    save_file({name: np.zeros(9, np.uint8) for name in names}, web.folder / "m.safetensors")
    refs, _ = from_paths([f"{web.url}/m.safetensors"])
    assert [ref.name for ref in refs] == sorted(names)
    length = int.from_bytes((web.folder / "m.safetensors").read_bytes()[:8], "little")
    assert length > 2 * READ_AHEAD
    assert sorted(set(web.served)) == [(0, READ_AHEAD), (8, length)]


def test_of_a_npy_file_the_header_is_fetched_and_then_the_array(web: Any) -> None:
    np.save(web.folder / "w.npy", HUGE["w"])
    (ref,), _ = from_paths([f"{web.url}/w.npy"])
    assert web.served == [(0, READ_AHEAD)]
    web.forget()
    assert ref.load().tobytes() == HUGE["w"].tobytes()
    assert web.served == [(0, READ_AHEAD), (128, HUGE["w"].nbytes)]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_of_an_npz_archive_the_directory_and_headers_are_fetched_and_then_the_array(
    web: Any, save: Callable[..., None]
) -> None:
    save(web.folder / "m.npz", **HUGE)
    size = (web.folder / "m.npz").stat().st_size
    refs, _ = from_paths([f"{web.url}/m.npz"])
    pieces = [start for start, count in web.served if count <= READ_AHEAD]
    assert len(pieces) == len(web.served) == 3  # the start, the end, and the second member
    assert {0, size - READ_AHEAD} < set(pieces)
    for ref in refs:
        web.forget()
        assert ref.load().tobytes() == HUGE[ref.name].tobytes()
        assert sum(count for _, count in web.served) <= ref.info.where[1] + READ_AHEAD


def test_small_arrays_come_with_their_headers(web: Any) -> None:
    np.savez(web.folder / "m.npz", **{f"w{n}": np.full((4, 5), n) for n in range(20)})
    refs, _ = from_paths([f"{web.url}/m.npz"])
    assert [int(ref.load().max()) for ref in refs] == list(range(20))
    assert len(web.served) == 1 + 20


def test_a_file_that_changed_after_listing_is_refused(web: Any) -> None:
    save_file(HUGE, web.folder / "m.safetensors")
    (ref, _), _ = from_paths([f"{web.url}/m.safetensors"])
    save_file({"v": HUGE["v"]}, web.folder / "m.safetensors")
    with pytest.raises(qcore.ReadError) as caught:
        ref.load()
    message = "tensor 'v': the file has changed since it was listed; list it again"
    assert str(caught.value) == f"{web.url}/m.safetensors: {message}"


def test_what_cannot_be_had_leaves_the_others(web: Any, memory: UPath) -> None:
    np.save(web.folder / "w.npy", HUGE["w"])
    (memory / "README.md").write_text("not a tensor")
    gone, closed, unreachable = (
        f"{web.url}/v.npy",
        f"{web.closed}/w.npy",
        "http://127.0.0.1:1/w.npy",
    )
    refs, failed = from_paths([gone, closed, unreachable, f"{web.url}/w.npy", str(memory)])
    assert [ref.name for ref in refs] == ["w"]
    assert [each.source for each in failed] == [gone, closed, unreachable, str(memory)]
    assert web.asked == 2 + 2 + 2  # an answer of failure is not asked for twice
    assert [each.error.partition(": ")[2].partition(" 1")[0] for each in failed] == [
        "it cannot be opened: no such file",
        "it cannot be opened: its server answers 403 Forbidden",
        "it cannot be opened: Cannot connect to host",
        "",
    ]
    assert failed[3].error == f"folder '{memory}' holds no file that a reader knows"


def test_a_comparison_takes_an_address(memory: UPath, tmp_path: Path) -> None:
    name = safetensors(tmp_path)
    (memory / name).write_bytes((tmp_path / name).read_bytes())
    far, here = (
        qcore.compare(source, "symmetric bits=4", threads=1)
        for source in (str(memory / name), tmp_path / name)
    )
    assert [row.source for row in far.rows] == [str(memory / name)] * 3
    assert [row.metrics for row in far.rows] == [row.metrics for row in here.rows]


def test_a_calibration_takes_an_address(web: Any) -> None:
    np.save(web.folder / "x.npy", HUGE["w"])
    far, here = (
        qcore.calibrate(source, "asymmetric bits=8", threads=1)
        for source in (f"{web.url}/x.npy", web.folder / "x.npy")
    )
    assert far.ranges == here.ranges
    assert far.ranges["x"].lo == np.float32(HUGE["w"].min())

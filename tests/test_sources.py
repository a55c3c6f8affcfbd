"""Files and arrays give tensors; rules say which are taken, and count those that are not."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from qcore import ReadError, UsageError
from qcore.builtin.readers.npy import NpyReader
from qcore.sources import Selection, TensorRef, Unreadable, from_arrays, from_paths


def safetensors(path: Path, **tensors: NDArray[np.float32]) -> Path:
    """A safetensors file of float32 tensors, written by the format's README."""
    header: dict[str, Any] = {}
    data = b""
    for name, tensor in tensors.items():
        offsets = [len(data), len(data) + tensor.nbytes]
        header[name] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": offsets}
        data += tensor.astype("<f4").tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def npy(path: Path, array: Any) -> Path:
    np.save(path, array)
    return path


def matrix(value: float = 1.0) -> NDArray[np.float32]:
    return np.full((2, 3), value, np.float32)


ARRAYS = {
    "layer1.weight": matrix(),
    "layer1.bias": np.zeros(3, np.float32),
    "layer2.weight": matrix(),
    "scale": np.float32(1),
    "tokens": np.arange(6).reshape(2, 3),
    "mask": np.zeros((2, 3), np.bool_),
    "phase": np.zeros((2, 3), np.complex64),
    "half": np.zeros((2, 3), np.float16),
    "brain": np.zeros((2, 3), ml_dtypes.bfloat16),
    "tiny": np.zeros((2, 3), ml_dtypes.float8_e4m3fn),
    "names": np.array([["a"]]),
}
TAKEN = [name for name in ARRAYS if name not in ("tokens", "mask")]
"""Floats; and what holds no numbers, since reading it says so."""


def names(refs: list[TensorRef]) -> list[str]:
    return [ref.name for ref in refs]


@pytest.mark.parametrize(
    ("selection", "taken", "left"),
    [
        (Selection(), TAKEN, {"not floating point": 2}),
        (Selection(integers=True), list(ARRAYS), {}),
        (
            Selection(min_ndim=2),
            [name for name in TAKEN if name not in ("layer1.bias", "scale")],
            {"not floating point": 2, "of fewer than 2 dimensions": 2},
        ),
        (
            Selection(min_ndim=1),
            [name for name in TAKEN if name != "scale"],
            {"not floating point": 2, "of fewer than 1 dimensions": 1},
        ),
        (
            Selection(include="layer"),
            ["layer1.weight", "layer1.bias", "layer2.weight"],
            {"not included": 8},
        ),
        (Selection(include="^eight"), [], {"not included": 11}),
        (
            Selection(include=r"\.weight$", exclude="2"),
            ["layer1.weight"],
            {"not included": 9, "excluded": 1},
        ),
        (
            Selection(include="layer", exclude="weight", min_ndim=2),
            [],
            {"not included": 8, "excluded": 2, "of fewer than 2 dimensions": 1},
        ),
        (Selection(exclude="."), [], {"excluded": 11}),
    ],
)
def test_what_no_rule_leaves_out_is_taken_in_order_and_the_rest_is_counted(
    selection: Selection, taken: list[str], left: dict[str, int]
) -> None:
    kept, counts = selection.apply(from_arrays(ARRAYS))
    assert names(kept) == taken
    assert counts == left
    assert len(kept) + sum(counts.values()) == len(ARRAYS)


@pytest.mark.parametrize("option", ["include", "exclude"])
def test_a_regular_expression_that_is_none_is_a_usage_error(option: str) -> None:
    with pytest.raises(UsageError) as caught:
        Selection(**{option: "layer(1"}).apply([])
    assert str(caught.value).startswith(f"{option}: 'layer(1' is no regular expression: missing )")


def test_arrays_keep_name_shape_dtype_and_data() -> None:
    (ref,) = from_arrays({"w": [[1.0, 2.0]]})
    assert (ref.name, ref.source, ref.shape, ref.dtype) == ("w", "", (1, 2), "float64")
    np.testing.assert_array_equal(ref.load(), [[1.0, 2.0]])
    x = matrix()
    (ref,) = from_arrays({"x": x})
    assert np.shares_memory(ref.load(), x)


def test_nothing_is_read_from_a_file_before_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = npy(tmp_path / "w.npy", matrix(2))
    read = NpyReader.read
    reads = []
    monkeypatch.setattr(
        NpyReader, "read", lambda self, info: reads.append(info) or read(self, info)
    )
    (ref,), failed = from_paths([path])
    assert (ref.name, ref.source, ref.shape, ref.dtype) == ("w", str(path), (2, 3), "float32")
    assert failed == []
    assert reads == []
    np.testing.assert_array_equal(ref.load(), matrix(2))
    assert len(reads) == 1


def test_several_files_of_several_formats_come_in_the_order_given(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", a=matrix(), b=matrix(2))
    paths: list[Any] = [
        str(npy(tmp_path / "z.npy", matrix())),
        tmp_path / "two.npz",
        safetensors(tmp_path / "m.safetensors", v=matrix(3), w=matrix(4)),
    ]
    refs, failed = from_paths(iter(paths))
    assert names(refs) == ["z", "a", "b", "v", "w"]
    assert [ref.source for ref in refs] == [str(paths[i]) for i in (0, 1, 1, 2, 2)]
    assert failed == []
    np.testing.assert_array_equal(refs[4].load(), matrix(4))


def test_a_file_is_known_by_its_content_and_not_by_its_name(tmp_path: Path) -> None:
    path = npy(tmp_path / "w.npy", matrix()).rename(tmp_path / "checkpoint.bin")
    (ref,), _ = from_paths([path])
    np.testing.assert_array_equal(ref.load(), matrix())


def test_a_folder_of_shards_is_one_source(tmp_path: Path) -> None:
    safetensors(tmp_path / "model-00002-of-00002.safetensors", b=matrix(2))
    safetensors(tmp_path / "model-00001-of-00002.safetensors", a=matrix(1))
    (tmp_path / "README.md").write_text("not a tensor")
    refs, failed = from_paths([tmp_path])
    assert names(refs) == ["a", "b"]
    assert [Path(ref.source).name[:11] for ref in refs] == ["model-00001", "model-00002"]
    assert failed == []


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("wieght.npy", "no such file: '{path}', did you mean 'weight.npy'?"),
        ("zzz", "no such file: '{path}'"),
        ("nowhere/weight.npy", "no such file: '{path}'"),
        ("notes.txt", "'{path}' is in no format that a reader knows; readers are npy, npz, "),
        ("empty", "'{path}' is in no format that a reader knows; readers are npy, npz, "),
        ("folder", "folder '{path}' holds no file that a reader knows"),
        ("cut.safetensors", "{path}: tensor 'w': truncated: "),
        ("cut.npy", "{path}: truncated: "),
        ("none.npz", "{path}: its zip directory is damaged or cut off; save or copy it again"),
        ("none.NPY", "{path}: truncated: its .npy header is cut off: 8 bytes expected, 0 there"),
        ("pipe.npy", "{path}: it cannot be opened: it is no regular file"),
        ("weight.npy/below", "no such file: '{path}'"),
        ("x" * 300, "{path}"),
    ],
)
def test_a_path_that_cannot_be_read_says_why_in_one_line(
    tmp_path: Path, asked: str, message: str
) -> None:
    npy(tmp_path / "weight.npy", matrix())
    (tmp_path / "notes.txt").write_text("Dear diary")
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "none.npz").touch()
    (tmp_path / "none.NPY").touch()
    os.mkfifo(tmp_path / "pipe.npy")
    whole = safetensors(tmp_path / "whole", w=matrix()).read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-5])
    (tmp_path / "cut.npy").write_bytes((tmp_path / "weight.npy").read_bytes()[:-5])
    path = tmp_path / asked
    refs, (failed,) = from_paths([path])
    assert refs == []
    assert failed.source == str(path)
    assert message.format(path=path) in failed.error
    assert "\n" not in failed.error


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_file_without_permission_says_so(tmp_path: Path) -> None:
    path = npy(tmp_path / "w.npy", matrix())
    path.chmod(0)
    _, (failed,) = from_paths([path])
    assert failed.error == f"{path}: it may not be read; check its permissions"


def test_a_file_that_cannot_be_read_leaves_the_others(tmp_path: Path) -> None:
    good = npy(tmp_path / "good.npy", matrix())
    other = npy(tmp_path / "other.npy", matrix())
    bad = tmp_path / "bad.npy"
    bad.write_bytes(good.read_bytes()[:40])
    refs, failed = from_paths([good, bad, other])
    assert names(refs) == ["good", "other"]
    assert [f.source for f in failed] == [str(bad)]


def test_a_file_that_another_format_s_name_belies_is_still_read(tmp_path: Path) -> None:
    path = npy(tmp_path / "w.npy", matrix()).rename(tmp_path / "w.safetensors")
    (ref,), failed = from_paths([path])
    assert (ref.name, failed) == ("w", [])


def test_a_folder_of_files_gives_those_that_readers_know(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    npy(tmp_path / "below" / "x.npy", matrix())
    npy(tmp_path / "b.npy", matrix())
    np.savez(tmp_path / "a.npz", w=matrix())
    (tmp_path / "README.md").write_text("not a tensor")
    (tmp_path / "cut.npy").touch()
    refs, failed = from_paths([tmp_path])
    assert names(refs) == ["w", "b"]
    assert [each.source for each in failed] == [str(tmp_path / "cut.npy")]


def test_a_file_of_a_folder_at_which_a_reader_fails_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "bad", "c"):
        npy(tmp_path / f"{name}.npy", matrix())
    sniff = NpyReader.sniff

    def raising(self: NpyReader, path: Path) -> bool:
        if path.stem == "bad":
            raise ValueError("of all things")
        return sniff(self, path)

    monkeypatch.setattr(NpyReader, "sniff", raising)
    refs, failed = from_paths([tmp_path])
    assert names(refs) == ["a", "c"]
    bad = tmp_path / "bad.npy"
    assert failed == [
        Unreadable(str(bad), f"{bad}: reader 'npy' failed: ValueError: of all things")
    ]


@pytest.mark.parametrize("stage", ["sniff", "tensors"])
@pytest.mark.parametrize("error", [ValueError("of all things"), ReadError("of all things")])
def test_a_reader_that_raises_is_the_file_s_failure_and_not_the_run_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, error: Exception
) -> None:
    paths = [npy(tmp_path / f"{name}.npy", matrix()) for name in ("good", "bad", "last")]
    method = getattr(NpyReader, stage)

    def raising(self: NpyReader, path: Path) -> Any:
        if path.stem == "bad":
            raise error
        return method(self, path)

    monkeypatch.setattr(NpyReader, stage, raising)
    refs, failed = from_paths(paths)
    assert names(refs) == ["good", "last"]
    told = f"{paths[1]}: reader 'npy' failed: ValueError: "
    kind = "" if isinstance(error, ReadError) else told
    assert failed == [Unreadable(str(paths[1]), f"{kind}of all things")]

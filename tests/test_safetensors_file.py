"""Safetensors files, as the official library reads them."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize

from qcore import UsageError
from qcore.builtin.readers.safetensors import NAMES, SafetensorsReader
from qcore.safetensors_file import Entry, writing

KEYS = {name: key for key, name in NAMES.items()}
DTYPES = [np.dtype(getattr(np, name, None) or getattr(ml_dtypes, name)) for name in KEYS]
WIDE = [dtype for dtype in DTYPES if dtype.name != "float4_e2m1fn"]
F4 = np.dtype(ml_dtypes.float4_e2m1fn)


def written(
    path: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None
) -> Path:
    entries = [Entry(name, array.dtype.name, array.shape) for name, array in tensors.items()]
    with writing(path, entries, metadata or {}) as writer:
        for name, array in tensors.items():
            writer.put(name, array)
    return path


def header(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    found: dict[str, Any] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return found


def data_start(path: Path) -> int:
    return 8 + int.from_bytes(path.read_bytes()[:8], "little")


def official(path: Path) -> dict[str, tuple[str, list[int], bytes]]:
    """What the official library finds, in its own words."""
    found = deserialize(path.read_bytes())
    return {name: (entry["dtype"], entry["shape"], bytes(entry["data"])) for name, entry in found}


def expected(array: NDArray[Any]) -> tuple[str, list[int], bytes]:
    """The same, told from the array: little-endian, in C order."""
    key = KEYS[array.dtype.name]
    if array.dtype == F4:  # two to a byte, the first in the lower half
        pairs = np.ascontiguousarray(array).reshape(-1, 2).view(np.uint8)
        return key, list(array.shape), bytes((pairs[:, 0] | pairs[:, 1] << 4).tolist())
    little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<")))
    return key, list(array.shape), little.tobytes()


def seen(array: NDArray[Any], how: str) -> NDArray[Any]:
    """The same shape and numbers in another layout."""
    if how == "transposed":
        return array.T
    if how == "reversed":
        return array[..., ::-1] if array.ndim else array
    if how == "swapped":
        return array.astype(array.dtype.newbyteorder(">"))
    return array


@st.composite
def arrays(draw: st.DrawFn) -> NDArray[Any]:
    """Of any dtype, shape and layout, and any bits."""
    dtype = draw(st.sampled_from(WIDE))
    shape = draw(st.one_of(st.just(()), hnp.array_shapes(max_dims=4, min_side=0, max_side=5)))
    size = int(np.prod(shape)) * dtype.itemsize
    data = draw(st.binary(min_size=size, max_size=size))
    if dtype == np.bool_:
        data = bytes(byte & 1 for byte in data)
    array = np.frombuffer(data, dtype).reshape(shape)
    return seen(array, draw(st.sampled_from(["", "transposed", "reversed", "swapped"])))


# --- what is written ------------------------------------------------------------------------------


@settings(
    deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(st.text(max_size=9), arrays(), max_size=5),
    st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3),
)
def test_the_official_library_finds_every_tensor_and_text(
    tmp_path: Path, tensors: dict[str, NDArray[Any]], metadata: dict[str, str]
) -> None:
    path = written(tmp_path / "file", tensors, metadata)
    assert official(path) == {name: expected(array) for name, array in tensors.items()}
    assert header(path).get("__metadata__", {}) == metadata
    reader = SafetensorsReader()
    assert {info.name for info in reader.tensors(path)} == tensors.keys()
    for info in reader.tensors(path):
        read = reader.read(info)
        assert read.dtype.name == tensors[info.name].dtype.name
        assert expected(read) == expected(tensors[info.name])


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
def test_every_dtype_of_the_format_keeps_its_bits(tmp_path: Path, dtype: np.dtype[Any]) -> None:
    bits = np.arange(16 * dtype.itemsize, dtype=np.uint8)
    array = (bits % 2 if dtype == np.bool_ else bits % 16).view(dtype).reshape(2, 8)
    path = written(tmp_path / "file", {"w": array})
    assert official(path) == {"w": expected(array)}
    assert path.stat().st_size == data_start(path) + (8 if dtype == F4 else array.nbytes)


def test_each_tensor_lies_where_its_width_divides_and_is_listed_where_it_was_given(
    tmp_path: Path,
) -> None:
    widths = {"a": np.uint8, "b": np.float64, "c": np.float16, "d": np.float32, "e": np.bool_}
    tensors = {name: np.ones(3, dtype) for name, dtype in widths.items()}
    path = written(tmp_path / "file", tensors, {"format": "pt"})
    assert list(header(path)) == ["__metadata__", "a", "b", "c", "d", "e"]
    start = data_start(path)
    for name, array in tensors.items():
        assert (start + header(path)[name]["data_offsets"][0]) % array.itemsize == 0


def test_a_tensor_in_another_layout_is_never_there_twice(tmp_path: Path) -> None:
    shapes = [(16, 500_000), (4_000_000, 2)]
    tensors = {str(shape): np.ones(shape[::-1], np.float32).T for shape in shapes}
    tracemalloc.start()
    written(tmp_path / "file", tensors)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000  # of 32 MB each
    assert official(tmp_path / "file").keys() == tensors.keys()


def test_tensors_may_be_put_in_any_order(tmp_path: Path) -> None:
    with writing(tmp_path / "file", [Entry("a", "uint8", (2,)), Entry("b", "uint8", ())], {}) as w:
        w.put("b", np.uint8(3)[...])
        w.put("a", np.array([1, 2], np.uint8))
    assert official(tmp_path / "file") == {"a": ("U8", [2], b"\1\2"), "b": ("U8", [], b"\3")}


# --- what is refused ------------------------------------------------------------------------------


def refused(path: Path, entries: list[Entry], metadata: Any = None) -> str:
    with pytest.raises(UsageError) as caught, writing(path, entries, metadata or {}):
        pytest.fail("the block was entered")
    assert list(path.parent.iterdir()) == []
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([Entry("w", "uint8", (1,)), Entry("w", "int8", (2,))],
         "tensor 'w': there would be two of that name; rename one"),
        ([Entry("__metadata__", "uint8", (1,))],
         "tensor '__metadata__': there would be two of that name; rename one"),
        ([Entry("w", "complex128", (1,))],
         "tensor 'w': it holds complex128, which safetensors has not; convert it first"),
        ([Entry("w", "<U3", (1,))],
         "tensor 'w': it holds <U3, which safetensors has not; convert it first"),
        ([Entry("w", "float4_e2m1fn", (3, 1))],
         "tensor 'w': (3, 1) of float4_e2m1fn ends within a byte, as no tensor may; "
         "convert it first"),
        ([Entry("a\x1b\n", "object", ())],
         r"tensor 'a\x1b\n': it holds object, which safetensors has not; convert it first"),
        ([Entry("w\ud800", "uint8", (1,))],
         r"tensor 'w\ud800': its name is no UTF-8; rename it"),
    ],
)  # fmt: skip
def test_what_the_format_cannot_hold_is_one_line_and_no_file(
    tmp_path: Path, entries: list[Entry], says: str
) -> None:
    assert refused(tmp_path / "file", entries) == says


def test_the_official_library_would_refuse_half_a_byte_too(tmp_path: Path) -> None:
    path = written(tmp_path / "file", {"w": np.zeros(2, F4)})
    text = path.read_bytes().replace(b'"shape":[2]', b'"shape":[1]')
    path.write_bytes(text)
    with pytest.raises(SafetensorError):
        official(path)


def test_metadata_are_texts(tmp_path: Path) -> None:
    for metadata in ({"epoch": 3}, {3: "epoch"}, {"epoch": "\ud800"}):
        says = refused(tmp_path / "file", [], metadata)
        assert says == f"metadata {str(next(iter(metadata)))!r} is no text in UTF-8"


def test_a_header_longer_than_is_read_is_not_written(tmp_path: Path) -> None:
    metadata = {"text": "x" * 2_000_000}
    says = refused(tmp_path / "file", [], metadata)
    assert says == (
        "the names and texts take 2000032 bytes, and 1048576 is the limit; "
        "write fewer tensors to a file"
    )
    with writing(tmp_path / "file", [Entry("w", "uint8", (200_000_000,))], metadata):
        pass
    assert SafetensorsReader().metadata(tmp_path / "file") == metadata

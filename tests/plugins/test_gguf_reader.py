"""GgufReader agrees with the package gguf, bit for bit, and reads no more than it needs."""

from __future__ import annotations

import pickle
import struct
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import gguf
import ml_dtypes
import numpy as np
import pytest
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFEndian
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

import qcore
from qcore_gguf.dequantization import CHUNK
from qcore_gguf.ggml_types import TYPES
from qcore_gguf.header import read_header
from qcore_gguf.reader import GgufReader

READER = GgufReader()
# the official names and NumPy's, written down twice on purpose
PLAIN = {
    "F32": np.float32, "F16": np.float16, "F64": np.float64, "BF16": ml_dtypes.bfloat16,
    "I8": np.int8, "I16": np.int16, "I32": np.int32, "I64": np.int64,
}  # fmt: skip
NOT_DEQUANTIZED = ["Q8_1", "Q8_K", "Q1_0"]  # by gguf 0.19
QUANTIZED = [
    t.name for t in GGMLQuantizationType if t.name not in PLAIN and t.name not in NOT_DEQUANTIZED
]
QUANTIZABLE = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "TQ1_0", "TQ2_0", "MXFP4"]
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gguf") / "m.gguf"


def write(
    path: Path,
    tensors: dict[str, tuple[str, NDArray[Any]]],
    alignment: int | None = None,
    metadata: dict[str, list[Any]] | None = None,
    endian: GGUFEndian = GGUFEndian.LITTLE,
) -> Path:
    """A file by the official writer: tensors with their types, quantized ones as bytes."""
    writer = gguf.GGUFWriter(path, "llama", endianess=endian)
    if alignment is not None:
        writer.add_custom_alignment(alignment)
    for key, values in (metadata or {}).items():
        writer.add_array(key, values)
    for name, (kind, array) in tensors.items():
        stored = array.view(np.uint16) if kind == "BF16" else array
        writer.add_tensor(name, stored, raw_dtype=GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    if tensors:
        writer.write_tensors_to_file()
    writer.close()
    return path


def blocks(kind: str, shape: tuple[int, ...], seed: int = 0) -> NDArray[np.uint8]:
    """Blocks for values of `shape`, of any bytes: scales are infinite and no numbers too."""
    values, size = GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    stored = (*shape[:-1], shape[-1] // values * size)
    return np.random.default_rng(seed).integers(0, 256, stored, np.uint8)


def dequantized(kind: str, stored: NDArray[np.uint8]) -> NDArray[Any]:
    """The oracle."""
    with np.errstate(all="ignore"):
        return gguf.quants.dequantize(stored, GGMLQuantizationType[kind])


def assert_same_bits(found: NDArray[Any], expected: NDArray[Any]) -> None:
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert not found.flags.writeable
    assert found.tobytes() == expected.tobytes()


# --- it agrees with the official package ----------------------------------------------------------


@settings(deadline=None)
@given(
    tensors=st.dictionaries(NAMES, st.tuples(st.sampled_from(list(PLAIN)), SHAPES), max_size=6),
    alignment=st.none() | st.sampled_from([1, 8, 32, 64, 4096]),
    metadata=st.dictionaries(
        st.text("ab", min_size=1, max_size=3),
        st.one_of(
            st.lists(st.text(max_size=9), min_size=1),
            st.lists(st.integers(-9, 9), min_size=1),
            st.lists(st.lists(st.text(max_size=3), min_size=1), min_size=1),
        ),
        max_size=3,
    ),
    data=st.data(),
)
def test_what_the_official_package_writes_is_read_as_it_was(
    scratch: Path, tensors: Any, alignment: Any, metadata: Any, data: Any
) -> None:
    written = {}
    for name, (kind, shape) in tensors.items():
        dtype = np.dtype(PLAIN[kind])
        raw = data.draw(hnp.arrays(f"u{dtype.itemsize}", shape))
        written[name] = (kind, raw.view(dtype))
    infos = list(READER.tensors(write(scratch, written, alignment, metadata)))
    listed = [(i.name, i.shape, i.dtype, i.path, i.encoding, i.nbytes) for i in infos]
    assert listed == [
        (name, a.shape, a.dtype.name, scratch, "", None) for name, (_, a) in written.items()
    ]
    for info in infos:
        assert_same_bits(READER.read(info), written[info.name][1])


@pytest.mark.parametrize("kind", QUANTIZED)
@settings(deadline=None, max_examples=10)
@given(outer=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4), n=st.integers(0, 3))
def test_quantized_tensors_are_dequantized_as_the_official_package_does(
    scratch: Path, kind: str, outer: tuple[int, ...], n: int
) -> None:
    shape = (*outer, n * GGML_QUANT_SIZES[GGMLQuantizationType[kind]][0])
    stored = blocks(kind, shape)
    write(scratch, {"before": ("F32", np.zeros(3, np.float32)), "w": (kind, stored)})
    _, info = READER.tensors(scratch)
    assert (info.dtype, info.shape) == ("float32", shape)
    assert (info.encoding, info.nbytes) == (kind, stored.nbytes)
    expected = dequantized(kind, stored) if stored.size else np.zeros(shape, np.float32)
    assert_same_bits(READER.read(info), expected)


@pytest.mark.parametrize("kind", QUANTIZED)
def test_a_tensor_of_several_chunks_is_read_whole(scratch: Path, kind: str) -> None:
    shape = (3, CHUNK // 2 + 256)
    stored = blocks(kind, shape)
    (info,) = READER.tensors(write(scratch, {"w": (kind, stored)}))
    assert_same_bits(READER.read(info), dequantized(kind, stored))


@pytest.mark.parametrize("kind", QUANTIZABLE)
def test_values_come_back_nearly_as_they_were_quantized(scratch: Path, kind: str) -> None:
    values = np.random.default_rng(0).normal(size=(4, 512)).astype(np.float32)
    stored = gguf.quants.quantize(values, GGMLQuantizationType[kind])
    (info,) = READER.tensors(write(scratch, {"w": (kind, stored)}))
    read = READER.read(info)
    assert_same_bits(read, dequantized(kind, stored))
    assert np.corrcoef(read.ravel(), values.ravel())[0, 1] > 0.5  # TQ: three levels


def test_the_official_reader_finds_the_same_in_the_same_places(scratch: Path) -> None:
    tensors: dict[str, tuple[str, NDArray[Any]]] = {
        kind: (kind, blocks(kind, (2, 3, 256))) for kind in QUANTIZED
    }
    tensors["F16"] = ("F16", np.arange(6, dtype=np.float16).reshape(1, 2, 3))
    write(scratch, tensors, alignment=64)
    infos, official = list(READER.tensors(scratch)), gguf.GGUFReader(scratch).tensors
    assert [(i.name, i.shape) for i in infos] == [
        (t.name, tuple(t.shape.tolist()[::-1])) for t in official
    ]
    assert [i.where[:2] for i in infos] == [(t.data_offset, t.tensor_type) for t in official]
    assert [i.nbytes or i.shape[-1] * 4 for i in infos] == [t.n_bytes for t in official]


def test_the_table_of_types_is_that_of_the_official_package() -> None:
    official = {t.value: (t.name, *GGML_QUANT_SIZES[t]) for t in GGMLQuantizationType}
    assert {n: (t.name, t.values, t.bytes) for n, t in TYPES.items()} == official
    plain = {t.name: t.dtype for t in TYPES.values() if not t.is_quantized}
    assert plain == {name: np.dtype(dtype).name for name, dtype in PLAIN.items()}


def test_a_file_of_metadata_alone_holds_no_tensors(scratch: Path) -> None:
    write(scratch, {}, metadata={"tokenizer.ggml.tokens": ["a", "b"]})
    assert READER.sniff(scratch)
    assert list(READER.tensors(scratch)) == []


# --- what is not read is listed, and refused with a way out ---------------------------------------


@pytest.mark.parametrize("kind", NOT_DEQUANTIZED)
def test_a_type_that_is_not_dequantized_is_named(scratch: Path, kind: str) -> None:
    (info,) = READER.tensors(write(scratch, {"w": (kind, blocks(kind, (1, 256)))}))
    assert (info.dtype, info.shape, info.encoding) == ("float32", (1, 256), kind)
    with pytest.raises(qcore.ReadError, match=rf": tensor 'w': gguf [0-9.]+ does not .* {kind}; "):
        READER.read(info)


def test_a_type_that_nobody_knows_is_listed_by_its_number(scratch: Path) -> None:
    tensors = {"a": np.arange(5), "b": np.arange(8), "c": np.arange(3)}
    write(scratch, {name: ("I64", array) for name, array in tensors.items()})
    content = scratch.read_bytes()
    known = struct.pack("<QIQ", 8, GGMLQuantizationType.I64, 64)
    scratch.write_bytes(content.replace(known, struct.pack("<QIQ", 8, 1031, 64)))
    infos = list(READER.tensors(scratch))
    assert [info.dtype for info in infos] == ["int64", "ggml-type-1031", "int64"]
    np.testing.assert_array_equal(READER.read(infos[2]), tensors["c"])
    with pytest.raises(qcore.ReadError, match=r": tensor 'b': type 1031 of ggml is none that "):
        READER.read(infos[1])


def test_a_big_endian_file_is_refused_with_the_tool_that_turns_it(scratch: Path) -> None:
    write(scratch, {"w": ("I8", np.zeros(3, np.int8))}, endian=GGUFEndian.BIG)
    with pytest.raises(qcore.ReadError, match=r"it is big-endian.*gguf-convert-endian"):
        READER.tensors(scratch)


def test_a_file_that_changed_after_it_was_listed_is_refused(scratch: Path) -> None:
    (info,) = READER.tensors(write(scratch, {"w": ("I8", np.zeros(3, np.int8))}))
    scratch.write_bytes(scratch.read_bytes() + b"\0")
    with pytest.raises(qcore.ReadError, match="changed since it was listed; list it again"):
        READER.read(info)


# --- it is lazy -----------------------------------------------------------------------------------


class Counting:
    """An open file that counts what is read of it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.count = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def read(self, count: int) -> bytes:
        self.count += count
        return self.file.read(count)


def test_what_is_skipped_is_not_read(scratch: Path) -> None:
    scalars = struct.pack("<IQ", 0, 30 << 20) + bytes(30 << 20)  # an array of uint8
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 2)
    keys = struct.pack("<Q1sI", 1, b"a", 9) + scalars + struct.pack("<Q1sIB", 1, b"b", 7, 1)
    scratch.write_bytes(head + keys)
    with qcore.StoredFile(scratch) as file:
        counting: Any = Counting(file.raw)
        file.raw = counting
        assert read_header(file).entries == ()
    assert counting.count < 2 << 20


def test_a_large_file_costs_its_header(scratch: Path) -> None:
    name = struct.pack("<Q", 1) + b"w"
    tensor = name + struct.pack("<IQIQ", 1, 25 << 30, GGMLQuantizationType.F32, 0)
    with scratch.open("wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + tensor)
        file.truncate(64 + (100 << 30))
    (info,) = READER.tensors(scratch)
    array = READER.read(info)
    assert array.shape == (25 << 30,)
    assert array[-1] == 0
    scratch.unlink()


def test_a_tokenizer_is_passed_in_a_moment(scratch: Path) -> None:
    tokens = b"".join(struct.pack("<Q20s", 20, b"token %d" % i) for i in range(200_000))
    array = struct.pack("<Q1sIIQ", 1, b"t", 9, 8, 200_000) + tokens
    scratch.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + array)
    tracemalloc.start()
    assert list(READER.tensors(scratch)) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    begin = time.perf_counter()
    assert list(READER.tensors(scratch)) == []
    assert time.perf_counter() - begin < 0.5
    assert peak < 4 << 20


def test_reading_takes_the_result_and_a_chunk_of_memory(scratch: Path) -> None:
    stored = blocks("Q4_K", (64, 64 * 1024))
    (info,) = READER.tensors(write(scratch, {"w": ("Q4_K", stored)}))
    READER.read(info)  # what is imported is not counted
    tracemalloc.start()
    array = READER.read(info)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < array.nbytes + (6 << 20)


def test_listing_imports_no_gguf(scratch: Path) -> None:
    write(scratch, {"w": ("Q8_0", blocks("Q8_0", (1, 32)))})
    program = f"""
import sys, pathlib, qcore_gguf
infos = list(qcore_gguf.GgufReader().tensors(pathlib.Path({str(scratch)!r})))
assert len(infos) == 1 and not {{"gguf", "ml_dtypes"}} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", program], check=True)


# --- where it is used -----------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path: Path) -> Path:
    tensors = {kind: (kind, blocks(kind, (2, 256))) for kind in ("Q4_K", "IQ2_XS", "MXFP4")}
    plain = {kind: (kind, np.arange(6).astype(dtype)) for kind, dtype in PLAIN.items()}
    return write(tmp_path / "model.gguf", tensors | plain)


def test_it_comes_with_its_plugin(model: Path) -> None:
    reader = qcore.create("reader", "gguf")
    assert isinstance(reader, GgufReader)
    assert len(list(reader.tensors(model))) == 11


def test_it_keeps_the_laws_of_readers(model: Path) -> None:
    from qcore.testing import run_checks

    results = run_checks(READER, examples=[model])
    assert [(r.check, r.message) for r in results if r.outcome != "passed"] == []


def test_infos_travel_and_tensors_are_read_side_by_side(model: Path) -> None:
    infos = list(READER.tensors(model))
    assert pickle.loads(pickle.dumps(infos)) == infos
    assert len(set(infos)) == len(infos)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(READER.read, infos * 4))
    for info, array in zip(infos * 4, found, strict=True):
        assert_same_bits(array, READER.read(info))


@pytest.fixture
def remote(model: Path) -> Iterator[Any]:
    upath = pytest.importorskip("upath")
    path = upath.UPath("memory://qcore-gguf/model.gguf")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.read_bytes())
    yield path
    path.unlink()


def test_a_remote_file_is_read_alike(model: Path, remote: Any) -> None:
    assert READER.sniff(remote)
    for here, there in zip(READER.tensors(model), READER.tensors(remote), strict=True):
        assert (there.name, there.where, there.path) == (here.name, here.where, remote)
        assert_same_bits(READER.read(there), READER.read(here))

"""SafetensorsReader agrees with the official library, and refuses all that breaks the format."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qcore.builtin.readers.safetensors import SafetensorsReader
from qcore.errors import ReadError
from qcore.interfaces.reader import TensorInfo

READER = SafetensorsReader()
INDEX = "model.safetensors.index.json"
# the official names and NumPy's, written down twice on purpose
DTYPES = {
    "BOOL": np.bool_, "U8": np.uint8, "I8": np.int8, "U16": np.uint16, "I16": np.int16,
    "U32": np.uint32, "I32": np.int32, "U64": np.uint64, "I64": np.int64,
    "F16": np.float16, "F32": np.float32, "F64": np.float64, "C64": np.complex64,
    "BF16": ml_dtypes.bfloat16, "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2, "F8_E8M0": ml_dtypes.float8_e8m0fnu,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz, "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
}  # fmt: skip
SHAPES = hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(
    lambda name: name != "__metadata__"
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("safetensors") / "m.safetensors"


def entry(dtype: Any = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def content(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """A file with any header, as JSON or as bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def write(path: Path, **arrays: np.ndarray) -> Path:
    path.write_bytes(safetensors.numpy.save({k: np.asarray(v) for k, v in arrays.items()}))
    return path


def refusal(path: Path, prefix: Path | None = None) -> str:
    """The one-line message of the ReadError, without the file's name that it begins with."""
    with pytest.raises(ReadError) as caught:
        READER.tensors(path)
    message = str(caught.value)
    assert message.startswith(f"{prefix or path}: ")
    assert message.isprintable()
    return message.removeprefix(f"{prefix or path}: ")


@settings(deadline=None)
@given(
    tensors=st.dictionaries(NAMES, st.tuples(st.sampled_from(list(DTYPES)), SHAPES), max_size=6),
    metadata=st.none() | st.dictionaries(st.text("ab"), st.text("ab"), min_size=1, max_size=2),
    data=st.data(),
)
def test_what_the_official_library_writes_is_read_as_it_reads_it(
    scratch: Path, tensors: dict[str, Any], metadata: dict[str, str] | None, data: st.DataObject
) -> None:
    written = {}
    for name, (key, shape) in tensors.items():
        nbytes = int(np.prod(shape)) * np.dtype(DTYPES[key]).itemsize
        values = data.draw(st.binary(min_size=nbytes, max_size=nbytes))
        values = bytes(b & 1 for b in values) if key == "BOOL" else values
        written[name] = np.frombuffer(values, DTYPES[key]).reshape(shape)
    scratch.write_bytes(safetensors.numpy.save(written, metadata))
    official = dict(safetensors.deserialize(scratch.read_bytes()))
    infos = list(READER.tensors(scratch))
    assert {info.name for info in infos} == official.keys()
    for info in infos:
        key, shape = tensors[info.name]
        got = READER.read(info)
        assert (official[info.name]["dtype"], info.shape) == (key, shape)
        assert (info.dtype, info.path) == (np.dtype(DTYPES[key]).name, scratch)
        assert (got.dtype, got.shape) == (DTYPES[key], shape)
        assert got.tobytes() == written[info.name].tobytes() == official[info.name]["data"]
        assert type(got) is np.ndarray
        assert not got.flags.writeable


def test_two_values_a_byte_are_read_as_the_official_library_wrote_them(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    safetensors_torch = pytest.importorskip("safetensors.torch")
    path = tmp_path / "m.safetensors"
    stored = torch.arange(256, dtype=torch.uint8).reshape(2, 128)
    safetensors_torch.save_file({"w": stored.view(torch.float4_e2m1fn_x2)}, path)
    (info,) = READER.tensors(path)
    assert (info.shape, info.dtype) == ((2, 256), "float4_e2m1fn")
    got = READER.read(info)
    assert got.dtype == ml_dtypes.float4_e2m1fn
    assert not got.flags.writeable
    codes = np.arange(256).repeat(2)
    codes[1::2] >>= 4
    magnitudes = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    expected = magnitudes[codes % 8] * np.where(codes % 16 < 8, 1, -1)
    np.testing.assert_array_equal(got.astype(np.float64), expected.reshape(2, 256))


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_values_agree_with_torch(tmp_path: Path, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    safetensors_torch = pytest.importorskip("safetensors.torch")
    path = tmp_path / "m.safetensors"
    written = torch.arange(256, dtype=torch.uint8).view(getattr(torch, dtype))
    safetensors_torch.save_file({"w": written}, path)
    (info,) = READER.tensors(path)
    got = READER.read(info).astype(np.float32)
    np.testing.assert_array_equal(got, written.float().numpy())


def test_the_data_is_mapped_and_not_copied(tmp_path: Path) -> None:
    path = write(tmp_path / "m.safetensors", w=np.zeros(4, np.float32))
    (info,) = READER.tensors(path)
    got = READER.read(info)
    with path.open("r+b") as file:
        file.seek(-4, 2)
        file.write(np.float32(7).tobytes())
    assert got[3] == 7


def test_a_header_padded_with_spaces_and_an_empty_one_are_read(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content(json.dumps({"w": entry()}).encode() + b" " * 7, bytes(4)))
    assert [info.name for info in READER.tensors(path)] == ["w"]
    path.write_bytes(content({}))
    assert list(READER.tensors(path)) == []


def test_threads_read_at_the_same_time(tmp_path: Path) -> None:
    arrays = {str(i): np.full((50, 50), i) for i in range(20)}
    path = write(tmp_path / "m.safetensors", **arrays)
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda info: (info.name, READER.read(info)), READER.tensors(path))
        assert {name: int(array.min()) for name, array in found} == {str(i): i for i in range(20)}


def test_ml_dtypes_is_imported_only_when_one_of_its_tensors_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "m.safetensors", w=np.zeros(2, ml_dtypes.bfloat16))
    code = (
        "import sys; from pathlib import Path\n"
        "from qcore.builtin.readers.safetensors import SafetensorsReader\n"
        "(info,) = SafetensorsReader().tensors(Path(sys.argv[1]))\n"
        "print('ml_dtypes' in sys.modules)\n"
        "SafetensorsReader().read(info)\n"
        "print('ml_dtypes' in sys.modules)\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_without_ml_dtypes_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content({"w": entry("BF16", [2], [0, 4])}, bytes(4)))
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    (info,) = READER.tensors(path)
    with pytest.raises(ReadError) as caught:
        READER.read(info)
    message = "bfloat16 needs ml_dtypes 0.5 or later; pip install -U ml_dtypes"
    assert str(caught.value) == f"{path}: tensor 'w': {message}"


@pytest.mark.parametrize(
    ("dtype", "shape", "nbytes", "message"),
    [
        ("F6_E2M3", [4], 3, "F6_E2M3 packs values across bytes, which qcore does not read; save"),
        ("Q9_K", [5], 3, "dtype 'Q9_K' is not read; qcore reads BOOL, U8, I8, U16, "),
    ],
)
def test_a_dtype_that_numpy_lacks_is_listed_and_not_read(
    tmp_path: Path, dtype: str, shape: list[int], nbytes: int, message: str
) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content({"w": entry(dtype, shape, [0, nbytes])}, bytes(nbytes)))
    (info,) = READER.tensors(path)
    assert (info.dtype, info.shape) == (dtype, tuple(shape))
    with pytest.raises(ReadError) as caught:
        READER.read(info)
    assert str(caught.value).startswith(f"{path}: tensor 'w': {message}")


def test_sniff_goes_by_content(tmp_path: Path) -> None:
    blob = write(tmp_path / "0a1b2c", w=np.zeros(2))  # as in Hugging Face's cache
    damaged, other = tmp_path / "m.safetensors", tmp_path / "n.safetensors"
    damaged.write_bytes(b"\0\0\0\0")
    other.write_bytes(struct.pack("<Q", 100_000_001) + b"{")
    assert READER.sniff(blob)
    unlikely = [tmp_path / "missing.safetensors", Path("a\0b.safetensors"), Path("x" * 5000)]
    assert not any(READER.sniff(path) for path in [damaged, other, *unlikely])


def test_sniff_takes_a_folder_that_holds_shards(tmp_path: Path) -> None:
    assert not READER.sniff(tmp_path)
    (tmp_path / "._m.safetensors").write_bytes(b"left by macOS")
    (tmp_path / "folder.safetensors").mkdir()
    assert not READER.sniff(tmp_path)
    (tmp_path / "m.safetensors").write_bytes(b"")
    assert READER.sniff(tmp_path)
    (tmp_path / "m.safetensors").rename(tmp_path / INDEX)
    assert READER.sniff(tmp_path)


SHAPE = "tensor 'w': shape must be at most 64 whole numbers from 0 to 2**63 - 1; save it again"
OFFSETS = "tensor 'w': data_offsets must be [begin, end], two whole numbers in order; save it again"
FIELDS = "tensor 'w': its header entry needs dtype, shape and data_offsets; save it again"
DTYPE = "tensor 'w': dtype must be a name such as F32; save it again"
JSON = "its header: this is no JSON: "
DEEP = "its header: this is no JSON of ours: it is nested too deeply; save or download it again"


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (
            b"\x08\0\0\0",
            "truncated: a safetensors file begins with 8 bytes of length, and 4 are there; downloa",
        ),
        (
            content({"w": entry()}, bytes(4))[:30],
            "truncated: its header needs 61 bytes and 22 are there; download it again",
        ),
        (
            content({"w": entry()}, bytes(3)),
            "tensor 'w': truncated: its data ends at byte 73 and the file has 72; "
            "download it again",
        ),
        (
            content(b"{}", length=2**64 - 1),
            f"not a safetensors file: its header should be {2**64 - 1} bytes long, and 100000000 "
            "is the limit",
        ),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "it is a Git LFS pointer, not the tensors; run git lfs pull",
        ),
        (content(b""), "not a safetensors file: its header does not begin with '{'"),
        (content(b" {}"), "not a safetensors file: its header does not begin with '{'"),
        (content([]), "not a safetensors file: its header does not begin with '{'"),
        (
            content(b"{"),
            f"{JSON}Expecting property name enclosed in double quotes: line 1 column 2 (char 1); "
            "save or download it again",
        ),
        (content(b"{} {}"), f"{JSON}Extra data: line 1 column 4 (char 3); save or download it aga"),
        (content(b'{"a":' * 100_000), DEEP),
        (content(b'{"a":' + b"[" * 100_000), DEEP),
        (content(b'{"a":' + b"9" * 5000 + b"}"), f"{JSON}Exceeds the limit (4300 digits)"),
        (content(b'{"a":NaN}'), "its header: NaN is no number in JSON; save or download it again"),
        (content(b'{"\xff":1}'), f"{JSON}it is no UTF-8; save or download it again"),
        (content(b'{"\\ud800":1}'), f"{JSON}it is no UTF-8; save or download it again"),
        (content(b'{"w":1,"w":2}'), "its header: 'w' is given twice; save or download it again"),
        (
            content(b'{"w":{"dtype":"F32","dtype":"F16"}}'),
            "its header: 'dtype' is given twice; save or download it again",
        ),
        (content({"__metadata__": []}), "__metadata__ must map strings to strings; save it again"),
        (content({"__metadata__": {"a": 1}}), "__metadata__ must map strings to strings"),
        (content({"w": 1}), FIELDS),
        (content({"w": {"dtype": "F32", "shape": []}}), FIELDS),
        (content({"w": entry(dtype=1)}), DTYPE),
        (content({"w": entry(dtype="float32")}), DTYPE),
        (content({"w": entry(dtype="F" * 33)}), DTYPE),
        (content({"w": entry(shape=4)}), SHAPE),
        (content({"w": entry(shape=[-1])}), SHAPE),
        (content({"w": entry(shape=[True])}), SHAPE),
        (content({"w": entry(shape=[1.0])}), SHAPE),
        (content({"w": entry(shape=[2**63])}), SHAPE),
        (content({"w": entry(shape=[1] * 65)}), SHAPE),
        (content({"w": entry(offsets=None)}), OFFSETS),
        (content({"w": entry(offsets=[4])}), OFFSETS),
        (content({"w": entry(offsets=[-4, 0])}), OFFSETS),
        (content({"w": entry(offsets=[4, 0])}), OFFSETS),
        (content({"w": entry(offsets=[False, 4])}), OFFSETS),
        (
            content({"w": entry(shape=[2])}, bytes(4)),
            "tensor 'w': (2,) of F32 is 64 bits, and data_offsets give 4 bytes",
        ),
        (
            content({"w": entry(shape=[2**32, 2**32, 1], offsets=[0, 0])}),
            f"tensor 'w': ({2**32}, {2**32}, 1) of F32 is {2**69} bits, and data_offsets give 0 b",
        ),
        (
            content({"w": entry("F4", [3], [0, 2])}, bytes(2)),
            "tensor 'w': (3,) of F4 is 12 bits, and data_offsets give 2 bytes",
        ),
        (
            content({"v": entry(), "w": entry(offsets=[3, 7])}, bytes(7)),
            "tensor 'w': its bytes overlap those of 'v'; save it again",
        ),
        (
            content({"v": entry(), "w": entry()}, bytes(4)),
            "tensor 'w': its bytes overlap those of 'v'; save it again",
        ),
        (
            content({"w": entry(offsets=[6, 10]), "v": entry()}, bytes(10)),
            "tensor 'w': 2 bytes before it belong to no tensor; save it again",
        ),
        (
            content({"w": entry(offsets=[1, 5])}, bytes(5)),
            "tensor 'w': 1 bytes before it belong to no tensor; save it again",
        ),
        (
            content({"w": entry()}, bytes(9)),
            "the last 5 bytes belong to no tensor; save or download it again",
        ),
        (content({"a\nb": 1}), r"tensor 'a\nb': its header entry needs dtype, shape and data_off"),
        (content({"x" * 10**6: 1}), f"tensor '{'x' * 197}...': its header entry needs dtype"),
    ],
)
def test_damage_is_named(tmp_path: Path, damaged: bytes, message: str) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(damaged)
    assert refusal(path).startswith(message)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    assert refusal(path) == "it cannot be opened: No such file or directory"


@pytest.mark.parametrize("later", [np.zeros(3, np.float32), np.zeros(9, np.float32)])
def test_a_file_that_changed_after_listing_is_refused(tmp_path: Path, later: np.ndarray) -> None:
    path = write(tmp_path / "m.safetensors", w=np.zeros(4, np.float32))
    (info,) = READER.tensors(path)
    write(path, w=later)
    with pytest.raises(ReadError) as caught:
        READER.read(info)
    message = "the file has changed since it was listed; list it again"
    assert str(caught.value) == f"{path}: tensor 'w': {message}"


def test_a_place_that_does_not_fit_its_shape_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m.safetensors", w=np.zeros(4, np.float32))
    (info,) = READER.tensors(path)
    wrong = TensorInfo("w", (5,), "float32", path, info.where)
    with pytest.raises(ReadError, match=r"tensor 'w': 16 bytes are not \(5,\) of float32$"):
        READER.read(wrong)


def test_a_folder_without_an_index_is_read_in_order_of_its_files(tmp_path: Path) -> None:
    second = write(tmp_path / "b.safetensors", y=np.ones(2), z=np.full(1, 3))
    first = write(tmp_path / "a.safetensors", x=np.zeros(2))
    infos = list(READER.tensors(tmp_path))
    assert [info.path for info in infos] == [first, second, second]
    values = {info.name: READER.read(info).tolist() for info in infos}
    assert values == {"x": [0, 0], "y": [1, 1], "z": [3]}


def write_index(folder: Path, **names: str) -> None:
    index = {"metadata": {"total_size": 32}, "weight_map": names}
    (folder / INDEX).write_text(json.dumps(index))


def read_all(path: Path) -> dict[str, Any]:
    return {info.name: READER.read(info).tolist() for info in READER.tensors(path)}


def test_a_folder_with_an_index_is_read_by_it(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path / "1.safetensors", x=np.zeros(2))
    write(tmp_path / "sub" / "2.safetensors", y=np.ones(2))
    write(tmp_path / "other.safetensors", x=np.ones(9))
    write_index(tmp_path, x="1.safetensors", y="sub/2.safetensors")
    assert read_all(tmp_path) == {"x": [0, 0], "y": [1, 1]}


@pytest.mark.parametrize("inside", [".", "text_encoder"])
@pytest.mark.parametrize("indexed", [True, False])
def test_a_snapshot_of_the_hugging_face_cache_is_read_through_its_links(
    tmp_path: Path, inside: str, indexed: bool
) -> None:
    model = tmp_path / "models--org--name"
    blobs, folder = model / "blobs", model / "snapshots" / "0123abcd" / inside
    blobs.mkdir(parents=True)
    folder.mkdir(parents=True)
    up = os.path.relpath(blobs, folder)
    for number in (1, 2):
        write(blobs / f"blob{number}", **{f"w{number}": np.full(2, number)})
        (folder / f"{number}.safetensors").symlink_to(f"{up}/blob{number}")
    if indexed:
        write_index(blobs, w1="1.safetensors", w2="2.safetensors")
        (blobs / INDEX).rename(blobs / "blob0")
        (folder / INDEX).symlink_to(f"{up}/blob0")
    assert READER.sniff(folder)
    assert read_all(folder) == {"w1": [1, 1], "w2": [2, 2]}


@pytest.mark.parametrize("linked", ["m.safetensors", INDEX])
def test_a_link_out_of_the_folder_is_refused(tmp_path: Path, linked: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    write(tmp_path / "m.safetensors", w=np.zeros(2))
    write_index(tmp_path, w="m.safetensors")
    (folder / linked).symlink_to(tmp_path / linked)
    message = f"it names '{linked}', which is a link out of its folder; copy the file there"
    assert refusal(folder) == message


def test_a_name_in_two_shards_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.safetensors", w=np.zeros(2))
    write(tmp_path / "b.safetensors", w=np.zeros(2))
    message = "tensor 'w': it is in 'a.safetensors' and in 'b.safetensors'; give one of the files"
    assert refusal(tmp_path) == message


def test_a_tensor_that_is_not_where_the_index_says_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.safetensors", w=np.zeros(2))
    write(tmp_path / "b.safetensors", v=np.zeros(2))
    (tmp_path / INDEX).write_text('{"weight_map": {"w": "b.safetensors", "v": "a.safetensors"}}')
    message = f"tensor 'w': {INDEX} says that it is in 'b.safetensors', and it is not"
    assert refusal(tmp_path) == f"{message}; download the folder again"


def leaving(name: str) -> tuple[str, str]:
    message = f"it names {name!r}, which may leave its folder; refused"
    return json.dumps({"weight_map": {"w": name}}), message


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("[]", "the whole must be an object, not a list; save or download it again"),
        ("{", "this is no JSON: Expecting property name enclosed in double quotes: line 1 column "),
        ('{"a": 1, "a": 2}', "'a' is given twice; save or download it again"),
        ("{}", "weight_map must map tensors to file names; download it again"),
        (
            '{"weight_map": {"w": 1}}',
            "weight_map must map tensors to file names; download it again",
        ),
        (
            '{"weight_map": {"w": "m.safetensors"}}',
            "it names 'm.safetensors', which is not there; download it",
        ),
        leaving("../secret.safetensors"),
        leaving("/etc/passwd"),
        leaving("a\\b.safetensors"),
        leaving("C:b.safetensors"),
        leaving("a\0.safetensors"),
        leaving(".."),
        leaving(""),
    ],
)
def test_an_index_that_is_wrong_is_named(tmp_path: Path, index: str, message: str) -> None:
    (tmp_path / INDEX).write_text(index)
    assert refusal(tmp_path, tmp_path / INDEX).startswith(message)


def test_damage_in_a_shard_names_the_shard(tmp_path: Path) -> None:
    shard = tmp_path / "a.safetensors"
    shard.write_bytes(b"")
    assert refusal(tmp_path, shard).startswith("truncated: a safetensors file begins with 8 bytes")


@settings(deadline=None)
@given(
    cut=st.integers(0, 40),
    damage=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
)
def test_damaged_bytes_raise_only_read_error(
    scratch: Path, cut: int, damage: list[tuple[int, int]]
) -> None:
    write(scratch, a=np.arange(9.0), b=np.ones((2, 3), np.int8), c=np.float16(1))
    damaged = bytearray(scratch.read_bytes())
    for place, byte in damage:
        damaged[place % len(damaged)] = byte
    scratch.write_bytes(damaged[: len(damaged) - cut])
    READER.sniff(scratch)
    message = ""
    try:
        for info in READER.tensors(scratch):
            READER.read(info)
    except ReadError as error:
        message = str(error)
    assert message.isprintable()


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
ENTRIES = JSON_VALUES | st.builds(
    entry,
    st.sampled_from(["F32", "U8", "F4", "Q9"]) | JSON_VALUES,
    st.lists(st.integers(0, 3), max_size=3) | JSON_VALUES,
    st.lists(st.integers(0, 16), min_size=2, max_size=2) | JSON_VALUES,
)


@settings(deadline=None)
@given(header=st.dictionaries(st.text(max_size=3), ENTRIES, max_size=3), size=st.integers(0, 16))
def test_what_is_accepted_the_official_library_accepts(
    scratch: Path, header: dict[str, Any], size: int
) -> None:
    scratch.write_bytes(content(header, bytes(size)))
    infos = None
    with contextlib.suppress(ReadError):
        infos = list(READER.tensors(scratch))
    if infos is not None and not any(info.dtype == "Q9" for info in infos):
        assert len(safetensors.deserialize(scratch.read_bytes())) == len(infos)

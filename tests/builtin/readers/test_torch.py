"""TorchReader agrees with torch.load on what torch.save writes, and refuses everything else.

PyTorch is not needed: archives are also made by hand, of the opcodes that torch.save writes.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import pickle
import struct
import subprocess
import sys
import tarfile
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qcore.builtin.readers.npz import NpzReader
from qcore.builtin.readers.torch import LARGEST_PICKLE, TorchReader
from qcore.errors import ReadError

READER = TorchReader()
# PyTorch's names and NumPy's, written down twice on purpose
TYPED = {
    "Bool": np.bool_, "Byte": np.uint8, "Char": np.int8, "Short": np.int16, "Int": np.int32,
    "Long": np.int64, "Half": np.float16, "Float": np.float32, "Double": np.float64,
    "BFloat16": ml_dtypes.bfloat16, "ComplexFloat": np.complex64, "ComplexDouble": np.complex128,
}  # fmt: skip
UNTYPED = {
    "uint16": np.uint16, "uint32": np.uint32, "uint64": np.uint64,
    "float8_e4m3fn": ml_dtypes.float8_e4m3fn, "float8_e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "float8_e5m2": ml_dtypes.float8_e5m2, "float8_e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "float8_e8m0fnu": ml_dtypes.float8_e8m0fnu,
}  # fmt: skip
DTYPES = [
    "bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64",
    "bfloat16", "complex64", "complex128", *UNTYPED, "float4_e2m1fn_x2",
]  # fmt: skip


# Opcodes, as torch.save writes them
def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    return b"\x8a\x10" + value.to_bytes(16, "little", signed=True)


def numbers(values: Any) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(
    shape: Any, strides: Any, offset: int = 0, kind: str = "Float", count: int = 6, key: str = "0",
    dtype: str = "",
) -> bytes:  # fmt: skip
    """A tensor of a typed storage, or of bytes if it has a dtype."""
    module, function = ("torch.storage", "v3") if dtype else ("torch", "v2")
    storage = f"c{module}\n{'Untyped' if dtype else kind}Storage\n".encode()
    return b"".join((
        f"ctorch._utils\n_rebuild_tensor_{function}\n(".encode(),
        b"(" + text("storage") + storage + text(key) + text("cpu") + number(count) + b"tQ",
        number(offset) + numbers(shape) + numbers(strides) + b"\x89ccollections\nOrderedDict\n)R",
        f"ctorch\n{dtype}\n".encode() if dtype else b"",
        b"tR",
    ))  # fmt: skip


def state(**values: bytes) -> bytes:
    return b"}(" + b"".join(text(name) + value for name, value in values.items()) + b"u"


def archive(
    path: Path,
    root: bytes,
    *storages: bytes,
    method: int = zipfile.ZIP_STORED,
    folder: str = "archive",
    **members: bytes,
) -> Path:
    """A checkpoint of what `root` makes, and of storages 0, 1, …."""
    content = {"data.pkl": b"\x80\x02" + root + b".", "byteorder": b"little"}
    content |= {f"data/{key}": data for key, data in enumerate(storages)}
    content |= {name.replace("__", "/"): data for name, data in members.items()}
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in content.items():
            file.writestr(f"{folder}/{name}", data)
    return path


def read(path: Path) -> dict[str, np.ndarray]:
    return {info.name: READER.read(info) for info in READER.tensors(path)}


def refusal(path: Path) -> str:
    """The one-line message of the ReadError, without the file's name that it begins with."""
    with pytest.raises(ReadError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message.removeprefix(f"{path}: ")


SIX = np.arange(6, dtype=np.float32)
DATA = SIX.tobytes()
ROW = tensor([6], [1])


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("torch") / "m.pt"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(("kind", "scalar"), [*TYPED.items(), *UNTYPED.items()])
def test_every_dtype_is_read_bit_for_bit(
    tmp_path: Path, kind: str, scalar: Any, method: int
) -> None:
    dtype = np.dtype(scalar)
    data = np.random.default_rng(1).integers(0, 2, 6 * dtype.itemsize, np.uint8).tobytes()
    if kind in TYPED:
        root = tensor([2, 3], [3, 1], kind=kind)
    else:
        root = tensor([2, 3], [3, 1], count=len(data), dtype=kind)
    path = archive(tmp_path / "m.pt", state(w=root), data, method=method)
    (info,) = READER.tensors(path)
    assert (info.name, info.shape, info.dtype) == ("w", (2, 3), dtype.name)
    got = READER.read(info)
    assert got.dtype == dtype
    assert got.flags.c_contiguous
    assert not got.flags.writeable
    assert got.tobytes() == data


@pytest.mark.parametrize(
    ("shape", "strides", "places"),
    [([2, 2], [2, 1], [0, 1, 2, 3]), ([2, 2], [1, 2], [0, 2, 1, 3]), ([2, 1], [3, 9], [0, 3])],
)
def test_each_byte_of_float4_is_two_values_the_low_one_first(
    tmp_path: Path, shape: list[int], strides: list[int], places: list[int]
) -> None:
    data = bytes([0x21, 0x43, 0x65, 0x87])
    root = tensor(shape, strides, count=4, dtype="float4_e2m1fn_x2")
    (info,) = READER.tensors(archive(tmp_path / "m.pt", root, data))
    assert (info.shape, info.dtype) == ((shape[0], shape[1] * 2), "float4_e2m1fn")
    codes = [code for i in places for code in (data[i] & 15, data[i] >> 4)]
    values = np.array(codes, np.uint8).view(ml_dtypes.float4_e2m1fn).reshape(info.shape)
    assert READER.read(info).tobytes() == values.tobytes()


@settings(deadline=None)
@given(
    axes=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), max_size=4),
    offset=st.integers(0, 20),
    count=st.integers(0, 30),
)
def test_a_view_is_what_its_strides_say_or_beyond_its_storage(
    scratch: Path, axes: list[tuple[int, int]], offset: int, count: int
) -> None:
    shape, strides = [n for n, _ in axes], [stride for _, stride in axes]
    data = np.arange(count, dtype=np.float32)
    archive(scratch, tensor(shape, strides, offset, count=count), data.tobytes())
    places = [
        offset + sum(i * s for i, s in zip(index, strides, strict=True))
        for index in itertools.product(*map(range, shape))
    ]
    if any(place >= count for place in places):
        end = (max(places) + 1) * 4
        assert refusal(scratch).startswith(
            f"tensor 'm': it ends at byte {end} of its storage of {count * 4}; save or copy"
        )
        return
    (info,) = READER.tensors(scratch)
    span = max(places) - min(places) + 1 if places else 0
    assert info.nbytes == (span * 4 if len(places) > span else None)
    got = READER.read(info)
    assert got.shape == info.shape == tuple(shape)
    assert got.ravel().tolist() == places


def test_tensors_are_named_by_their_keys_and_one_alone_after_the_file(tmp_path: Path) -> None:
    nested = state(model=state(w=ROW), steps=b"](" + ROW + b"K\x01" + ROW + b"e", lr=b"K\x01")
    path = archive(tmp_path / "m.pt", nested, DATA)
    assert list(read(path)) == ["model.w", "steps.0", "steps.2"]
    assert list(read(archive(tmp_path / "fc1.weight.pth", ROW, DATA))) == ["fc1.weight"]
    assert read(archive(tmp_path / "none.pt", state(epoch=b"K\x03"))) == {}


def test_only_the_view_is_mapped_and_not_copied(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.pt", tensor([2], [2], 1), DATA)
    (info,) = READER.tensors(path)
    got = READER.read(info)
    place = path.read_bytes().index(DATA)
    with path.open("r+b") as file:
        file.seek(place + 12)
        file.write(np.float32(99).tobytes())
    assert got.tolist() == [1, 99]


def test_a_tensor_that_repeats_its_elements_says_what_it_takes(tmp_path: Path) -> None:
    expanded = tensor([1000, 6], [0, 1])
    sliced = tensor([3], [2])
    path = archive(tmp_path / "m.pt", state(expanded=expanded, sliced=sliced), DATA)
    assert [info.nbytes for info in READER.tensors(path)] == [24, None]
    assert read(path)["expanded"].tolist() == [SIX.tolist()] * 1000


def test_an_info_survives_pickling_and_hashes(tmp_path: Path) -> None:
    (info,) = READER.tensors(archive(tmp_path / "m.pt", ROW, DATA))
    assert all(type(number) is int for number in info.where)
    again = pickle.loads(pickle.dumps(info))
    assert hash(again) == hash(info)
    with ThreadPoolExecutor(4) as pool:
        assert [a.tolist() for a in pool.map(READER.read, [info, again] * 8)] == [SIX.tolist()] * 16


@pytest.mark.parametrize(
    ("root", "message"),
    [
        (tensor([6], [1], key="1"), "its storage '1' is missing; save it again"),
        (tensor([6], [1], key="../w"), "its storage '../w' is missing; save it again"),
        (tensor([6], [1], count=7), "its storage should have 28 bytes and has 24; save or copy"),
        (tensor([6], [1], kind="Double"), "its storage should have 48 bytes and has 24; save or"),
        (tensor([7], [1]), "it ends at byte 28 of its storage of 24; save or copy it again"),
        (tensor([1], [1], 6), "it ends at byte 28 of its storage of 24; save or copy it again"),
        (tensor([2], [2**62]), f"it ends at byte {4 * (2**62 + 1)} of its storage of 24; save"),
        (tensor([2**62] * 3, [2**62] * 3), "it ends at byte "),
        (tensor([1], [1], 2**63 - 1), f"it ends at byte {2**65} of its storage of 24; save or"),
        (
            tensor([2**28 + 1], [0]),
            "shape (268435457,) repeats 1 stored elements beyond 1073741824 bytes; save what "
            "contiguous() gives",
        ),
        (tensor([2**62] * 9, [0] * 9), "shape (46116860184"),
        (tensor([2**62, 0, 2**62], [1, 1, 1]), "NumPy cannot hold shape (46116860184"),
        (tensor([2], [1], kind="QInt8"), "dtype qint8 is not read; save it in one that NumPy"),
        (tensor([2], [1], dtype="complex32"), "dtype complex32 is not read; save it in one that"),
        (tensor([], [], dtype="float4_e2m1fn_x2"), "dtype float4_e2m1fn_x2 is not read; save"),
        (tensor([7], [0], dtype="float4_e2m1fn_x2"), "dtype float4_e2m1fn_x2 is not read; save"),
    ],
)  # fmt: skip
def test_what_a_tensor_needs_must_be_there(tmp_path: Path, root: bytes, message: str) -> None:
    path = archive(tmp_path / "m.pt", state(w=root), DATA)
    assert refusal(path).startswith(f"tensor 'w': {message}")


def test_a_tensor_on_the_meta_device_is_listed_and_not_read(tmp_path: Path) -> None:
    meta = b"ctorch._utils\n_rebuild_meta_tensor_no_storage\n(ctorch\nfloat32\n"
    meta += numbers([2]) + numbers([1]) + b"\x89tR"
    path = archive(tmp_path / "m.pt", state(w=meta))
    (info,) = READER.tensors(path)
    assert (info.shape, info.dtype, info.encoding) == ((2,), "float32", "meta")
    assert refusal(path).startswith("tensor 'w': it is on the meta device and has no values; save")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"byteorder": b"big"}, "it is not in little-endian byte order; save it again on a little"),
        ({"constants.pkl": b"\x80\x02)."}, "it is a TorchScript program, which qcore does not"),
        ({"code____torch__.py": b"class"}, "it is a TorchScript program, which qcore does not"),
        ({"data.pkl": b""}, "its pickle is damaged near byte 0; save or download it again"),
        ({"data.pkl": b"cos\nsystem\n."}, "it needs 'os.system', which qcore never runs; save"),
        ({"data.pkl": bytes(LARGEST_PICKLE + 1)}, "'archive/data.pkl' in it has 8388609 bytes, "),
        (
            {"data.pkl": b"N" + b"\x94" * 400_000},
            "it holds more objects than qcore reads of one file; save",
        ),
    ],
)
def test_archives_that_are_not_read_are_torchs_all_the_same(
    tmp_path: Path, members: dict[str, bytes], message: str
) -> None:
    path = archive(tmp_path / "m.pt", ROW, DATA, **members)
    assert READER.sniff(path)
    assert refusal(path).startswith(message)


def test_an_archive_without_a_byteorder_is_little_endian(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    with zipfile.ZipFile(path, "w") as file:  # as PyTorch 1.6 wrote it
        file.writestr("any name/data.pkl", b"\x80\x02" + ROW + b".")
        file.writestr("any name/data/0", DATA)
        file.writestr("any name/version", b"3\n")
    assert READER.sniff(path)
    assert read(path)["m"].tolist() == SIX.tolist()


def tar(path: Path, first: str) -> None:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as file:
        file.addfile(tarfile.TarInfo(first))


def test_files_of_old_pytorch_are_known_and_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2))
    message = "it is in the format of PyTorch before 1.6, which qcore does not read; load it with"
    assert READER.sniff(path)
    assert refusal(path).startswith(message)
    tar(path, "sys_info")
    assert READER.sniff(path)
    assert refusal(path).startswith(message)


def test_other_files_are_not_torchs(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    assert not READER.sniff(tmp_path)
    assert not READER.sniff(path)
    tar(path, "image.png")
    assert not READER.sniff(path)
    for content in (b"", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), pickle.dumps([1], 2)):
        path.write_bytes(content)
        assert not READER.sniff(path)
        assert "save" in refusal(path)
    for names in (["data.pkl"], ["a/data.pkl", "b/data.pkl"], ["a/b/data.pkl"], ["w.npy"]):
        with zipfile.ZipFile(path, "w") as file:
            for name in names:
                file.writestr(name, b"N.")
        assert not READER.sniff(path)
        assert refusal(path).startswith("not a PyTorch checkpoint: it is a zip archive without one")


def test_no_other_reader_of_archives_claims_a_checkpoint(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.pt", ROW, DATA)
    assert READER.sniff(path)
    assert not NpzReader().sniff(path)
    np.savez(tmp_path / "m.npz", a=SIX)
    assert not READER.sniff(tmp_path / "m.npz")


def test_a_file_that_changes_once_listed_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.pt", ROW, DATA)
    (info,) = READER.tensors(path)
    archive(path, ROW, DATA, more=b"more")
    with pytest.raises(ReadError, match=r"the file has changed since it was listed; list it again"):
        READER.read(info)


def test_a_cut_file_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    content = archive(tmp_path / "whole.pt", ROW, DATA).read_bytes()
    path = tmp_path / "m.pt"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        READER.sniff(path)
        refusal(path)


@settings(deadline=None)
@given(data=st.data())
def test_damage_raises_nothing_but_a_read_error(scratch: Path, data: st.DataObject) -> None:
    content = bytearray(archive(scratch, state(w=ROW, v=tensor([2, 2], [1, 2])), DATA).read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255))
    scratch.write_bytes(content)
    READER.sniff(scratch)
    with contextlib.suppress(ReadError):
        read(scratch)


def test_torch_is_never_imported(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.pt", ROW, DATA)
    code = (
        "import sys; from pathlib import Path; from qcore.builtin.readers.torch import TorchReader;"
        f"r = TorchReader(); [r.read(i) for i in r.tensors(Path({str(path)!r}))];"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# With PyTorch as the oracle, where it is installed


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch")


def stored(torch: Any, dtype: str, shape: tuple[int, ...], seed: int) -> Any:
    """A tensor of any bits."""
    kind = getattr(torch, dtype)
    top = 2 if dtype == "bool" else 256
    size = (math.prod(shape), kind.itemsize)
    data = np.random.default_rng(seed).integers(0, top, size, np.uint8)
    return torch.from_numpy(data).reshape(-1).view(kind).reshape(shape)


@st.composite
def views(draw: Any, torch: Any) -> Any:
    """A tensor, or a part of one in another order, or one part of it many times."""
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    tensor = stored(torch, draw(st.sampled_from(DTYPES)), shape, draw(st.integers(0, 99)))
    for _ in range(draw(st.integers(0, 3))):
        if tensor.ndim and draw(st.booleans()):
            axis = draw(st.integers(0, tensor.ndim - 1))
            begin = draw(st.integers(0, tensor.shape[axis]))
            tensor = tensor[(slice(None),) * axis + (slice(begin, None, draw(st.integers(1, 3))),)]
        elif draw(st.booleans()):
            tensor = tensor.permute(draw(st.permutations(range(tensor.ndim))))
        else:
            tensor = tensor.expand(draw(st.integers(1, 3)), *tensor.shape)
    return tensor


def leaves(torch: Any, value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, torch.Tensor):
        yield name.removeprefix("."), value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(torch, inner, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            yield from leaves(torch, inner, f"{name}.{place}")


def bits(torch: Any, tensor: Any) -> bytes:
    """A tensor's bytes in C order; of two values that share a byte, one each."""
    width = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}.get(tensor.itemsize)
    tensor = tensor.detach()
    plain = tensor.view(width) if width else tensor
    data = plain.contiguous().numpy()
    if tensor.dtype == torch.float4_e2m1fn_x2:
        return np.stack([data & 15, data >> 4], axis=-1).tobytes()
    return data.tobytes()


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_what_torch_saves_is_read_as_torch_loads_it(
    torch: Any, scratch: Path, data: st.DataObject
) -> None:
    tensors = st.lists(views(torch), min_size=1, max_size=3).flatmap(st.sampled_from)
    keys = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=".")) | st.integers()
    leaf = st.one_of(tensors, st.none(), st.floats(), st.text(), st.binary(min_size=1))
    nested = data.draw(
        st.recursive(
            leaf,
            lambda inner: st.one_of(
                st.lists(inner, max_size=4),
                st.dictionaries(keys, inner, max_size=4).filter(
                    lambda value: len({str(key) for key in value}) == len(value)
                ),
                st.dictionaries(st.integers(), inner, max_size=3).map(OrderedDict),
            ),
            max_leaves=6,
        )
    )
    torch.save(nested, scratch)
    expected = dict(leaves(torch, torch.load(scratch, weights_only=True), ""))
    if isinstance(nested, torch.Tensor):
        expected = {"m": expected[""]}
    infos = list(READER.tensors(scratch))
    assert [info.name for info in infos] == list(expected)
    for info in infos:
        want = expected[info.name]
        if info.dtype == "float4_e2m1fn_x2":
            assert not want.ndim or 0 in want.stride()
            continue
        got = READER.read(info)
        assert got.dtype.name == info.dtype
        assert str(want.dtype).removeprefix("torch.").removesuffix("_x2") == info.dtype
        assert got.tobytes() == bits(torch, want)
        assert got.shape == info.shape
        if info.dtype != "float4_e2m1fn":
            assert got.shape == tuple(want.shape)


def test_a_model_and_its_optimizer(torch: Any, tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    path = tmp_path / "m.pth"
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}, path)
    got = read(path)
    for name, value in model.state_dict().items():
        assert got[f"model.{name}"].tobytes() == bits(torch, value)
    assert got["optimizer.state.0.exp_avg"].shape == (4, 3)
    torch.save(dict(model.named_parameters()), path)
    assert [info.name for info in READER.tensors(path)] == [
        "0.weight",
        "0.bias",
        "1.weight",
        "1.bias",
    ]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_binary_protocol_is_read(torch: Any, tmp_path: Path, protocol: int) -> None:
    value = {"w": torch.arange(6.0).reshape(2, 3).T, 3: [torch.nn.Parameter(torch.ones(2))]}
    value["b"] = {"text", b"bytes", 1j, 2**70}
    value["w"].note = "an attribute"
    torch.save(value, tmp_path / "m.pt", pickle_protocol=protocol)
    got = read(tmp_path / "m.pt")
    assert {name: array.tolist() for name, array in got.items()} == {
        "w": [[0, 3], [1, 4], [2, 5]],
        "3.0": [1, 1],
    }


def test_a_shared_storage_is_read_through_each_of_its_views(torch: Any, tmp_path: Path) -> None:
    whole = torch.arange(100.0)
    torch.save({"a": whole[10:20], "b": whole[::50], "c": whole}, tmp_path / "m.pt")
    got = read(tmp_path / "m.pt")
    assert got["a"].tolist() == list(range(10, 20))
    assert got["b"].tolist() == [0, 50]
    assert len({info.where[:6] for info in READER.tensors(tmp_path / "m.pt")}) == 1


def special(torch: Any) -> dict[str, Any]:
    """Tensors that are no plain views, and what is said of each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch would do without them
        per_tensor = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.quint8)
        per_channel = torch.quantize_per_channel(
            torch.ones(2, 2), torch.ones(2), torch.zeros(2, dtype=torch.long), 0, torch.qint8
        )
        return {
            "it is quantized by PyTorch": [per_tensor, per_channel],
            "it is sparse": [torch.eye(2).to_sparse(), torch.eye(2).to_sparse_csr()],
            "it is on the meta device": [torch.empty(2, device="meta")],
            "it is to be conjugated": [torch.ones(2, dtype=torch.complex64).conj()],
            "dtype complex32 is not read": [torch.ones(2, dtype=torch.complex32)],
        }


def test_tensors_that_are_no_plain_views_are_listed_and_not_read(
    torch: Any, tmp_path: Path
) -> None:
    path = tmp_path / "m.pt"
    for message, tensors in special(torch).items():
        for value in tensors:
            torch.save({"w": value}, path)
            (info,) = READER.tensors(path)
            assert info.shape == tuple(value.shape)
            assert f"torch.{info.dtype}" == str(value.dtype)
            assert refusal(path).startswith(f"tensor 'w': {message}")


def test_a_whole_model_is_refused_with_a_way_out(torch: Any, tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "m.pt")
    assert refusal(tmp_path / "m.pt") == (
        "it needs 'torch.nn.modules.linear.Linear', which qcore never runs; save the state_dict "
        "alone: torch.save(model.state_dict(), path)"
    )


def test_the_formats_before_1_6_and_torchscript_are_refused(torch: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save({"w": torch.ones(2)}, path, _use_new_zipfile_serialization=False)
    assert READER.sniff(path)
    assert "before 1.6" in refusal(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is on its way out
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    assert READER.sniff(path)
    assert refusal(path).startswith("it is a TorchScript program, which qcore does not read; save")

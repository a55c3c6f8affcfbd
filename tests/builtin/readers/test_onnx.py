"""OnnxReader agrees with the official library, and refuses all that is damaged or leads astray."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto, numpy_helper

from qcore.builtin.readers.onnx import OnnxReader
from qcore.errors import ReadError
from qcore.interfaces.reader import TensorInfo

READER = OnnxReader()
# the official names and NumPy's, written down twice on purpose
DTYPES = {
    "FLOAT": np.float32, "UINT8": np.uint8, "INT8": np.int8, "UINT16": np.uint16,
    "INT16": np.int16, "INT32": np.int32, "INT64": np.int64, "BOOL": np.bool_,
    "FLOAT16": np.float16, "DOUBLE": np.float64, "UINT32": np.uint32, "UINT64": np.uint64,
    "COMPLEX64": np.complex64, "COMPLEX128": np.complex128, "BFLOAT16": ml_dtypes.bfloat16,
    "FLOAT8E4M3FN": ml_dtypes.float8_e4m3fn, "FLOAT8E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "FLOAT8E5M2": ml_dtypes.float8_e5m2, "FLOAT8E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
    "FLOAT8E8M0": ml_dtypes.float8_e8m0fnu, "FLOAT4E2M1": ml_dtypes.float4_e2m1fn,
    "UINT4": ml_dtypes.uint4, "INT4": ml_dtypes.int4,
    "UINT2": ml_dtypes.uint2, "INT2": ml_dtypes.int2,
}  # fmt: skip
ONLY_LISTED = {
    "UNDEFINED": "undefined", "STRING": "str",
    "FLOAT6E2M3": "float6_e2m3fn", "FLOAT6E3M2": "float6_e3m2fn",
}  # fmt: skip
BITS = {"FLOAT4E2M1": 4, "UINT4": 4, "INT4": 4, "UINT2": 2, "INT2": 2}
SHAPES = hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5)
AGAIN = "save or download it again"


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("onnx") / "m.onnx"


def model(
    *initializers: TensorProto, nodes: tuple[NodeProto, ...] = (), **fields: Any
) -> ModelProto:
    graph = GraphProto(name="g", initializer=initializers, node=nodes, **fields)
    return onnx.helper.make_model(graph)


def floats(name: str, *values: float) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.float32), name)


def write(path: Path, *initializers: TensorProto, **fields: Any) -> Path:
    path.write_bytes(model(*initializers, **fields).SerializeToString())
    return path


def values(path: Path) -> dict[str, Any]:
    return {info.name: READER.read(info).tolist() for info in READER.tensors(path)}


def refusal(path: Path) -> str:
    """The one-line message of the ReadError, without the file's name that it begins with."""
    with pytest.raises(ReadError) as caught:
        list(map(READER.read, READER.tensors(path)))
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message.removeprefix(f"{path}: ")


def comparable(array: np.ndarray) -> tuple[Any, ...]:
    """Shape, dtype and bits; what shares bytes by its values, since nobody defines the rest."""
    narrow = array.dtype.name in {"int4", "int2", "uint4", "uint2", "float4_e2m1fn"}
    return array.shape, array.dtype, (array.astype("f4") if narrow else array).tobytes()


# what ONNX stores


def raw(key: str, shape: tuple[int, ...], content: bytes) -> TensorProto:
    return TensorProto(data_type=TensorProto.DataType.Value(key), dims=shape, raw_data=content)


def typed(key: str, shape: tuple[int, ...], content: bytes) -> TensorProto:
    """The same values in the field of numbers that onnx.proto gives their dtype."""
    tensor = TensorProto(data_type=TensorProto.DataType.Value(key), dims=shape)
    dtype = np.dtype(DTYPES[key])
    if key in ("FLOAT", "COMPLEX64"):
        tensor.float_data.extend(np.frombuffer(content, np.float32).tolist())
    elif key in ("DOUBLE", "COMPLEX128"):
        tensor.double_data.extend(np.frombuffer(content, np.float64).tolist())
    elif key == "INT64":
        tensor.int64_data.extend(np.frombuffer(content, np.int64).tolist())
    elif key in ("UINT32", "UINT64"):
        tensor.uint64_data.extend(np.frombuffer(content, dtype).tolist())
    elif key in ("INT32", "INT16", "INT8"):
        tensor.int32_data.extend(np.frombuffer(content, dtype).tolist())
    else:
        unit = f"u{1 if key in BITS else dtype.itemsize}"
        tensor.int32_data.extend(np.frombuffer(content, unit).tolist())
    return tensor


@settings(deadline=None)
@given(
    tensors=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
        st.tuples(st.sampled_from(list(DTYPES)), SHAPES, st.sampled_from([raw, typed])),
        max_size=6,
    ),
    data=st.data(),
)
def test_what_the_official_library_writes_is_read_as_it_reads_it(
    scratch: Path, tensors: dict[str, Any], data: st.DataObject
) -> None:
    written = {}
    for name, (key, shape, form) in tensors.items():
        bits = BITS.get(key) or np.dtype(DTYPES[key]).itemsize * 8
        nbytes = (int(np.prod(shape)) * bits + 7) // 8
        content = data.draw(st.binary(min_size=nbytes, max_size=nbytes))
        content = bytes(b & 1 for b in content) if key == "BOOL" else content
        written[name] = form(key, shape, content)
        written[name].name = name
    onnx.save(model(*written.values()), scratch)
    assert READER.sniff(scratch)
    infos = list(READER.tensors(scratch))
    assert [info.name for info in infos] == list(written)
    for info in infos:
        key, shape, _ = tensors[info.name]
        got = READER.read(pickle.loads(pickle.dumps(info)))
        assert (info.shape, info.dtype) == (shape, np.dtype(DTYPES[key]).name)
        assert info.path == scratch
        with np.errstate(invalid="ignore"):  # signalling NaN
            expected = numpy_helper.to_array(written[info.name])
            assert comparable(got) == comparable(expected)
        assert type(got) is np.ndarray
        assert not got.flags.writeable


def test_every_data_type_of_the_official_library_is_known() -> None:
    assert {*DTYPES, *ONLY_LISTED} >= set(TensorProto.DataType.keys())


@pytest.mark.parametrize("key", ["FLOAT", "DOUBLE", "INT64", "UINT64", "FLOAT16", "INT4"])
@given(cuts=st.lists(st.integers(0, 3), min_size=1, max_size=5))
@settings(deadline=None, max_examples=20)
def test_numbers_that_are_not_packed_are_read(scratch: Path, key: str, cuts: list[int]) -> None:
    """As protobuf's rules demand; onnx itself always packs."""
    tensor = typed(key, (8,), np.random.default_rng(1).bytes(64)[: 8 * bits_of(key) // 8])
    (found,) = [field for field, _ in tensor.ListFields() if field.name.endswith("_data")]
    content, numbers = b"", list(getattr(tensor, found.name))
    wire = {"float_data": 5, "double_data": 1}.get(found.name, 0)
    for count in [*cuts, *[0] * len(numbers)]:
        head, numbers = numbers[: max(count, 1)], numbers[max(count, 1) :]
        whole = TensorProto(**{found.name: head}).SerializeToString()
        if head:
            content += whole if count else varint(found.number << 3 | wire) + whole[2:]
    header = TensorProto(name="w", data_type=tensor.data_type, dims=[8]).SerializeToString()
    scratch.write_bytes(hand_made(header + content))
    expected = numpy_helper.to_array(onnx.load(scratch).graph.initializer[0])
    (info,) = READER.tensors(scratch)
    assert comparable(READER.read(info)) == comparable(expected)


def bits_of(key: str) -> int:
    return BITS.get(key) or np.dtype(DTYPES[key]).itemsize * 8


def test_data_is_mapped_and_not_copied(tmp_path: Path) -> None:
    packed = TensorProto(name="v", data_type=TensorProto.FLOAT, dims=[1], float_data=[0])
    path = write(tmp_path / "m.onnx", floats("w", 0, 0), packed)
    arrays = [READER.read(info) for info in READER.tensors(path)]
    content = path.read_bytes()
    with path.open("r+b") as file:
        file.write(content.replace(bytes(8), np.full(2, 7, "<f4").tobytes()).replace(
            b"\x22\x04" + bytes(4), b"\x22\x04" + np.float32(8).tobytes()))  # fmt: skip
    assert [array.tolist() for array in arrays] == [[7, 7], [8]]


def test_a_model_larger_than_its_structure_is_listed_from_that_alone(tmp_path: Path) -> None:
    path, count = tmp_path / "m.onnx", 2**31
    header = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[count]).SerializeToString()
    header += varint(9 << 3 | 2) + varint(4 * count)
    graph = b"\x2a" + varint(len(header) + 4 * count) + header
    start = b"\x08\x0a\x3a" + varint(len(graph) + 4 * count) + graph
    with path.open("wb") as file:
        file.write(start)
        file.truncate(len(start) + 4 * count)  # a hole, that takes no room
    assert READER.sniff(path)
    (info,) = READER.tensors(path)
    assert READER.read(info)[-1] == 0


# data in other files


@pytest.mark.parametrize("together", [True, False])
def test_external_data_is_read(tmp_path: Path, together: bool) -> None:
    arrays = {
        f"layer.{i}": np.random.default_rng(i).normal(size=(3, i)).astype(np.float32)
        for i in range(1, 5)
    }
    written = model(*(numpy_helper.from_array(array, name) for name, array in arrays.items()))
    path = tmp_path / "m.onnx"
    onnx.save(
        written, path, save_as_external_data=True, all_tensors_to_one_file=together,
        location="m.onnx.data" if together else None, size_threshold=0,
    )  # fmt: skip
    infos = list(READER.tensors(path))
    assert [info.name for info in infos] == list(arrays)
    for info in infos:
        assert info.path == tmp_path / ("m.onnx.data" if together else info.name)
        np.testing.assert_array_equal(READER.read(info), arrays[info.name])


def external(**entries: str) -> TensorProto:
    """Two float32 in another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=1)
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    path = tmp_path / "model" / "w.data"
    path.parent.mkdir()
    path.write_bytes(np.arange(3, dtype="<f4").tobytes())
    return path


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"location": "w.data", "offset": "4", "length": "8"}, [1, 2]),
        ({"location": "w.data", "offset": "4"}, [1, 2]),
        ({"location": "w.data", "length": "8", "checksum": "0", "other": "x"}, [0, 1]),
        ({"location": "w.data"}, [0, 1]),
    ],
)
def test_parts_of_a_file_are_read(
    data_file: Path, entries: dict[str, str], expected: list[float]
) -> None:
    path = write(data_file.with_name("m.onnx"), external(**entries))
    assert values(path) == {"w": expected}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"location": "../secret"}, "tensor 'w': it names '../secret', which may leave"),
        ({"location": "/etc/passwd"}, "tensor 'w': it names '/etc/passwd', which may leave"),
        ({"location": "a/../../b"}, "tensor 'w': it names 'a/../../b', which may leave"),
        ({"location": "C:b"}, "tensor 'w': it names 'C:b', which may leave"),
        ({"location": "a\\b"}, r"tensor 'w': it names 'a\\b', which may leave"),
        ({"location": ""}, "tensor 'w': it names '', which may leave"),
        ({"location": "link"}, "tensor 'w': it names 'link', which is a link out of its folder"),
        ({"location": "away/secret"}, "tensor 'w': it names 'away/secret', which is a link"),
        ({"location": "absent"}, "tensor 'w': it names 'absent', which is not there; download it"),
        ({}, "tensor 'w': its data is external, and it is not said where; save it again"),
        (
            {"location": "w.data", "offset": "5"},
            "tensor 'w': truncated: its data is bytes 5 to 13 of 'w.data', which has 12; save or "
            "download both again",
        ),
        ({"location": "w.data", "offset": "9" * 19}, "tensor 'w': truncated: its data is bytes 99"),
        ({"location": "w.data", "length": "13"}, "tensor 'w': truncated: its data is bytes 0 to"),
        (
            {"location": "w.data", "length": "4"},
            "tensor 'w': 4 stored bytes cannot be (2,) of float32; save it again",
        ),
        (
            {"location": "w.data", "offset": "-4"},
            "tensor 'w': the offset of its external data is '-4', no number of bytes; save it agai",
        ),
        ({"location": "w.data", "offset": "9" * 5000}, "tensor 'w': the offset of its external d"),
        ({"location": "w.data", "length": "²"}, "tensor 'w': the length of its external data is"),
    ],
)  # fmt: skip
def test_external_data_that_is_not_there_or_leads_astray_is_refused(
    data_file: Path, entries: dict[str, str], message: str
) -> None:
    folder = data_file.parent
    (folder.parent / "secret").write_bytes(bytes(8))
    (folder / "link").symlink_to(folder.parent / "secret")
    (folder / "away").symlink_to(folder.parent)
    path = write(folder / "m.onnx", external(**entries))
    assert refusal(path).startswith(message)


def test_external_data_that_changed_after_listing_is_refused(data_file: Path) -> None:
    path = write(data_file.with_name("m.onnx"), external(location="w.data"))
    (info,) = READER.tensors(path)
    data_file.write_bytes(bytes(20))
    with pytest.raises(ReadError) as caught:
        READER.read(info)
    message = "the file has changed since it was listed; list it again"
    assert str(caught.value) == f"{data_file}: tensor 'w': {message}"


# names


def constant(output: str, tensor: TensorProto) -> NodeProto:
    return onnx.helper.make_node("Constant", [], [output], value=tensor)


def test_constants_are_named_after_what_they_compute(tmp_path: Path) -> None:
    nodes = (
        constant("c", floats("its own name", 1)),
        onnx.helper.make_node("Constant", [], ["other"], value_float=2.0),
        onnx.helper.make_node("ConstantOfShape", ["c"], ["filled"], value=floats("", 3)),
    )
    path = write(tmp_path / "m.onnx", floats("w", 4), nodes=nodes)
    assert values(path) == {"c": [1], "w": [4]}


def test_graphs_inside_nodes_are_named_after_their_place(tmp_path: Path) -> None:
    def body(value: float, *nodes: NodeProto) -> GraphProto:
        return GraphProto(name="g", initializer=[floats("w", value)], node=nodes)

    def branch(output: str, *graphs: GraphProto) -> NodeProto:
        branches = {"then_branch": graphs[0], "else_branch": graphs[1]}
        return onnx.helper.make_node("If", ["x"], [output], **branches)

    inner = branch("z", body(3), body(4, constant("c", floats("", 5))))
    nodes = (
        branch("y", body(1), body(2, inner)),
        onnx.helper.make_node("Switch", ["x"], ["s"], domain="mine", bodies=[body(6), body(7)]),
    )
    path = write(tmp_path / "m.onnx", floats("w", 0), nodes=nodes)
    assert values(path) == {
        "w": [0], "y/then_branch/w": [1], "y/else_branch/w": [2], "s/bodies/0/w": [6],
        "s/bodies/1/w": [7], "y/else_branch/z/then_branch/w": [3],
        "y/else_branch/z/else_branch/c": [5], "y/else_branch/z/else_branch/w": [4],
    }  # fmt: skip


def test_graphs_nested_without_end_are_refused(tmp_path: Path) -> None:
    def nested(depth: int) -> Path:
        graph = GraphProto(initializer=[floats("w", 1)])
        for _ in range(depth):
            body = onnx.helper.make_node("Loop", [], ["y"], body=graph)
            graph = GraphProto(node=[body])
        path = tmp_path / "m.onnx"
        path.write_bytes(b"\x3a" + varint(graph.ByteSize()) + graph.SerializeToString())
        return path

    (info,) = READER.tensors(nested(16))
    assert info.name == "y/body/" * 16 + "w"
    assert refusal(nested(17)) == "graphs are nested more than 16 deep; refused"


def test_a_tensor_without_a_name_is_given_one(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", floats("w", 1), floats("", 2), floats("", 3))
    assert values(path) == {"w": [1], "unnamed_1": [2], "unnamed_2": [3]}


def test_a_name_given_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", floats("w", 1), floats("w", 2))
    assert refusal(path) == "tensor 'w': two tensors have this name; save it again"


def test_more_names_than_fit_are_refused(tmp_path: Path) -> None:
    long = "y" * 65_000
    bodies = [GraphProto() for _ in range(300)]
    node = onnx.helper.make_node("Switch", [], [long], bodies=bodies)
    path = write(tmp_path / "m.onnx", nodes=(node,))
    assert refusal(path) == f"its names take more than {1 << 24} letters; refused"
    path.write_bytes(b"\x3a\x00" * 50_001)
    assert refusal(path) == "it holds more than 50000 tensors and graphs; refused"


# what is listed and not read


@pytest.mark.parametrize(
    ("tensor", "dtype", "encoding", "message"),
    [
        (TensorProto(data_type=8, string_data=[b"a"], dims=[1]), "str", "", "dtype 'str' is not r"),
        (TensorProto(data_type=0, dims=[1]), "undefined", "", "dtype 'undefined' is not read; q"),
        (TensorProto(dims=[1], raw_data=b"a"), "undefined", "", "dtype 'undefined' is not read"),
        (TensorProto(data_type=27, dims=[1]), "float6_e2m3fn", "", "dtype 'float6_e2m3fn' is no"),
        (TensorProto(data_type=28, dims=[1]), "float6_e3m2fn", "", "dtype 'float6_e3m2fn' is no"),
        (TensorProto(data_type=99, dims=[1]), "type-99", "", "dtype 'type-99' is not read; qcor"),
        (TensorProto(data_type=-1, dims=[1]), "type--1", "", "dtype 'type--1' is not read; qcor"),
        (
            TensorProto(data_type=1, dims=[1], segment=TensorProto.Segment(begin=0, end=1)),
            "float32", "segment", "it is one part of a tensor; save the tensor whole",
        ),
    ],
)  # fmt: skip
def test_what_holds_no_whole_numbers_is_listed_and_not_read(
    tmp_path: Path, tensor: TensorProto, dtype: str, encoding: str, message: str
) -> None:
    tensor.name = "w"
    path = write(tmp_path / "m.onnx", tensor)
    (info,) = READER.tensors(path)
    assert (info.dtype, info.shape, info.encoding) == (dtype, (1,), encoding)
    assert refusal(path).startswith(f"tensor 'w': {message}")


def test_a_sparse_tensor_is_listed_and_not_read(tmp_path: Path) -> None:
    indices = numpy_helper.from_array(np.array([3, 5]))
    sparse = SparseTensorProto(values=floats("w", 1, 2), indices=indices, dims=[10**9, 10**9])
    path = write(tmp_path / "m.onnx", sparse_initializer=[sparse])
    (info,) = READER.tensors(path)
    assert (info.name, info.dtype, info.encoding) == ("w", "float32", "sparse")
    assert info.shape == (10**9, 10**9)
    message = "tensor 'w': it is sparse, which qcore does not read; save it dense"
    assert refusal(path) == message


# damage


def varint(value: int) -> bytes:
    digits = []
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])


def hand_made(tensor: bytes) -> bytes:
    """A model of one initializer, whatever its bytes."""
    graph = b"\x2a" + varint(len(tensor)) + tensor
    return b"\x08\x0a\x3a" + varint(len(graph)) + graph


SHAPE = "tensor 'w': its shape must be at most 64 whole numbers from 0 to 2**63 - 1; save it again"


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (TensorProto(data_type=1, dims=[-1]), SHAPE),
        (TensorProto(data_type=1, dims=[1] * 65, float_data=[1]), SHAPE),
        (TensorProto(data_type=1, dims=[1] * 10**4, float_data=[1]), SHAPE),
        (TensorProto(data_type=1, dims=[2]), "tensor 'w': 0 stored bytes cannot be (2,) of float"),
        (TensorProto(data_type=1, dims=[2], int32_data=[1, 2]), "tensor 'w': 0 stored bytes cann"),
        (TensorProto(data_type=1, raw_data=b"abc"), "tensor 'w': 3 stored bytes cannot be () of f"),
        (TensorProto(data_type=1, raw_data=b"", float_data=[1]), "tensor 'w': 0 stored bytes can"),
        (TensorProto(data_type=1, dims=[3], float_data=[1, 2]), "tensor 'w': 8 stored bytes can"),
        (TensorProto(data_type=22, dims=[5], raw_data=b"12"), "tensor 'w': 2 stored bytes cannot "),
        (
            TensorProto(data_type=1, dims=[2**62, 2**62, 2**62], raw_data=b"abcd"),
            f"tensor 'w': 4 stored bytes cannot be ({2**62}, {2**62}, {2**62}) of float32; save it",
        ),
        (TensorProto(data_type=7, dims=[2**40], int64_data=[1]), "tensor 'w': 1 stored bytes cann"),
        (TensorProto(data_type=7, dims=[1], int64_data=[1] * 11), "tensor 'w': 11 stored bytes ca"),
        (
            TensorProto(data_type=7, dims=[3], int64_data=[300, 300]),
            "tensor 'w': 3 packed numbers are needed, and 2 are there; save or download it again",
        ),
        (TensorProto(data_type=7, dims=[1], int64_data=[1, 2]), "tensor 'w': 1 packed numbers ar"),
        (
            TensorProto(data_type=1, dims=[0, 2**62, 2**62], raw_data=b""),
            f"tensor 'w': NumPy cannot hold shape (0, {2**62}, {2**62})",
        ),
    ],
)  # fmt: skip
def test_a_tensor_that_is_wrong_is_named(tmp_path: Path, tensor: TensorProto, message: str) -> None:
    tensor.name = "w"
    path = write(tmp_path / "m.onnx", tensor)
    tracemalloc.start()
    try:
        assert refusal(path).startswith(message)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it holds no graph; it is no ONNX model, or cut off"),
        (b"\x08\x0a", "it holds no graph; it is no ONNX model, or cut off"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
         "it is a Git LFS pointer, not the model; run git lfs pull"),
        (hand_made(b"\x42\x01w")[:-1], "damaged at byte 2: truncated, or no message: a field ends"),
        (hand_made(b"\x42" + varint(2**63)), "damaged at byte 6: truncated, or no message: a "),
        (hand_made(b"\x42\x01\xff"), f"damaged at byte 8: a text is not valid UTF-8; {AGAIN}"),
        (hand_made(b"\x10" + b"\xff" * 10 + b"\1"), "damaged at byte 7: a number is cut off, or "),
        (hand_made(b"\x13\x14"), f"damaged at byte 6: wire type 3 is not in use; {AGAIN}"),
        (hand_made(b"\x0a\x02\x01\x80"), "damaged at byte 9: a number is cut off, or longer"),
    ],
)  # fmt: skip
def test_damage_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    assert refusal(path).startswith(message)


def small_model() -> ModelProto:
    """One of each way to store a tensor."""
    nodes = (
        constant("c", floats("", 1)),
        onnx.helper.make_node("Loop", ["n"], ["y"], body=GraphProto(initializer=[floats("v", 2)])),
    )
    tensors = [floats("t", 3, 4), typed("FLOAT", (1,), bytes(4)), typed("INT8", (2,), b"\xff\1")]
    tensors += [typed("INT4", (3,), b"\x21\x03"), raw("BFLOAT16", (2,), b"abcd")]
    for index, tensor in enumerate(tensors):
        tensor.name = f"t{index}"
    return model(*tensors, external(location="w.data", offset="4"), nodes=nodes)


CONTENT = small_model().SerializeToString()


def opened(path: Path) -> dict[str, np.ndarray]:
    """What is read; nothing where it is refused, as it must be, with a ReadError of one line."""
    READER.sniff(path)
    message = ""
    try:
        return {info.name: READER.read(info) for info in READER.tensors(path)}
    except ReadError as error:
        message = str(error)
    assert message.isprintable()
    return {}


def test_a_model_cut_off_anywhere_is_refused(data_file: Path) -> None:
    after_graph = ModelProto(opset_import=small_model().opset_import).ByteSize()
    path = data_file.with_name("m.onnx")
    for length in range(len(CONTENT) + 1):
        path.write_bytes(CONTENT[:length])
        is_whole = length in (len(CONTENT), len(CONTENT) - after_graph)
        assert len(opened(path)) == 8 * is_whole
        assert READER.sniff(path) == is_whole


@settings(deadline=None, max_examples=100)
@given(
    damage=st.lists(
        st.tuples(st.integers(0, len(CONTENT) - 1), st.integers(0, 255)), min_size=1, max_size=3
    )
)
def test_of_a_damaged_model_what_both_read_is_the_same(
    scratch: Path, damage: list[tuple[int, int]]
) -> None:
    damaged = bytearray(CONTENT)
    for place, byte in damage:
        damaged[place] = byte
    scratch.write_bytes(damaged)
    scratch.with_name("w.data").write_bytes(bytes(range(12)))
    found = opened(scratch)
    try:
        official = onnx.load(scratch, load_external_data=False).graph.initializer if found else ()
    except DecodeError:  # onnx reads more of it
        return
    for tensor in official:
        if tensor.name in found and not tensor.external_data:
            expected = numpy_helper.to_array(tensor)
            assert comparable(found[tensor.name]) == comparable(expected)


@settings(deadline=None)
@given(tensor=st.binary(max_size=40))
def test_any_bytes_as_a_tensor_raise_only_read_error(scratch: Path, tensor: bytes) -> None:
    scratch.write_bytes(hand_made(tensor))
    opened(scratch)


def test_a_model_that_changed_after_listing_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", floats("w", 1, 2))
    (info,) = READER.tensors(path)
    write(path, floats("w", 1, 2, 3))
    message = "tensor 'w': the file has changed since it was listed; list it again"
    with pytest.raises(ReadError) as caught:
        READER.read(info)
    assert str(caught.value) == f"{path}: {message}"


@pytest.mark.parametrize("tensor", [floats("w", 1), typed("INT8", (1,), b"a")])
def test_a_place_that_does_not_fit_its_shape_is_refused(
    tmp_path: Path, tensor: TensorProto
) -> None:
    tensor.name = "w"
    path = write(tmp_path / "m.onnx", tensor)
    (info,) = READER.tensors(path)
    wrong = TensorInfo("w", (5,), info.dtype, path, info.where)
    with pytest.raises(ReadError, match="tensor 'w': "):
        READER.read(wrong)


# which files are models


def other(**fields: Any) -> Callable[[], bytes]:
    return lambda: ModelProto(**fields).SerializeToString()


@pytest.mark.parametrize(
    "content",
    [
        other(ir_version=10),
        other(graph=GraphProto(name="g")),
        other(ir_version=0, graph=GraphProto(name="g")),
        other(ir_version=100, graph=GraphProto(name="g")),
        lambda: model(floats("w", 1)).SerializeToString() + b"\0",
        lambda: model(floats("w", 1)).SerializeToString()[:-1],
        lambda: model(floats("w", 1)).SerializeToString() + b"\x7a\x00",
        lambda: b"\x08\x0a\x3a\x04text",
        lambda: b"\x08\x0a\x3a\x02\x08\x01",
        lambda: b"\x08\x0a\x3a\x02\x3a\x00",
        floats("w", 1).SerializeToString,
        lambda: b"\x42\x00" * 20_000 + b"\x08\x0a\x3a\x00",
    ],
)
def test_what_is_no_whole_model_is_not_claimed(
    tmp_path: Path, content: Callable[[], bytes]
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content())
    assert not READER.sniff(path)


@settings(deadline=None)
@given(content=st.binary(max_size=200) | st.text().map(str.encode))
def test_noise_and_text_are_not_claimed(scratch: Path, content: bytes) -> None:
    scratch.write_bytes(content)
    assert not READER.sniff(scratch)


def test_a_model_is_known_by_its_content_alone(tmp_path: Path) -> None:
    metadata = onnx.StringStringEntryProto(key="a", value="b")
    written = model(floats("w", 1))
    written.metadata_props.append(metadata)
    path = tmp_path / "0a1b2c"
    path.write_bytes(written.SerializeToString())
    assert READER.sniff(path)
    assert not READER.sniff(tmp_path)
    assert not READER.sniff(tmp_path / "missing.onnx")
    assert not READER.sniff(Path("a\0b.onnx"))
    assert not READER.sniff(Path("x" * 5000))

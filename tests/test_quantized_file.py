"""Files of quantized tensors: what they hold, and that a damaged one is a line that says so."""

from __future__ import annotations

import importlib.metadata
import json
import re
import time
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import qcore
from qcore import QuantizedTensor, ReadError, UsageError

Json = dict[str, Any]
RECIPE = "asymmetric bits=3 granularity=group:4 scale_format=pow2"


def matrix(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two quantized tensors, and others between them."""
    path = tmp_path / "file"
    tensors = {
        "norm": matrix(5),
        "w": qcore.quantize(matrix(4, 8), RECIPE),
        "half": matrix(2, 3).astype(ml_dtypes.bfloat16),
        "v": qcore.quantize(matrix(6), "symmetric bits=8"),
        "ids": np.arange(6).reshape(2, 3).T,
    }
    qcore.save(path, tensors, {"format": "pt", "wörd": "ß"})
    return path


# --- what is there --------------------------------------------------------------------------------


def test_all_that_was_saved_is_loaded_in_its_order(file: Path) -> None:
    found = qcore.load(file)
    assert list(found) == ["norm", "w", "half", "v", "ids"]
    expected: dict[str, NDArray[Any]] = {
        "norm": matrix(5),
        "half": matrix(2, 3).astype(ml_dtypes.bfloat16),
        "ids": np.arange(6).reshape(2, 3).T,
    }
    for name, array in expected.items():
        kept = found[name]
        assert isinstance(kept, np.ndarray)
        assert kept.dtype == array.dtype
        assert kept.tobytes() == array.tobytes()
    again = found["w"]
    assert isinstance(again, QuantizedTensor)
    assert str(again.recipe) == RECIPE


def test_the_official_library_opens_it_and_sees_the_layout(file: Path) -> None:
    with safe_open(file, "np") as opened:
        metadata = opened.metadata()
        names = set(opened.keys())
    assert names == {
        "norm", "half", "ids", "v:codes", "v:scale", "w:codes", "w:scale", "w:zero_point",
    }  # fmt: skip
    described = json.loads(metadata.pop("qcore.tensors"))
    assert metadata == {
        "qcore.layout": "1",
        "qcore.version": importlib.metadata.version("qcore-quant"),
        "format": "pt",
        "wörd": "ß",
    }
    assert described == {
        "w": {
            "recipe": RECIPE,
            "dtype": "float32",
            "block": [1, 4],
            "arrays": {
                "codes": {"dtype": "int8", "bits": 3, "shape": [4, 8], "signed": True},
                "scale": {"dtype": "float8_e8m0fnu", "bits": 8, "shape": [4, 2], "signed": False},
                "zero_point": {"dtype": "int32", "bits": 3, "shape": [4, 2], "signed": True},
            },
        },
        "v": {
            "recipe": "symmetric bits=8",
            "dtype": "float32",
            "block": [6],
            "arrays": {
                "codes": {"dtype": "int8", "bits": 8, "shape": [6], "signed": True},
                "scale": {"dtype": "float32", "bits": 32, "shape": [1], "signed": False},
            },
        },
    }


def test_what_the_official_library_wrote_again_is_still_read(tmp_path: Path) -> None:
    file, again = tmp_path / "file", tmp_path / "again"
    q = qcore.quantize(matrix(5, 6), "asymmetric bits=4 granularity=channel:0")
    qcore.save(file, {"w": q, "norm": matrix(3)}, {"format": "pt"})
    with safe_open(file, "np") as opened:
        save_file(load_file(file), again, opened.metadata())
    found = qcore.load(again)
    assert found.keys() == {"w", "norm"}
    theirs = found["w"]
    assert isinstance(theirs, QuantizedTensor)
    assert theirs.dequantize().tobytes() == q.dequantize().tobytes()


def test_a_file_is_a_mapping_that_reads_what_is_asked_for(file: Path) -> None:
    opened = qcore.QuantizedFile(file)
    assert (len(opened), list(opened)) == (5, ["norm", "w", "half", "v", "ids"])
    assert "w" in opened
    assert "norm" in opened
    assert "w:codes" not in opened
    assert opened.metadata == {"format": "pt", "wörd": "ß"}
    assert list(opened.quantized) == ["w", "v"]
    assert [opened.quantized["w"].nbytes, opened.quantized["v"].nbytes] == [12 + 8 + 3, 6 + 4]
    assert opened.get("absent") is None
    with pytest.raises(KeyError):
        opened["absent"]
    with pytest.raises(KeyError):
        opened["w:codes"]
    file.write_bytes(file.read_bytes()[:-1])
    assert "w" in opened
    with pytest.raises(ReadError, match="has changed since it was listed"):
        opened["w"]


def test_codes_of_a_byte_each_and_all_that_is_kept_are_mapped_and_not_read(tmp_path: Path) -> None:
    large = np.zeros((1024, 8192), np.float32)
    path = tmp_path / "file"
    qcore.save(path, {"w": qcore.quantize(large, "symmetric bits=8"), "kept": large})
    tracemalloc.start()
    found = qcore.load(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found["w"].shape == found["kept"].shape == (1024, 8192)
    assert peak < 2_000_000


def test_a_file_may_hold_nothing_or_nothing_quantized(tmp_path: Path) -> None:
    qcore.save(tmp_path / "file", {})
    assert qcore.load(tmp_path / "file") == {}
    qcore.save(tmp_path / "file", {"norm": matrix(3)})
    assert list(qcore.load(str(tmp_path / "file"))) == ["norm"]


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.text(max_size=8), unique=True, max_size=4), st.text())
def test_names_and_texts_may_be_any(tmp_path: Path, names: list[str], text: str) -> None:
    tensors: dict[str, Any] = {
        name: qcore.quantize(matrix(2, 3), "symmetric bits=4") if i % 2 else matrix(2)
        for i, name in enumerate(names)
    }
    taken = {f"{name}:{field}" for name in names for field in ("codes", "scale")}
    if not taken.isdisjoint(names):
        return
    qcore.save(tmp_path / "file", tensors, {text: text} if not text.startswith("qcore.") else {})
    assert list(qcore.load(tmp_path / "file")) == names


# --- what is not saved ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tensors", "metadata", "says"),
    [
        ({"w": qcore.quantize(matrix(2), "symmetric"), "w:codes": matrix(2)}, {},
         "tensor 'w:codes': there would be two of that name; rename one"),
        ({"w": np.array(["text"])}, {}, "tensor 'w': it holds str128, which safetensors has not"),
        ({"w": np.zeros(3, complex)}, {}, "tensor 'w': it holds complex128, which safetensors"),
        ({}, {"qcore.layout": "9"}, "metadata 'qcore.layout': 'qcore.…' is qcore's own"),
        ({}, {"epoch": 3}, "metadata 'epoch' is no text"),
    ],
)  # fmt: skip
def test_what_cannot_be_saved_is_one_line_and_leaves_the_old_file(
    tmp_path: Path, tensors: Mapping[str, Any], metadata: Any, says: str
) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(UsageError, match=f"^{re.escape(f'{path}: {says}')}"):
        qcore.save(path, tensors, metadata)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "old"


# --- what is damaged ------------------------------------------------------------------------------


def changed(path: Path, change: Callable[[Json], object]) -> None:
    """Change the header, and its metadata as `__metadata__`, and leave the data."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[end:])


def of_metadata(key: str, value: Any) -> Callable[[Json], object]:
    def change(header: Json) -> None:
        header["__metadata__"].pop(key)
        if value is not None:
            header["__metadata__"][key] = value

    return change


def of_tensor(change: Callable[[Json], object]) -> Callable[[Json], object]:
    """Of what the metadata say of `w`."""

    def whole(header: Json) -> None:
        described = json.loads(header["__metadata__"]["qcore.tensors"])
        change(described["w"])
        header["__metadata__"]["qcore.tensors"] = json.dumps(described)

    return whole


def of_array(key: str, **values: Any) -> Callable[[Json], object]:
    return of_tensor(lambda described: described["arrays"][key].update(values))


def refusal(path: Path) -> str:
    """The line that says what is wrong with a file, found quickly and in little memory."""
    begin = time.monotonic()
    tracemalloc.start()
    with pytest.raises(ReadError) as caught:
        qcore.load(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.monotonic() - begin < 2
    assert peak < 20_000_000 + 10 * path.stat().st_size
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 1500
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (of_metadata("qcore.layout", None), "its metadata have no qcore.layout: qcore did not"),
        (of_metadata("qcore.layout", "2"), "its layout is '2', and this qcore reads 1; upgrade"),
        (of_metadata("qcore.layout", "1\x1b[31m"), r"its layout is '1\x1b[31m', and this qcore"),
        (of_metadata("qcore.tensors", None), "its metadata have no qcore.tensors; save it again"),
        (of_metadata("qcore.tensors", "{"), "qcore.tensors in its metadata: this is no JSON: "),
        (of_metadata("qcore.tensors", "[]"), "qcore.tensors in its metadata: the whole must be an"),
        (of_metadata("qcore.tensors", "[" * 100_000), "qcore.tensors in its metadata: this is no"),
        (of_metadata("qcore.tensors", '{"a":' * 90_000), "qcore.tensors in its metadata: this is"),
        (of_metadata("qcore.tensors", '{"w":1,"w":2}'), "qcore.tensors in its metadata: 'w' is "),
        (of_metadata("qcore.tensors", '{"w":NaN}'), "qcore.tensors in its metadata: NaN is no num"),
        (of_metadata("qcore.tensors", '{"\\ud800":1}'), "qcore.tensors in its metadata: this is"),
        (of_metadata("qcore.tensors", "9" * 5000), "qcore.tensors in its metadata: this is no"),
        (of_metadata("qcore.tensors", '{"w":1}'),
         "tensor 'w': its description must be an object, not a whole number"),
        (of_metadata("qcore.tensors", '{"a\\u001b\\n":1}'),
         r"tensor 'a\x1b\n': its description must be an object, not a whole number"),
        (lambda header: header.update({"w:gone": header.pop("w:scale")}),
         "tensor 'w': 'w:scale' must be there, float8_e8m0fnu of shape (4, 2); save it again"),
    ],
)  # fmt: skip
def test_metadata_that_say_nothing_are_one_line(
    file: Path, change: Callable[[Json], object], says: str
) -> None:
    changed(file, change)
    assert refusal(file).startswith(says)


def removed(key: str) -> Callable[[Json], object]:
    return of_tensor(lambda described: described.pop(key))


def replaced(**values: Any) -> Callable[[Json], object]:
    return of_tensor(lambda described: described.update(values))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        *((removed(key), f"'{key}' is missing") for key in ("recipe", "dtype", "block", "arrays")),
        (replaced(recipe=3), "'recipe' must be a text, not a whole number"),
        (replaced(recipe=""), "empty recipe; write it as: scheme bits=N granularity=…"),
        (replaced(recipe="nobodys bits=4"), "unknown scheme 'nobodys'; installed: "),
        (replaced(recipe="symmetric bits=" + "9" * 900), "'symmetric' has 2 to 16 bits, not 999"),
        (replaced(recipe="x" * 500_000), "a recipe is a line of at most 1000 letters"),
        (replaced(recipe="symmetric\x1b[2J bits=4"), "a recipe is a line of at most 1000 letters"),
        (replaced(recipe="symmetric bits=3"), "'block' must be [4, 8], as its recipe has it"),
        (replaced(recipe="symmetric bits=3 granularity=group:" + "4" * 500), "'group:4444"),
        (replaced(recipe="symmetric bits=3 granularity=channel:7"), "'channel:7'"),
        (replaced(block=[1, 5]), "'block' must be [1, 4], as its recipe has it"),
        (replaced(block=None), "'block' must be a list, not null"),
        (replaced(arrays=[]), "'arrays' must be an object, not a list"),
        (replaced(arrays={}), "'codes' is missing among its arrays"),
        (of_tensor(lambda d: d["arrays"].pop("scale")), "'scale' is missing among its arrays"),
        (of_tensor(lambda d: d["arrays"].update(codes=7)), "the description of an array must be"),
        (of_array("codes", shape=[4, 7]), "'group:4': 4 does not divide axis 1 of shape (4, 7)"),
        (of_array("codes", shape=[4, 12]), "array 'scale' is not described as its recipe has it"),
        (of_array("codes", shape=[2**62, 2**62, 8]), "'block' must be [1, 1, 4], as its recipe"),
        (of_array("codes", bits=4), "array 'codes' is not described as its recipe has it"),
        (of_array("codes", dtype="uint8"), "array 'codes' is not described as its recipe has it"),
        (of_array("codes", signed=False), "array 'codes' is not described as its recipe has it"),
        (of_array("scale", dtype="float32", bits=32), "array 'scale' is not described as its"),
        (of_array("scale", dtype="int32", bits=8), "array 'scale' is not described as its recipe"),
        (of_array("scale", shape=[8]), "array 'scale' is not described as its recipe has it"),
        (of_array("zero_point", shape=[4, 2, 1]), "array 'zero_point' is not described as its"),
        (of_array("zero_point", shape=[4]), "array 'zero_point' is not described as its recipe"),
        (of_array("zero_point", dtype="float32", bits=32), "array 'zero_point' is not described"),
        (of_array("zero_point", bits=4), "'w:zero_point' must be there, uint8 of shape (4,); save"),
        (of_array("zero_point", bits=17), "an element of int32 takes 32 bits, not 17; integers"),
        (of_tensor(lambda d: d["arrays"].update({"of\x1b": d["arrays"]["codes"]})),
         r"array 'of\x1b' is not described as its recipe has it"),
        (of_tensor(lambda d: d["arrays"].update(more=d["arrays"]["scale"])),
         "'w:more' must be there, float8_e8m0fnu of shape (4, 2); save it again"),
    ],
)  # fmt: skip
def test_a_description_that_is_not_what_its_recipe_gives_is_one_line(
    file: Path, change: Callable[[Json], object], says: str
) -> None:
    changed(file, change)
    assert refusal(file).startswith(f"tensor 'w': {says}")


def test_arrays_of_another_type_or_shape_than_described_are_one_line(file: Path) -> None:
    changed(file, lambda header: header["w:codes"].update(dtype="I8"))
    says = "tensor 'w': 'w:codes' must be there, uint8 of shape (12,); save it again"
    assert refusal(file) == says
    changed(file, lambda header: header["w:codes"].update(dtype="U8", shape=[3, 4]))
    assert refusal(file) == says


def test_a_name_is_for_one_tensor(file: Path) -> None:
    changed(file, lambda header: header.update({"w": header.pop("norm")}))
    assert refusal(file) == "tensor 'w': it is there twice; save it again"


def test_an_array_is_for_one_tensor(file: Path) -> None:
    def share(header: Json) -> None:
        described = json.loads(header["__metadata__"]["qcore.tensors"])
        described["w"]["arrays"]["b:codes"] = described["w"]["arrays"]["scale"]
        described["w:b"] = described.pop("v")
        header["__metadata__"]["qcore.tensors"] = json.dumps(described)
        header["w:b:codes"] = header.pop("v:codes")
        header["w:b:scale"] = header.pop("v:scale")

    changed(file, share)
    assert "tensor 'w" in refusal(file)


def loaded(path: Path) -> dict[str, Any] | str:
    """What is loaded, or the line that says why not."""
    try:
        return qcore.load(path)
    except ReadError as error:
        return str(error)


def with_data(path: Path, name: str, data: bytes) -> None:
    """Write other bytes at the begin of a stored tensor."""
    content = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    begin = start + json.loads(content[8:start])[name]["data_offsets"][0]
    content[begin : begin + len(data)] = data
    path.write_bytes(content)


@pytest.mark.parametrize("length", [0, 15, 17])
def test_codes_of_another_length_are_one_line(tmp_path: Path, length: int) -> None:
    path = tmp_path / "file"
    qcore.save(path, {"w": qcore.quantize(matrix(4, 8), "symmetric bits=4")})

    def resize(header: Json) -> None:  # they come last
        header["w:codes"].update(shape=[length], data_offsets=[4, 4 + length])

    changed(path, resize)
    path.write_bytes(path.read_bytes()[:-16] + bytes(length))
    assert (
        refusal(path) == "tensor 'w': 'w:codes' must be there, uint8 of shape (16,); save it again"
    )


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_codes_out_of_range_are_one_line(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "file"
    qcore.save(path, {"w": qcore.quantize(matrix(4, 8), f"symmetric bits={bits}")})
    lowest = (1 << (bits - 1)).to_bytes(2, "little")  # which a symmetric scheme does not use
    with_data(path, "w:codes", lowest[: 1 if bits <= 8 else 2])
    assert refusal(path).startswith(f"tensor 'w': gave codes from -{1 << (bits - 1)} to ")


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf, -0.0])
def test_a_scale_that_is_none_is_one_line(file: Path, scale: float) -> None:
    with_data(file, "v:scale", np.float32(scale).tobytes())
    assert refusal(file) == "tensor 'v': every scale is a positive finite float32 number"


def test_a_scale_of_e8m0_that_is_no_number_is_one_line(file: Path) -> None:
    with_data(file, "w:scale", b"\xff")
    assert refusal(file) == "tensor 'w': every scale is a positive finite float32 number"


def test_an_offset_that_is_no_number_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "file"
    qcore.save(path, {"w": qcore.quantize(matrix(4, 8), "uniform bits=4")})
    with_data(path, "w:offset", np.float32(np.nan).tobytes())
    assert refusal(path) == "tensor 'w': every offset is a finite number"


@pytest.mark.parametrize("shape", [[2**40, 0], [0, 2**62, 2**62], [1] * 63 + [0], [0] * 64])
def test_a_tensor_of_nothing_may_have_any_shape_that_numpy_has(
    tmp_path: Path, shape: list[int]
) -> None:
    path = tmp_path / "file"
    qcore.save(path, {"w": qcore.quantize(np.zeros(0, np.float32), "symmetric bits=4")})

    def claim(header: Json) -> None:
        recipe = "symmetric bits=4 granularity=channel:-1"
        codes = {"dtype": "int8", "bits": 4, "shape": shape, "signed": True}
        grid = [*[int(bool(n)) for n in shape[:-1]], shape[-1]]
        block = [*[max(1, n) for n in shape[:-1]], 1]
        scale = {"dtype": "float32", "bits": 32, "shape": grid, "signed": False}
        header["w:scale"]["shape"] = grid
        described = {"recipe": recipe, "dtype": "float32", "block": block}
        described["arrays"] = {"codes": codes, "scale": scale}
        header["__metadata__"]["qcore.tensors"] = json.dumps({"w": described})

    changed(path, claim)
    found = loaded(path)
    assert isinstance(found, str) or found["w"].shape == tuple(shape)


@settings(
    deadline=None, max_examples=70, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_whatever_is_changed_in_the_metadata_no_other_error_is_raised(
    file: Path, data: st.DataObject
) -> None:
    """Of any depth: a value is replaced by another, or a text by one of its own kind."""
    content = file.read_bytes()

    def spoil(header: Json) -> None:
        described = json.loads(header["__metadata__"]["qcore.tensors"])
        holder: Any = described
        while True:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            key = data.draw(st.sampled_from(keys))
            deeper = isinstance(holder[key], dict | list) and holder[key]
            if not (deeper and data.draw(st.booleans())):
                break
            holder = holder[key]
        holder[key] = data.draw(
            st.one_of(
                st.none(), st.booleans(), st.integers(-3, 2**64), st.floats(allow_nan=False),
                st.text(max_size=5), st.just([]), st.just({}), st.lists(st.integers(0, 9)),
                st.sampled_from(["float16", "int16", "pot bits=3", "asymmetric bits=3"]),
            )
        )  # fmt: skip
        header["__metadata__"]["qcore.tensors"] = json.dumps(described)

    changed(file, spoil)
    found = loaded(file)
    file.write_bytes(content)
    assert not isinstance(found, str) or found.isprintable()

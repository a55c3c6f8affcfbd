"""Quantized files are read like any other: as the values that their codes stand for."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save_file

import qcore
from qcore import FitContext, Quantizer, QuantParams, ReadError, RoundingPolicy
from qcore.builtin.readers.quantized import QuantizedReader
from qcore.builtin.readers.safetensors import SafetensorsReader
from qcore.loading import plugins
from qcore.locating import reader_of
from qcore.registry import Entry
from qcore.testing import run_checks

READER = QuantizedReader()
X = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    tensors = {"norm": X[0], "w": qcore.quantize(X, "apot bits=4 granularity=channel:0")}
    qcore.save(path, tensors, {"format": "pt"})
    return path


def test_it_lists_each_tensor_with_the_recipe_that_it_is_stored_by(file: Path) -> None:
    norm, w = READER.tensors(file)
    assert (norm.name, norm.shape, norm.dtype, norm.encoding) == ("norm", (8,), "float32", "")
    assert (w.name, w.shape, w.dtype, w.path) == ("w", (4, 8), "float32", file)
    assert (w.encoding, w.nbytes) == ("apot bits=4 granularity=channel:0", 16 + 16)
    assert pickle.loads(pickle.dumps(w)) == w
    assert hash(w) == hash(pickle.loads(pickle.dumps(w)))


def test_it_reads_the_values_of_the_codes_and_what_was_kept_as_it_is(file: Path) -> None:
    norm, w = map(READER.read, READER.tensors(file))
    assert norm.tobytes() == X[0].tobytes()
    assert w.tobytes() == qcore.fake_quantize(X, "apot bits=4 granularity=channel:0").tobytes()
    assert w.dtype == np.float32


def test_the_texts_that_were_saved_are_its_metadata_and_qcore_s_own_are_not(file: Path) -> None:
    assert READER.metadata(file) == {"format": "pt"}


def test_it_keeps_the_laws_of_readers(file: Path) -> None:
    results = run_checks(READER, examples=[file])
    assert [(r.check, r.message) for r in results if r.outcome != "passed"] == []


def test_a_quantized_file_is_not_taken_for_a_plain_one_nor_the_other_way(
    tmp_path: Path, file: Path
) -> None:
    plain = tmp_path / "plain"
    save_file({"w": X}, plain, {"format": "pt"})
    assert reader_of(file) == READER
    assert reader_of(plain) == SafetensorsReader()


@pytest.mark.parametrize(
    "name", ["qcore.layout", '"qcore.layout":"1"', 'a"qcore.layout": "', "qcore.tensors"]
)
def test_a_tensor_or_a_text_that_is_called_like_the_mark_is_none(tmp_path: Path, name: str) -> None:
    path = tmp_path / "plain"
    save_file({name: X, f"{name}:codes": X}, path, {"about": f'"{name}": "1"'})
    assert not READER.sniff(path)


def test_the_mark_is_found_whatever_is_first_among_the_metadata(tmp_path: Path, file: Path) -> None:
    """A writer may put `qcore.tensors`, which is long, before `qcore.layout`."""
    content = file.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    metadata = header.pop("__metadata__")
    described = json.dumps(json.loads(metadata.pop("qcore.tensors")), indent=1000)
    assert len(described) > 1 << 16
    text = json.dumps({"__metadata__": {"qcore.tensors": described, **metadata}, **header})
    file.write_bytes(len(text).to_bytes(8, "little") + text.encode() + content[start:])
    assert READER.sniff(file)
    assert [info.name for info in READER.tensors(file)] == ["norm", "w"]


@settings(
    deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=30))
def test_whatever_follows_the_mark_is_read_or_a_read_error(tmp_path: Path, junk: bytes) -> None:
    path = tmp_path / "file"
    start = b'{"__metadata__":{"qcore.layout":"1"'
    path.write_bytes(len(start + junk).to_bytes(8, "little") + start + junk)
    assert READER.sniff(path)
    with pytest.raises(ReadError):
        list(READER.tensors(path))


def test_a_file_that_has_changed_is_not_read_by_what_was_listed(tmp_path: Path, file: Path) -> None:
    listed = {info.name: info for info in READER.tensors(file)}
    qcore.save(file, {"w": qcore.quantize(X[:2], "symmetric bits=4")})
    for info in listed.values():
        with pytest.raises(ReadError, match="the file has changed since it was listed; list it"):
            READER.read(info)
    file.unlink()
    with pytest.raises(ReadError, match="it cannot be opened"):
        READER.read(listed["w"])


def test_of_the_same_shape_what_is_there_now_is_read(file: Path) -> None:
    (w,) = (info for info in READER.tensors(file) if info.name == "w")
    READER.read(w)
    again = qcore.quantize(2 * X, "symmetric bits=5")
    qcore.save(file, {"w": again})
    assert READER.read(w).tobytes() == again.dequantize().tobytes()


def test_without_the_plugin_of_a_scheme_the_line_says_what_is_missing(file: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "qcore", "inspect", str(file)],
        env={**os.environ, "QCORE_PLUGINS": "qcore-symmetric"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"qcore: {file}: tensor 'w': unknown scheme 'apot'")
    assert done.stderr.endswith("; install the plugin that has it\n")


def test_a_scheme_that_cannot_decode_what_is_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass(frozen=True)
    class Book(Quantizer):
        """Codes are places in a book that the params hold."""

        id: ClassVar[str] = "book"
        bits: ClassVar[int] = 2

        def fit(self, blocks: NDArray[np.float32], context: FitContext) -> QuantParams:
            ones = np.ones((len(blocks), 1), np.float32)
            return QuantParams(ones, extra={"book": np.zeros((len(blocks), 4), np.float32)})

        def encode(
            self, blocks: NDArray[np.float32], params: QuantParams, rounding: RoundingPolicy
        ) -> NDArray[Any]:
            return np.zeros(blocks.shape, np.int8)

        def decode(self, codes: NDArray[Any], params: QuantParams) -> NDArray[np.float32]:
            return np.take_along_axis(params.extra["book"], codes, axis=1)

    monkeypatch.setitem(plugins().registry.entries["scheme"], "book", Entry(Book, "third-party"))
    path = tmp_path / "file"
    qcore.save(path, {"w": qcore.quantize(X, scheme=Book())})
    path.write_bytes(
        path.read_bytes().replace(b'"book\\"', b'"look\\"').replace(b":book", b":look")
    )
    (info,) = READER.tensors(path)
    with pytest.raises(ReadError) as caught:
        READER.read(info)
    says = "'book bits=2' cannot decode it: KeyError: 'book'"
    assert str(caught.value) == f"{path}: tensor 'w': {says}"


def test_a_remote_file_is_read_where_it_is(file: Path) -> None:
    upath = pytest.importorskip("upath")
    remote = upath.UPath("memory://models/quantized")
    remote.write_bytes(file.read_bytes())
    assert READER.sniff(remote)
    norm, w = READER.tensors(remote)
    assert READER.read(norm).tobytes() == X[0].tobytes()
    assert READER.read(w).tobytes() == next(
        READER.read(info).tobytes() for info in READER.tensors(file) if info.name == "w"
    )
    assert list(qcore.load("memory://models/quantized")) == ["norm", "w"]

"""Hugging Face's safetensors: a JSON header, then every tensor's bytes end to end, mapped."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
from numpy.typing import NDArray

from qcore.builtin.npy_header import as_array, first_bytes, mapped_bytes, open_file, quoted, shown
from qcore.errors import ReadError
from qcore.interfaces.reader import TensorInfo, TensorReader

INDEX = "model.safetensors.index.json"
LARGEST_HEADER = 100_000_000  # the format's own limit, bytes
NUMPY_DTYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16",
    "U32": "uint32", "I32": "int32", "U64": "uint64", "I64": "int64",
    "F16": "float16", "F32": "float32", "F64": "float64", "C64": "complex64",
}  # fmt: skip
ML_DTYPES = {
    "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
}  # fmt: skip
NAMES = NUMPY_DTYPES | ML_DTYPES
BITS = {key: 8 * np.dtype(name).itemsize for key, name in NUMPY_DTYPES.items()}
BITS |= {key: 16 if key == "BF16" else 8 for key in ML_DTYPES}
BITS |= {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}


@dataclass(frozen=True)
class SafetensorsReader(TensorReader):
    """One file, or a folder of shards with or without its index.

    Source: the format section of safetensors' README.
    """

    id: ClassVar[str] = "safetensors"

    def sniff(self, path: Path) -> bool:
        if os.path.isdir(path):
            return os.path.isfile(path / INDEX) or bool(_shards(path))
        start = first_bytes(path, 9)
        if start is None:
            return False
        length = int.from_bytes(start[:8], "little")
        magic = start[8:] == b"{" and 2 <= length <= LARGEST_HEADER
        return magic or path.suffix.lower() == ".safetensors"

    def tensors(self, path: Path) -> Iterator[TensorInfo]:
        if not os.path.isdir(path):
            return iter(_tensors(path))
        index = _index(path) if os.path.isfile(path / INDEX) else {}
        shards = sorted({path / name for name in index.values()}) or _shards(path)
        found: dict[str, TensorInfo] = {}
        for shard in shards:
            for info in _tensors(shard):
                if info.name in found:
                    both = f"it is in {found[info.name].path.name!r} and in {shard.name!r}"
                    raise ReadError(f"{shown(path, info.name)}: {both}; give one of the files")
                found[info.name] = info
        for name, shard_name in index.items():
            if name not in found or found[name].path.name != shard_name:
                message = f"{INDEX} says that it is in {quoted(shard_name)}, and it is not"
                raise ReadError(f"{shown(path, name)}: {message}; download the folder again")
        return iter(found.values())

    def read(self, info: TensorInfo) -> NDArray[Any]:
        where = shown(info.path, info.name)
        dtype = _dtype(info.dtype, where)
        begin, end, total = info.where
        if end - begin != math.prod(info.shape) * dtype.itemsize:
            raise ReadError(f"{where}: {end - begin} bytes are not {info.shape} of {info.dtype}")
        with open_file(info.path) as file:
            if os.fstat(file.fileno()).st_size != total:
                raise ReadError(f"{where}: the file has changed since it was listed; list it again")
            data = mapped_bytes(file, begin, end - begin, where)
        return as_array(data, dtype, info.shape, where)


def _tensors(path: Path) -> list[TensorInfo]:
    """What one file holds, every rule of the format checked."""
    with open_file(path) as file:
        total = os.fstat(file.fileno()).st_size
        start, header = _header(file, total, shown(path))
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ReadError(f"{shown(path)}: __metadata__ must map strings to strings; save it again")
    infos = [_info(path, name, entry, start, total) for name, entry in header.items()]
    end, before = start, ""
    for info in sorted(infos, key=lambda info: info.where):
        begin = info.where[0]
        if begin < end:
            message = f"its bytes overlap those of {quoted(before)}"
            raise ReadError(f"{shown(path, info.name)}: {message}; save it again")
        if begin > end:
            message = f"{begin - end} bytes before it belong to no tensor"
            raise ReadError(f"{shown(path, info.name)}: {message}; save it again")
        end, before = info.where[1], info.name
    if end < total:
        message = f"the last {total - end} bytes belong to no tensor; save or download it again"
        raise ReadError(f"{shown(path)}: {message}")
    return infos


def _header(file: BinaryIO, total: int, where: str) -> tuple[int, dict[str, Any]]:
    """Where the data begins, and the header."""
    start = file.read(8)
    if len(start) < 8:
        message = f"a safetensors file begins with 8 bytes of length, and {total} bytes are there"
        raise ReadError(f"{where}: truncated: {message}; download it again")
    length = int.from_bytes(start, "little")
    if start == b"version ":  # what Git leaves when LFS did not run
        raise ReadError(f"{where}: it is a Git LFS pointer, not the tensors; run git lfs pull")
    if length > LARGEST_HEADER:
        message = f"its header should be {length} bytes long, and {LARGEST_HEADER} is the limit"
        raise ReadError(f"{where}: not a safetensors file: {message}")
    if length > total - 8:
        message = f"its header needs {length} bytes and {total - 8} are there"
        raise ReadError(f"{where}: truncated: {message}; download it again")
    text = file.read(length)
    if not text.startswith(b"{"):
        raise ReadError(f"{where}: not a safetensors file: its header does not begin with '{{'")
    return 8 + length, _json(text, f"{where}: its header")


def _info(path: Path, name: str, entry: Any, start: int, total: int) -> TensorInfo:
    where = shown(path, name)
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        message = "its header entry needs dtype, shape and data_offsets"
        raise ReadError(f"{where}: {message}; save it again")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or not re.fullmatch(r"[A-Z][A-Z0-9_]{0,31}", dtype):
        raise ReadError(f"{where}: dtype must be a name such as F32; save it again")
    if not _are_lengths(shape) or len(shape) > 64:
        limits = "at most 64 whole numbers from 0 to 2**63 - 1"
        raise ReadError(f"{where}: shape must be {limits}; save it again")
    if not _are_lengths(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        message = "data_offsets must be [begin, end], two whole numbers in order"
        raise ReadError(f"{where}: {message}; save it again")
    begin, end = offsets
    bits = BITS.get(dtype)
    if bits is not None and math.prod(shape) * bits != (end - begin) * 8:
        sizes = f"{tuple(shape)} of {dtype} is {math.prod(shape) * bits} bits"
        raise ReadError(f"{where}: {sizes}, and data_offsets give {end - begin} bytes")
    if start + end > total:
        message = f"its data ends at byte {start + end} and the file has {total}"
        raise ReadError(f"{where}: truncated: {message}; download it again")
    place = (start + begin, start + end, total)
    return TensorInfo(name, tuple(shape), NAMES.get(dtype, dtype), path, place)


def _index(folder: Path) -> dict[str, str]:
    """The index's map from tensors to the names of shards, each a file in `folder`."""
    path = folder / INDEX
    with open_file(path) as file:
        text = file.read(LARGEST_HEADER + 1)
    if len(text) > LARGEST_HEADER:
        raise ReadError(f"{shown(path)}: more than {LARGEST_HEADER} bytes; it is no index")
    index = _json(text, f"{shown(path)}: it")
    names = index.get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        message = "weight_map must map tensors to file names; download it again"
        raise ReadError(f"{shown(path)}: {message}")
    for name in set(names.values()):
        # both separators on every system, so that an index means the same everywhere
        if not name.strip(".") or any(c in name for c in "/\\:\0"):
            message = f"weight_map names {quoted(name)}, which is not a plain file name"
            raise ReadError(f"{shown(path)}: {message}; refused")
        if not os.path.isfile(folder / name):
            message = f"weight_map names {quoted(name)}, which is not there; download it"
            raise ReadError(f"{shown(path)}: {message}")
    return names


def _shards(folder: Path) -> list[Path]:
    # macOS leaves ._name files that are no tensors
    return sorted(p for p in folder.glob("[!.]*.safetensors") if os.path.isfile(p))


def _json(text: bytes, what: str) -> dict[str, Any]:
    """A JSON object in strict UTF-8, no key twice.

    Raises:
        ReadError: it is anything else.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ReadError(f"{what} holds the key {quoted(key)} twice; save it again")
            key.encode()  # \ud800 is JSON, but no text
            found[key] = value
        return found

    def constant(name: str) -> None:
        raise ReadError(f"{what} is not valid JSON: it holds {name}; save or download it again")

    try:
        value = json.loads(text.decode(), object_pairs_hook=unique, parse_constant=constant)
    except UnicodeError as error:
        raise ReadError(f"{what} is not valid UTF-8; save or download it again") from error
    except (ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "too deep or too large"
        raise ReadError(f"{what} is not valid JSON: {reason}; save or download it again") from error
    if not isinstance(value, dict):
        raise ReadError(f"{what} is not a JSON object; save or download it again")
    return value


def _dtype(name: str, where: str) -> np.dtype[Any]:
    """The NumPy dtype of a listed tensor; ml_dtypes is imported only if it is one of its own."""
    if name in ML_DTYPES.values():
        try:
            import ml_dtypes

            dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
            return dtype
        except (ImportError, AttributeError) as error:
            message = f"{name} needs ml_dtypes 0.5 or later; pip install -U ml_dtypes"
            raise ReadError(f"{where}: {message}") from error
    if name in NUMPY_DTYPES.values():
        return np.dtype(name).newbyteorder("<")
    if name in BITS:
        message = f"{name} packs values across bytes, which qcore does not read"
        raise ReadError(f"{where}: {message}; save it in a dtype of whole bytes")
    raise ReadError(f"{where}: dtype {quoted(name)} is not read; qcore reads {', '.join(NAMES)}")


def _are_lengths(value: object) -> bool:
    """Whether `value` is a list of whole numbers that a 64-bit system can count."""
    return isinstance(value, list) and all(type(v) is int and 0 <= v < 2**63 for v in value)

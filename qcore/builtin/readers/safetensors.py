"""Hugging Face's safetensors: a JSON header, then every tensor's bytes end to end, mapped."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from qcore import json_file
from qcore.builtin.readers.dtypes import BITS, from_stored
from qcore.builtin.readers.siblings import sibling, stays
from qcore.errors import ReadError
from qcore.interfaces.reader import TensorInfo, TensorReader
from qcore.stored_file import StoredFile, is_file, is_folder, listed, quoted, shown

INDEX = "model.safetensors.index.json"
LARGEST_HEADER = 100_000_000  # the format's own limit, bytes
_MARK = re.compile(rb'"qcore\.(layout|tensors)"\s*:\s*"')
_SEARCHED = 1 << 16  # bytes; writers put metadata before all tensors
_SMALL_HEADER = 1 << 20  # bytes, of some 10,000 tensors; Python takes up to forty times as many
_LEAST_DATA = 8  # bytes for each byte of a larger header
_LARGEST_INDEX = 10_000_000  # bytes; those of the largest models have nine million
_MOST_VALUES = 100_000  # in an index, which has one for each tensor
NAMES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16",
    "U32": "uint32", "I32": "int32", "U64": "uint64", "I64": "int64",
    "F16": "float16", "F32": "float32", "F64": "float64", "C64": "complex64",
    "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu", "F4": "float4_e2m1fn",
}  # fmt: skip
WIDTHS = {key: BITS[name] for key, name in NAMES.items()} | {"F6_E2M3": 6, "F6_E3M2": 6}


@dataclass(frozen=True)
class SafetensorsReader(TensorReader):
    """One file, or a folder of shards with or without its index.

    Source: the format section of safetensors' README.
    """

    id: ClassVar[str] = "safetensors"
    suffixes: ClassVar[tuple[str, ...]] = (".safetensors",)

    def sniff(self, path: Path) -> bool:
        if is_folder(path):
            with contextlib.suppress(ReadError):
                shards = _shards(path)
                return is_file(path / INDEX) or (
                    bool(shards) and not any(is_quantized(s) for s in shards if stays(s, path))
                )
        start = StoredFile.peek(path, 9)
        return start[8:] == b"{" and 2 <= int.from_bytes(start[:8], "little") <= LARGEST_HEADER

    def tensors(self, path: Path) -> Iterator[TensorInfo]:
        if not is_folder(path):
            return iter(_tensors(path))
        index = path / INDEX
        weights = _weights(sibling(path, INDEX, path)) if is_file(index) else {}
        named = {name: sibling(path, name, index) for name in sorted(set(weights.values()))}
        shards = [*named.values()] or [sibling(path, shard.name, path) for shard in _shards(path)]
        found: dict[str, TensorInfo] = {}
        for shard in shards:
            for info in _tensors(shard):
                if info.name in found:
                    both = f"it is in {found[info.name].path.name!r} and in {shard.name!r}"
                    raise ReadError(f"{shown(path, info.name)}: {both}; give one of the files")
                found[info.name] = info
        for name, shard_name in weights.items():
            if name not in found or found[name].path != named[shard_name]:
                message = f"{INDEX} says that it is in {quoted(shard_name)}, and it is not"
                raise ReadError(f"{shown(path, name)}: {message}; download the folder again")
        return iter(found.values())

    def read(self, info: TensorInfo) -> NDArray[Any]:
        where = shown(info.path, info.name)
        if info.dtype in WIDTHS:
            message = f"{info.dtype} packs values across bytes, which qcore does not read"
            raise ReadError(f"{where}: {message}; save it in a dtype of whole bytes")
        if info.dtype not in BITS:
            known = ", ".join(NAMES)
            raise ReadError(f"{where}: dtype {quoted(info.dtype)} is not read; qcore reads {known}")
        begin, end, total = info.where
        with StoredFile(info.path) as file:
            if file.size != total:
                message = "the file has changed since it was listed; list it again"
                raise file.error(message, info.name)
            data = file.bytes_at(begin, end - begin, info.name)
        return from_stored(data, info.dtype, info.shape, where)

    def metadata(self, path: Path) -> dict[str, str]:
        with StoredFile(path) as file:
            _, header = read_header(file)
        return dict(header.get("__metadata__", {}))


def _tensors(path: Path) -> list[TensorInfo]:
    """What one file holds, every rule of the format checked."""
    with StoredFile(path) as file:
        start, header = read_header(file)
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
            raise file.error("__metadata__ must map strings to strings; save it again")
        infos = [_info(file, name, entry, start) for name, entry in header.items()]
        end, before = start, ""
        for info in sorted(infos, key=lambda info: info.where):
            begin = info.where[0]
            if begin < end:
                message = f"its bytes overlap those of {quoted(before)}"
                raise file.error(f"{message}; save it again", info.name)
            if begin > end:
                message = f"{begin - end} bytes before it belong to no tensor"
                raise file.error(f"{message}; save it again", info.name)
            end, before = info.where[1], info.name
        if end < file.size:
            message = f"the last {file.size - end} bytes belong to no tensor"
            raise file.error(f"{message}; save or download it again")
    return infos


def read_header(file: StoredFile) -> tuple[int, dict[str, Any]]:
    """Where the data begins, and the header: a JSON object, of which nothing else is known yet.

    Raises:
        ReadError: it is not there, or no JSON object.
    """
    if file.size < 8:
        message = f"a safetensors file begins with 8 bytes of length, and {file.size} are there"
        raise file.error(f"truncated: {message}; download it again")
    start = file.read(0, 8)
    length = int.from_bytes(start, "little")
    if start == b"version ":  # what Git leaves when LFS did not run
        raise file.error("it is a Git LFS pointer, not the tensors; run git lfs pull")
    if length > LARGEST_HEADER:
        message = f"its header should be {length} bytes long, and {LARGEST_HEADER} is the limit"
        raise file.error(f"not a safetensors file: {message}")
    if length > file.size - 8:
        message = f"its header needs {length} bytes and {file.size - 8} are there"
        raise file.error(f"truncated: {message}; download it again")
    if length > largest_header(file.size):
        message = f"its header takes {length} of its {file.size} bytes, more than tensors need"
        raise file.error(f"{message}; save fewer tensors to a file")
    if file.read(8, min(length, 1)) != b"{":
        raise file.error("not a safetensors file: its header does not begin with '{'")
    return 8 + length, _object(file.read(8, length), f"{shown(file.path)}: its header")


def is_quantized(path: Path) -> bool:
    """Whether a file is one of qcore's own, in which a tensor is several; told from its start."""
    start = StoredFile.peek(path, _SEARCHED)
    return start[8:9] == b"{" and _MARK.search(start) is not None


def largest_header(size: int) -> int:
    """The longest header that is read of a file of `size` bytes; what it says takes far more."""
    return min(LARGEST_HEADER, max(_SMALL_HEADER, size // _LEAST_DATA))


def _info(file: StoredFile, name: str, entry: Any, start: int) -> TensorInfo:
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        message = "its header entry needs dtype, shape and data_offsets"
        raise file.error(f"{message}; save it again", name)
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or not re.fullmatch(r"[A-Z][A-Z0-9_]{0,31}", dtype):
        raise file.error("dtype must be a name such as F32; save it again", name)
    if not _are_lengths(shape) or len(shape) > 64:
        limits = "at most 64 whole numbers from 0 to 2**63 - 1"
        raise file.error(f"shape must be {limits}; save it again", name)
    if not _are_lengths(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        message = "data_offsets must be [begin, end], two whole numbers in order"
        raise file.error(f"{message}; save it again", name)
    begin, end = offsets
    bits = WIDTHS.get(dtype)
    if bits is not None and math.prod(shape) * bits != (end - begin) * 8:
        sizes = f"{tuple(shape)} of {dtype} is {math.prod(shape) * bits} bits"
        raise file.error(f"{sizes}, and data_offsets give {end - begin} bytes", name)
    if start + end > file.size:
        message = f"its data ends at byte {start + end} and the file has {file.size}"
        raise file.error(f"truncated: {message}; download it again", name)
    place = (start + begin, start + end, file.size)
    return TensorInfo(name, tuple(shape), NAMES.get(dtype, dtype), file.path, place)


def _weights(path: Path) -> dict[str, str]:
    """An index's map from tensors to the names of shards."""
    with StoredFile(path) as file:
        if file.size > _LARGEST_INDEX:
            raise file.error(f"an index of more than {_LARGEST_INDEX} bytes; give the shards alone")
        text = file.read(0, file.size)
        if sum(map(text.count, b"[{,")) > _MOST_VALUES:
            raise file.error(f"an index of more than {_MOST_VALUES} values; give the shards alone")
    index = _object(text, shown(path))
    names = index.get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        message = "weight_map must map tensors to file names; download it again"
        raise ReadError(f"{shown(path)}: {message}")
    return names


def _shards(folder: Path) -> list[Path]:
    """The files of a folder that are named as shards; macOS leaves ._name files that are none."""
    shards = (path for path in listed(folder) if path.suffix == ".safetensors")
    return [path for path in shards if not path.name.startswith(".") and is_file(path)]


def _object(text: bytes, where: str) -> dict[str, Any]:
    try:
        return json_file.parse(text)
    except ReadError as error:
        raise ReadError(f"{where}: {error}; save or download it again") from None


def _are_lengths(value: object) -> bool:
    """Whether `value` is a list of whole numbers that a 64-bit system can count."""
    return isinstance(value, list) and all(type(v) is int and 0 <= v < 2**63 for v in value)

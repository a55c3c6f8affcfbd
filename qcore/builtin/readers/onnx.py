"""ONNX models: the tensors of their graphs, in the file or in others beside it, mapped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from qcore.builtin.readers.dtypes import from_stored, stored_bytes
from qcore.builtin.readers.onnx_graphs import is_model, named_tensors
from qcore.builtin.readers.onnx_tensor import (
    DTYPES,
    RAW,
    TYPED,
    TensorProto,
    fits,
    stored_values,
    typed_length,
)
from qcore.builtin.readers.siblings import sibling
from qcore.errors import ReadError
from qcore.interfaces.reader import TensorInfo, TensorReader
from qcore.stored_file import StoredFile, quoted, shown

_READ = frozenset(DTYPES.values())
_NO_NUMBERS = {
    "segment": "it is one part of a tensor; save the tensor whole",
    "sparse": "it is sparse, which qcore does not read; save it dense",
}


@dataclass(frozen=True)
class OnnxReader(TensorReader):
    """One model: initializers by name, and by where they are used what nodes hold.

    The value of a Constant node has the name of the node's output. What is in the body of a node
    that computes `y` is called `y/then_branch/w`, after the attribute that holds the body, and
    `y/branches/0/w` where one attribute holds several. A tensor without any name is `unnamed_3`
    where three tensors precede it. Local functions and training are left out.

    Source: onnx.proto, and docs/ExternalData.md, of https://github.com/onnx/onnx.
    """

    id: ClassVar[str] = "onnx"
    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)

    def sniff(self, path: Path) -> bool:
        try:
            with StoredFile(path) as file:
                return is_model(file)
        except ReadError:
            return False

    def tensors(self, path: Path) -> Iterator[TensorInfo]:
        found: dict[str, TensorInfo] = {}
        with StoredFile(path) as file:
            if file.size > 8 and file.read(0, 8) == b"version ":  # Git leaves it without LFS
                raise file.error("it is a Git LFS pointer, not the model; run git lfs pull")
            external = _ExternalFiles(file)
            for tensor in named_tensors(file):
                if tensor.name in found:
                    raise file.error("two tensors have this name; save it again", tensor.name)
                found[tensor.name] = _info(file, tensor, external)
        return iter(found.values())

    def read(self, info: TensorInfo) -> NDArray[Any]:
        where = shown(info.path, info.name)
        if info.encoding:
            raise ReadError(f"{where}: {_NO_NUMBERS[info.encoding]}")
        if info.dtype not in _READ:
            known = ", ".join(DTYPES.values())
            raise ReadError(f"{where}: dtype {quoted(info.dtype)} is not read; qcore reads {known}")
        with StoredFile(info.path) as file:
            if file.size != info.where[3]:
                message = "the file has changed since it was listed; list it again"
                raise file.error(message, info.name)
            values = stored_values(file, info)
        if values.size != stored_bytes(info.dtype, info.shape):
            raise ReadError(f"{where}: {_misfit(info, values.size)}")
        return from_stored(values, info.dtype, info.shape, where)


class _ExternalFiles:
    """The files that hold data of a model, each looked for once."""

    def __init__(self, model: StoredFile) -> None:
        self._model = model
        self._known: dict[str, tuple[Path, int]] = {}

    def place(self, tensor: TensorProto, needed: int | None) -> tuple[Path, tuple[int, ...]]:
        """The file that holds a tensor's data, and where in it.

        Args:
            tensor: one whose data is external.
            needed: the bytes that it takes where its length is not given; None for the rest.

        Raises:
            ReadError: it is not said where, or not there.
        """
        location = tensor.external.get("location")
        if location is None:
            raise self._model.error(
                "its data is external, and it is not said where; save it again", tensor.name
            )
        if location not in self._known:
            path = sibling(self._model.path.parent, location, self._model.path, tensor.name)
            with StoredFile(path) as file:
                self._known[location] = path, file.size
        path, total = self._known[location]
        start = self._number(tensor, "offset", 0)
        length = self._number(tensor, "length", total - start if needed is None else needed)
        if not 0 <= start <= start + length <= total:
            message = f"its data is bytes {start} to {start + length} of {quoted(location)}"
            message = f"truncated: {message}, which has {total}; save or download both again"
            raise self._model.error(message, tensor.name)
        return path, (RAW, start, length, total)

    def _number(self, tensor: TensorProto, entry: str, otherwise: int) -> int:
        text = tensor.external.get(entry)
        if text is None:
            return otherwise
        if len(text) > 19 or not (text.isascii() and text.isdigit()):
            message = f"the {entry} of its external data is {quoted(text)}, no number of bytes"
            raise self._model.error(f"{message}; save it again", tensor.name)
        return int(text)


def _info(file: StoredFile, tensor: TensorProto, external: _ExternalFiles) -> TensorInfo:
    """A tensor as it is listed, once its place is known to hold what it says."""
    name, dtype, shape = tensor.name, tensor.dtype, tensor.shape
    if shape is None:
        limits = "at most 64 whole numbers from 0 to 2**63 - 1"
        raise file.error(f"its shape must be {limits}; save it again", name)
    message = (TYPED, tensor.start, tensor.end - tensor.start, file.size)
    if tensor.encoding:
        return TensorInfo(name, shape, dtype, file.path, message, tensor.encoding)
    if tensor.is_external:
        needed = stored_bytes(dtype, shape) if dtype in _READ else None
        info = TensorInfo(name, shape, dtype, *external.place(tensor, needed))
    elif tensor.raw:
        place = (RAW, tensor.raw.start, tensor.raw.end - tensor.raw.start, file.size)
        info = TensorInfo(name, shape, dtype, file.path, place)
    else:
        length = typed_length(tensor)
        info = TensorInfo(name, shape, dtype, file.path, message, nbytes=length)
    length = info.where[2] if info.nbytes is None else info.nbytes
    if dtype in _READ and not fits(info, length):
        raise file.error(_misfit(info, length), name)
    return info


def _misfit(info: TensorInfo, length: int) -> str:
    return f"{length} stored bytes cannot be {info.shape} of {info.dtype}; save it again"

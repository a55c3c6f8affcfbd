"""Quantized tensors in a safetensors file: packed codes, scales, and the recipes they came from.

Layout, version 1. A tensor `w` that is quantized is stored as `w:codes`, `w:scale` and one array
more for each other field of its params. The metadata hold `qcore.layout`, the version, and
`qcore.tensors`, a JSON object that says for each `w` its recipe, its former dtype, the extent of
its blocks and, of each array, dtype, shape and the bits that are kept of an element. Other tensors
are as they were. docs/files.md has it in full.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.blame import told
from qcore.builtin.readers.safetensors import SafetensorsReader
from qcore.errors import QcoreError, ReadError, UnknownIdError, UsageError, located
from qcore.interfaces.reader import TensorInfo
from qcore.json_file import parse
from qcore.locating import stored_path
from qcore.qtensor import QuantizedTensor
from qcore.recipe import Recipe
from qcore.safetensors_file import Entry, writing
from qcore.stored_file import quoted, shown
from qcore.stored_tensor import StoredTensor, stored_recipe

LAYOUT = "1"
OWN = "qcore."
"""What the names of qcore's own metadata begin with."""


def save(
    path: str | PathLike[str],
    tensors: Mapping[str, QuantizedTensor | NDArray[Any]],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write quantized tensors, and others as they are, into one safetensors file.

    Args:
        path: where; an old file is replaced once the new one is whole.
        tensors: by name.
        metadata: texts to be kept with them, by name.

    Raises:
        UsageError: a recipe that could not be read back, what safetensors cannot hold, names
            that collide, or a path that cannot be written.
        QcoreError: what a scheme gave is not what it declares, or the disk is full.
    """
    path = Path(path)
    arrays: dict[str, NDArray[Any]] = {}
    stored: dict[str, StoredTensor] = {}
    entries: list[Entry] = []
    for name, tensor in tensors.items():
        if isinstance(tensor, QuantizedTensor):
            stored[name] = _stored(path, name, tensor)
            entries += stored[name].entries.values()
        else:
            arrays[name] = np.asarray(tensor)
            entries.append(Entry(name, arrays[name].dtype.name, arrays[name].shape))
    texts = {**metadata_of(stored.values()), **_checked(path, metadata or {})}
    with writing(path, entries, texts) as writer:
        for name, tensor in tensors.items():
            if not isinstance(tensor, QuantizedTensor):
                writer.put(name, arrays[name])
                continue
            try:
                stored[name].put(tensor, writer)
            except QcoreError as error:
                raise located(error, shown(path, name)) from error.__cause__


def load(path: str | PathLike[str]) -> dict[str, QuantizedTensor | NDArray[Any]]:
    """All that a file holds which `save` or `qcore quantize` wrote, by name.

    Raises:
        ReadError: it is damaged, or made by schemes that are not installed.
    """
    return dict(QuantizedFile(path))


def metadata_of(tensors: Iterable[StoredTensor]) -> dict[str, str]:
    """What makes a file a quantized one."""
    described = {tensor.name: tensor.to_dict() for tensor in tensors}
    return {
        f"{OWN}layout": LAYOUT,
        f"{OWN}version": version("qcore-quant"),
        f"{OWN}tensors": json.dumps(described, separators=(",", ":"), ensure_ascii=False),
    }


class QuantizedFile(Mapping[str, "QuantizedTensor | NDArray[Any]"]):
    """A file of quantized tensors, each read when it is asked for.

    Args:
        path: the file.

    Attributes:
        path: the same.
        metadata: the texts that were saved with it, by name.
        quantized: how each quantized tensor is stored, by name.
        kept: the others, by name.

    Raises:
        ReadError: it is no such file, or damaged.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = stored_path(path)
        self._reader = SafetensorsReader()
        stored = {info.name: info for info in self._reader.tensors(self.path)}
        metadata = self._reader.metadata(self.path)
        described = self._described(metadata)
        self.metadata = {key: text for key, text in metadata.items() if not key.startswith(OWN)}
        recipe_of = cache(stored_recipe)  # most tensors have the same
        self.quantized = {
            name: self._stored_tensor(name, entry, recipe_of, stored)
            for name, entry in described.items()
        }
        self._owners: dict[str, str] = {}
        for name, tensor in self.quantized.items():
            for entry in tensor.entries.values():
                if entry.name in self._owners:
                    message = f"{quoted(entry.name)} belongs to two tensors; save it again"
                    raise self._error(message, name)
                self._owners[entry.name] = name
        self._stored = stored
        self.kept = {name: info for name, info in stored.items() if name not in self._owners}
        for name in self.quantized.keys() & self.kept.keys():
            raise self._error("it is there twice; save it again", name)

    def __getitem__(self, name: str) -> QuantizedTensor | NDArray[Any]:
        if name in self.kept:
            return self._reader.read(self.kept[name])
        tensor = self.quantized[name]
        try:
            return tensor.restore(lambda stored: self._reader.read(self._stored[stored]))
        except ReadError:
            raise
        except (QcoreError, ValueError, OverflowError) as error:
            raise self._error(str(error), name) from error

    def __contains__(self, name: object) -> bool:
        return name in self.quantized or name in self.kept

    def __iter__(self) -> Iterator[str]:
        """The names, in the order of the file."""
        return iter(dict.fromkeys(self._owners.get(stored, stored) for stored in self._stored))

    def __len__(self) -> int:
        return len(self.quantized) + len(self.kept)

    def infos(self) -> Iterator[TensorInfo]:
        """Each tensor, a quantized one as the float32 values that its codes stand for."""
        for name in self:
            if name in self.kept:
                yield self.kept[name]
            else:
                tensor = self.quantized[name]
                how = str(tensor.recipe)
                yield TensorInfo(name, tensor.shape, "float32", self.path, (), how, tensor.nbytes)

    def _described(self, metadata: Mapping[str, str]) -> dict[str, Any]:
        layout, text = metadata.get(f"{OWN}layout"), metadata.get(f"{OWN}tensors")
        if layout is None:
            raise self._error(f"its metadata have no {OWN}layout: qcore did not quantize it")
        if layout != LAYOUT:
            message = f"its layout is {quoted(layout)}, and this qcore reads {LAYOUT}"
            raise self._error(f"{message}; upgrade qcore")
        if text is None:
            raise self._error(f"its metadata have no {OWN}tensors; save it again")
        try:
            return parse(text.encode())
        except ReadError as error:
            raise self._error(f"{OWN}tensors in its metadata: {error}; save it again") from None

    def _stored_tensor(
        self,
        name: str,
        described: Any,
        recipe_of: Callable[[str], Recipe],
        stored: Mapping[str, TensorInfo],
    ) -> StoredTensor:
        """How the metadata say that a tensor is stored, checked against what is."""
        try:
            tensor = StoredTensor.from_dict(name, described, recipe_of)
            for entry in tensor.entries.values():
                info = stored.get(entry.name)
                found = info and (info.dtype, info.shape)
                if found != (entry.dtype, entry.shape):
                    wanted = f"{entry.dtype} of shape {entry.shape}"
                    raise ReadError(f"{quoted(entry.name)} must be there, {wanted}")
        except ReadError as error:
            raise self._error(f"{error}; save it again", name) from error
        except Exception as error:  # also a plugin's own
            cure = "; install the plugin that has it" if isinstance(error, UnknownIdError) else ""
            raise self._error(f"{told(error)}{cure}", name) from error
        return tensor

    def _error(self, message: str, tensor: str | None = None) -> ReadError:
        return ReadError(f"{shown(self.path, tensor)}: {message}")


def _stored(path: Path, name: str, tensor: QuantizedTensor) -> StoredTensor:
    try:
        return StoredTensor.of(name, tensor.recipe, tensor.shape, "float32", tensor.params)
    except QcoreError as error:
        raise located(error, shown(path, name)) from error.__cause__


def _checked(path: Path, metadata: Mapping[str, str]) -> Mapping[str, str]:
    for key in metadata:
        if key.startswith(OWN):
            raise UsageError(f"{shown(path)}: metadata {quoted(key)}: '{OWN}…' is qcore's own")
    return metadata

"""A checkpoint written as one safetensors file, one tensor in memory at a time."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from qcore.blame import told
from qcore.builtin.readers.dtypes import stored_bytes
from qcore.errors import QcoreError, ReadError, UsageError, located
from qcore.locating import stored_path
from qcore.quantized_file import OWN, metadata_of
from qcore.safetensors_file import Entry, Writer, writing
from qcore.sources import TensorRef, from_paths, metadata
from qcore.stored_file import shown
from qcore.stored_tensor import StoredTensor

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
Progress = Callable[[int, int], None]

_WIDER = {"int4": "int8", "uint4": "uint8", "int2": "int8", "uint2": "uint8"}
"""What safetensors has not, and what holds it exactly."""


@dataclass(frozen=True)
class Written:
    """A tensor that was written.

    Attributes:
        name: its name.
        how: the recipe it was quantized by, the dtype it was decoded to, or `kept`.
        elements: how many.
        before: bytes that it took.
        after: bytes that it takes.
    """

    name: str
    how: str
    elements: int
    before: int
    after: int


@dataclass(frozen=True)
class Conversion:
    """What becomes of a tensor.

    Attributes:
        ref: the tensor.
        how: as `Written` has it.
        stored: how it is stored.
        put: writes it.
    """

    ref: TensorRef
    how: str
    stored: Entry | StoredTensor
    put: Callable[[Writer], None]

    @property
    def entries(self) -> list[Entry]:
        """All that is stored of it."""
        return [self.stored] if isinstance(self.stored, Entry) else [*self.stored.entries.values()]

    def written(self) -> Written:
        """What is said of it once it is written."""
        ref = self.ref
        before = ref.info.nbytes if ref.info is not None else None
        if before is None:
            before = stored_bytes(ref.dtype, ref.shape)
        return Written(ref.name, self.how, math.prod(ref.shape), before, self.stored.nbytes)


def references(source: Paths, output: Path) -> list[TensorRef]:
    """Every tensor of the sources.

    Raises:
        ReadError: a source cannot be read.
        UsageError: `output` is one of them or in one of them, or two tensors have one name.
    """
    given = [source] if isinstance(source, str | os.PathLike) else list(source)
    refs, unreadable = from_paths(given)
    if unreadable:
        raise ReadError(unreadable[0].error)
    target = output.resolve()
    inputs = [*map(stored_path, given), *(_file(ref) for ref in refs)]
    here = {path.resolve() for path in inputs if isinstance(path, Path)}
    if not here.isdisjoint([target, *target.parents]):
        message = "would be written over the input, or into its folder"
        raise UsageError(f"'{output}' {message}; name another file")
    files: dict[str, str] = {}
    for ref in refs:
        if ref.name in files:
            message = f"{files[ref.name]} has one of that name; give one of them"
            raise UsageError(f"{shown(_file(ref), ref.name)}: {message}")
        files[ref.name] = ref.source
    return refs


def kept(ref: TensorRef) -> Conversion:
    """A tensor that stays as it is, if decoded."""
    entry = Entry(ref.name, _WIDER.get(ref.dtype, ref.dtype), ref.shape)

    def put(writer: Writer) -> None:
        array = loaded(ref)
        writer.put(ref.name, array.astype(entry.dtype) if ref.dtype in _WIDER else array)

    return Conversion(ref, ref.dtype if ref.encoding else "kept", entry, put)


def convert(
    conversions: Sequence[Conversion], output: Path, progress: Progress | None
) -> list[Written]:
    """Write the tensors, and the texts that their files keep beside them.

    Raises:
        UsageError: safetensors cannot hold it, or the file cannot be written.
        QcoreError: a tensor cannot be read or quantized, or the disk is full.
    """
    refs = [conversion.ref for conversion in conversions]
    entries = [entry for conversion in conversions for entry in conversion.entries]
    quantized = [c.stored for c in conversions if isinstance(c.stored, StoredTensor)]
    texts = metadata_of(quantized) if quantized else {}
    texts |= {key: text for key, text in metadata(refs).items() if not key.startswith(OWN)}
    total, done = sum(math.prod(ref.shape) for ref in refs), 0
    with writing(output, entries, texts) as writer:
        for conversion in conversions:
            try:
                conversion.put(writer)
            except QcoreError as error:
                raise placed(error, conversion.ref) from error.__cause__
            done += math.prod(conversion.ref.shape)
            if progress is not None:
                progress(done, total)
    return [conversion.written() for conversion in conversions]


def loaded(ref: TensorRef) -> NDArray[Any]:
    """The tensor, of the dtype that was listed.

    Raises:
        ReadError: it cannot be read.
    """
    try:
        array = ref.load()
    except QcoreError:
        raise
    except Exception as error:  # the reader's own, which must not pass for one of the writer's
        raise ReadError(told(error)) from error
    if array.dtype.name != ref.dtype:
        raise ReadError(f"its reader gave {array.dtype}, but said {ref.dtype}")
    return array


def placed(error: QcoreError, ref: TensorRef) -> QcoreError:
    """The error, led by the tensor that it is about."""
    file = _file(ref)
    return error if shown(file) in str(error) else located(error, shown(file, ref.name))


def _file(ref: TensorRef) -> Path:
    assert ref.info is not None  # it comes from a file
    return ref.info.path

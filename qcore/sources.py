"""Where tensors come from: arrays in Python, or files through the readers."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from qcore.builtin.readers.dtypes import BITS, stored_bytes
from qcore.errors import QcoreError, ReadError, UsageError
from qcore.interfaces.reader import TensorInfo, TensorReader
from qcore.locating import asking, files_at, reader_of, stored_path
from qcore.remote_file import opened_once

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class TensorRef:
    """A tensor that can be loaded.

    Attributes:
        name: its own.
        source: the file that holds it; empty for an array.
        shape: its shape.
        dtype: its element type's name.
        load: gives the array, memory-mapped where that is possible.
        info: what its reader said of it; None for an array.
        reader: the reader; None for an array.
    """

    name: str
    source: str
    shape: tuple[int, ...]
    dtype: str
    load: Callable[[], NDArray[Any]]
    info: TensorInfo | None = None
    reader: TensorReader | None = None

    @property
    def size(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """What it takes as it is stored; 0 where that is not known."""
        if self.info is not None and self.info.nbytes is not None:
            return self.info.nbytes
        return stored_bytes(self.dtype, self.shape) if self.dtype in BITS else 0

    @property
    def encoding(self) -> str:
        """How it is stored, where that is another thing than its dtype."""
        return "" if self.info is None else self.info.encoding

    def placed(self, error: str) -> str:
        """An error led by the tensor, unless its reader has named the file itself."""
        if self.source and self.source in error:
            return error
        return (
            f"{self.source}: '{self.name}': {error}" if self.source else f"'{self.name}': {error}"
        )

    @property
    def is_float(self) -> bool:
        """Whether it holds floating-point numbers, told by the name of its dtype."""
        return "float" in self.dtype

    @property
    def is_integer(self) -> bool:
        """Whether it holds integers or booleans."""
        return self.dtype.startswith(("int", "uint", "bool"))


@dataclass(frozen=True)
class Unreadable:
    """A file that could not be opened.

    Attributes:
        source: its path.
        error: why, in one line.
    """

    source: str
    error: str


@dataclass(frozen=True)
class Selection:
    """Which tensors to take.

    Attributes:
        include: a regular expression that the name must match somewhere.
        exclude: one that it must not.
        min_ndim: the fewest dimensions.
        integers: whether integer tensors are taken.
    """

    include: str | None = None
    exclude: str | None = None
    min_ndim: int = 0
    integers: bool = False

    def apply(self, refs: Iterable[TensorRef]) -> tuple[list[TensorRef], dict[str, int]]:
        """What is taken, and how many were left out by which rule.

        Raises:
            UsageError: a regular expression that is none.
        """
        include = _compiled("include", self.include)
        exclude = _compiled("exclude", self.exclude)
        taken: list[TensorRef] = []
        left: Counter[str] = Counter()
        for ref in refs:
            if include is not None and not include.search(ref.name):
                left["not included"] += 1
            elif exclude is not None and exclude.search(ref.name):
                left["excluded"] += 1
            elif ref.is_integer and not self.integers:
                left["not floating point"] += 1
            elif (ref.is_float or ref.is_integer) and len(ref.shape) < self.min_ndim:
                left[f"of fewer than {self.min_ndim} dimensions"] += 1
            else:  # what holds no numbers at all is taken too: reading it says what it holds
                taken.append(ref)
        return taken, dict(left)

    def ways_out(self, refs: Iterable[TensorRef]) -> list[str]:
        """What would let in some of what was left out."""
        hints: dict[str, None] = {}
        for ref in refs:
            if ref.is_integer and not self.integers:
                hints["--integers takes integers"] = None
            elif len(ref.shape) < self.min_ndim:
                hints[f"--min-ndim {len(ref.shape)} takes fewer dimensions"] = None
        return list(hints)[:2]


def _compiled(option: str, pattern: str | None) -> re.Pattern[str] | None:
    try:
        return None if pattern is None else re.compile(pattern)
    except (re.error, OverflowError) as error:
        raise UsageError(f"{option}: '{pattern}' is no regular expression: {error}") from None


def from_arrays(arrays: Mapping[str, Any]) -> list[TensorRef]:
    """Arrays, as they are."""
    refs = []
    for name, value in arrays.items():
        array = np.asarray(value)
        refs.append(TensorRef(name, "", array.shape, array.dtype.name, partial(np.asarray, array)))
    return refs


def from_paths(
    paths: Iterable[str | os.PathLike[str]],
) -> tuple[list[TensorRef], list[Unreadable]]:
    """What files and folders hold, and which of them could not be read."""
    refs: list[TensorRef] = []
    failed: list[Unreadable] = []
    for path in map(stored_path, paths):
        with opened_once():
            for file in _tried(files_at, path, failed):
                refs += _tried(_listed, file, failed)
    return refs, failed


def metadata(refs: Iterable[TensorRef]) -> dict[str, str]:
    """The texts that the tensors' files keep beside them; of two by one name, the first."""
    files = {ref.source: ref for ref in refs}
    texts: dict[str, str] = {}
    for ref in files.values():
        if ref.reader is not None and ref.info is not None:
            texts = ref.reader.metadata(ref.info.path) | texts
    return texts


def _tried(work: Callable[[Path], list[T]], path: Path, failed: list[Unreadable]) -> list[T]:
    """What `work` gives for a path; if it fails nothing, and why is noted."""
    try:
        return work(path)
    except QcoreError as error:
        failed.append(Unreadable(str(path), str(error)))
    return []


def _listed(file: Path) -> list[TensorRef]:
    reader = reader_of(file)
    with asking(reader, file):
        return [_stored(reader, info) for info in reader.tensors(file)]


def _stored(reader: TensorReader, info: TensorInfo) -> TensorRef:
    load = partial(read_tensor, reader, info)
    return TensorRef(info.name, str(info.path), info.shape, info.dtype, load, info, reader)


def read_tensor(reader: TensorReader, info: TensorInfo) -> NDArray[Any]:
    """The tensor that a file was said to hold.

    Raises:
        ReadError: the reader fails, or gives something else.
    """
    with asking(reader, info.path, info.name):
        tensor = reader.read(info)
    shape = getattr(tensor, "shape", None)
    if not isinstance(tensor, np.ndarray) or shape != info.shape:
        raise ReadError(
            f"{info.path}: '{info.name}': reader '{reader.id}' gave {type(tensor).__name__} of "
            f"shape {shape}, but said {info.shape}"
        )
    return tensor

"""Where tensors come from: arrays in Python, or files through the readers."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.errors import QcoreError, ReadError, UsageError, nearest
from qcore.interfaces.reader import TensorInfo, TensorReader
from qcore.loading import plugins


@dataclass(frozen=True, eq=False)
class TensorRef:
    """A tensor that can be loaded.

    Attributes:
        name: its own.
        source: the file that holds it; empty for an array.
        shape: its shape.
        dtype: its element type's name.
        load: gives the array, memory-mapped where that is possible.
    """

    name: str
    source: str
    shape: tuple[int, ...]
    dtype: str
    load: Callable[[], NDArray[Any]]

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
    except re.error as error:
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
    for path in _expanded(map(Path, paths)):
        try:
            reader = _reader_for(path)
            refs += [_stored(reader, info) for info in reader.tensors(path)]
        except QcoreError as error:
            failed.append(Unreadable(str(path), str(error)))
        except Exception as error:  # a reader's failure, not the run's
            failed.append(Unreadable(str(path), f"'{path}': {type(error).__name__}: {error}"))
    return refs, failed


def _expanded(paths: Iterable[Path]) -> Iterator[Path]:
    """The paths, but for a folder that is no format of its own, the files in it that are."""
    readers = _readers()
    for path in paths:
        inside: list[Path] = []
        if os.path.isdir(path) and not any(reader.sniff(path) for reader in readers):
            files = sorted(file for file in path.iterdir() if file.is_file())
            inside = [file for file in files if any(reader.sniff(file) for reader in readers)]
        yield from inside or [path]


def _readers() -> list[TensorReader]:
    return [entry.cls() for entry in plugins().registry.entries["reader"].values()]


def _stored(reader: TensorReader, info: TensorInfo) -> TensorRef:
    return TensorRef(
        info.name, str(info.path), info.shape, info.dtype, partial(_read, reader, info)
    )


def _read(reader: TensorReader, info: TensorInfo) -> NDArray[Any]:
    """The tensor that a file was said to hold.

    Raises:
        ReadError: the reader gives something else.
    """
    tensor = reader.read(info)
    shape = getattr(tensor, "shape", None)
    if not isinstance(tensor, np.ndarray) or shape != info.shape:
        raise ReadError(
            f"{info.path}: '{info.name}': reader '{reader.id}' gave {type(tensor).__name__} of "
            f"shape {shape}, but said {info.shape}"
        )
    return tensor


def _reader_for(path: Path) -> TensorReader:
    """The first reader that knows the file by its content.

    Raises:
        ReadError: there is no such file, or no reader knows it.
    """
    if not path.exists():
        raise ReadError(f"no such file: '{path}'{_neighbour(path)}")
    readers = _readers()
    for reader in readers:
        if reader.sniff(path):
            return reader
    if path.is_file() and not os.access(path, os.R_OK):
        raise ReadError(f"'{path}' may not be read; check its permissions")
    if path.is_dir():
        raise ReadError(f"folder '{path}' holds no file that a reader knows")
    known = ", ".join(reader.id for reader in readers)
    raise ReadError(f"'{path}' is in no format that a reader knows; readers are {known}")


def _neighbour(path: Path) -> str:
    """`, did you mean 'x'?` for a file beside it with almost its name."""
    try:
        return nearest(path.name, os.listdir(path.parent))
    except OSError:
        return ""

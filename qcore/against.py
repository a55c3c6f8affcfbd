"""Another checkpoint of the same tensors, some other tool's work, and its error."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from qcore.arithmetic import chunk_arithmetic
from qcore.blocking import Layout, float_tensor
from qcore.case import Stored
from qcore.chunk import Chunk
from qcore.error_stats import ErrorStats, measure_errors
from qcore.errors import DtypeError, ReadError, ShapeError, UsageError
from qcore.measuring import Measurement
from qcore.observing import NonFinite, Source
from qcore.scheduling import Job
from qcore.sources import TensorRef, from_arrays, from_paths

_CHUNK = 1 << 17

Checkpoint = Mapping[str, Any] | str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
"""Arrays by name, or a file or folder, or several."""


@dataclass(frozen=True)
class Against:
    """A second checkpoint.

    Attributes:
        label: what it is called in tables.
        tensors: by name.
    """

    label: str
    tensors: Mapping[str, TensorRef]

    @classmethod
    def of(cls, given: Checkpoint) -> Self:
        """The checkpoint that is given as arrays or as files.

        Raises:
            ReadError: a file cannot be read.
        """
        if isinstance(given, Mapping):
            return cls("given arrays", {ref.name: ref for ref in from_arrays(given)})
        paths = [given] if isinstance(given, str | os.PathLike) else list(given)
        refs, unreadable = from_paths(paths)
        if unreadable:
            raise ReadError(unreadable[0].error)
        return cls(", ".join(Path(path).name for path in paths), {ref.name: ref for ref in refs})

    def shared(self, refs: Sequence[TensorRef]) -> tuple[list[TensorRef], dict[str, int]]:
        """Those of `refs` that it has too, and how many it has not, by the rule.

        Raises:
            UsageError: it has none of them.
        """
        both = [ref for ref in refs if ref.name in self.tensors]
        if refs and not both:
            ours, theirs = refs[0].name, next(iter(self.tensors), "nothing")
            message = f"'{self.label}' has none of the {len(refs)} tensors, such as '{ours}'"
            raise UsageError(f"{message}; it has '{theirs}'")
        missing = len(refs) - len(both)
        return both, {f"not in {self.label}": missing} if missing else {}

    def of_tensors(self, refs: Iterable[TensorRef]) -> Self:
        """The part of it that some tensors are compared with."""
        return type(self)(self.label, {ref.name: self.tensors[ref.name] for ref in refs})

    def of_tensor(self, ref: TensorRef) -> Stored:
        """How it stores what another checkpoint holds as `ref`."""
        own = self.tensors[ref.name]
        return Stored(self.label, own.encoding or own.dtype)


def measure_against(
    tensor: NDArray[Any],
    other: TensorRef,
    nonfinite: NonFinite,
    sums: Collection[str],
) -> Job[Measurement]:
    """The error of a stored tensor as a rendering of `tensor`, as a job.

    Raises:
        ShapeError: it has another shape.
        DtypeError: it holds no real numbers, or some that are not finite.
    """
    start = time.thread_time()
    (loaded,) = yield [other.load]
    seconds = time.thread_time() - start
    values = float_tensor(loaded, other.name)
    if values.shape != tensor.shape:
        raise ShapeError(f"it has shape {tensor.shape}, and {values.shape} in '{other.source}'")
    layout = Layout(tensor.shape or (1,), tensor.shape or (1,))
    source = Source(tensor.reshape(layout.shape), layout, nonfinite)
    flat = values.reshape(layout.shape)
    pieces = yield [
        partial(_measure_chunk, source, flat, chunk, sums)
        for chunk in layout.chunks(_CHUNK, whole=False)
    ]
    stats = ErrorStats(stored_bits=8 * other.nbytes)
    for piece, taken in pieces:
        stats, seconds = stats.merge(piece), seconds + taken
    if not math.isfinite(stats.e2):
        raise DtypeError(f"'{other.source}' holds values that are not finite")
    return Measurement(stats, seconds)


def _measure_chunk(
    source: Source, values: NDArray[Any], chunk: Chunk, sums: Collection[str]
) -> tuple[ErrorStats, float]:
    start = time.thread_time()
    blocks, _, replaced = source.blocks(chunk)
    with chunk_arithmetic():
        rendered = chunk.blocks(values, np.dtype(np.float32))
        stats = measure_errors(blocks, rendered, sums)
    return stats.merge(ErrorStats(nonfinite=replaced)), time.thread_time() - start

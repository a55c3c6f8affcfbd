"""What stored tensors hold: their statistics, read once, and the hints that follow."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from qcore.against import Checkpoint
from qcore.blame import keep_traceback, told
from qcore.blocking import float_tensor
from qcore.builtin.readers.dtypes import BITS
from qcore.errors import ReadError
from qcore.hints import Hint, hints
from qcore.scheduling import Job, run_all
from qcore.sources import Selection, TensorRef, from_arrays, from_paths
from qcore.statistics import TensorStatistics, measure_statistics


@dataclass(frozen=True, eq=False)
class Inspection:
    """What is known of a stored tensor.

    Attributes:
        ref: its name, shape, and how it is stored.
        statistics: what it holds, if it was read.
        error: why it could not be, in one line.
    """

    ref: TensorRef
    statistics: TensorStatistics | None = None
    error: str | None = None

    @property
    def nbytes(self) -> int | None:
        """What it takes as it is stored, if that is known."""
        own = self.ref.info is not None and self.ref.info.nbytes is not None
        return self.ref.nbytes if own or self.ref.dtype in BITS else None

    @cached_property
    def hints(self) -> list[Hint]:
        """What is unusual about it, and what to try; nothing of integers."""
        if self.statistics is None or self.ref.is_integer:
            return []
        return hints(self.statistics, self.ref.shape)

    def header(self) -> dict[str, Any]:
        """What it is called and how it is stored, flat, as JSON holds it."""
        return {
            "tensor": self.ref.name,
            "source": self.ref.source,
            "shape": list(self.ref.shape),
            "dtype": self.ref.dtype,
            "encoding": self.ref.encoding or None,
            "elements": self.ref.size,
            "bytes": self.nbytes,
        }

    def to_dict(self) -> dict[str, Any]:
        """All of it, flat, as JSON holds it: what is not known or not defined is None."""
        unknown: dict[str, Any] = dict.fromkeys(TensorStatistics.KEYS)
        numbers = unknown if self.statistics is None else self.statistics.to_dict()
        own = [str(hint) for hint in self.hints]
        return {**self.header(), **numbers, "hints": own, "error": self.error}


def inspect(
    source: Checkpoint,
    *,
    include: str | None = None,
    exclude: str | None = None,
    threads: int | None = None,
) -> list[Inspection]:
    """Read every tensor once, chunk by chunk, and say what it holds.

    Args:
        source: arrays by name, or a file or folder, or several.
        include: a regular expression that a tensor's name must match somewhere.
        exclude: one that it must not.
        threads: one a processor, up to a few, if None. Results do not depend on it.

    Returns:
        One for each tensor, in order, integers too. One that fails has its error there.

    Raises:
        ReadError: a file cannot be opened.
        UsageError: a regular expression that is none.
    """
    if isinstance(source, Mapping):
        refs = from_arrays(source)
    else:
        paths = [source] if isinstance(source, str | os.PathLike) else source
        refs, unreadable = from_paths(paths)
        if unreadable:
            raise ReadError(unreadable[0].error)
    kept, _ = Selection(include, exclude, integers=True).apply(refs)
    return list(inspect_refs(kept, threads))


def inspect_refs(
    refs: Sequence[TensorRef],
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Inspection]:
    """The same of some tensors, as they come; `progress` is told of elements done, and in all."""
    total, done = sum(ref.size for ref in refs), 0
    for inspection in run_all((_inspect(ref) for ref in refs), threads):
        done += inspection.ref.size
        if progress is not None:
            progress(done, total)
        yield inspection


def _inspect(ref: TensorRef) -> Job[Inspection]:
    try:
        (loaded,) = yield [ref.load]
        tensor = float_tensor(loaded, ref.name, integers=True)
        return Inspection(ref, (yield from measure_statistics(tensor)))
    except Exception as error:  # one tensor's failure, not the others'
        keep_traceback(error)
        return Inspection(ref, error=ref.placed(told(error)))

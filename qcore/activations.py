"""Where the inputs of layers come from, and which belongs to which weight."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.blocking import float_tensor
from qcore.errors import NonFiniteError, QcoreError, ReadError, UsageError, located
from qcore.observing import NonFinite
from qcore.sources import TensorRef, from_arrays, from_paths

SYNTHETIC = "synthetic:normal"
"""What stands for activations drawn from a normal distribution."""

_ROWS = 256


@dataclass(frozen=True)
class Activations:
    """The inputs of layers.

    Attributes:
        refs: stored tensors; None for synthetic ones.
    """

    refs: Sequence[TensorRef] | None

    @classmethod
    def of(cls, source: Any) -> Activations:
        """Activations from arrays by name, from files, or `synthetic:normal`.

        Raises:
            UsageError: it is none of these.
            ReadError: a file cannot be read.
        """
        if isinstance(source, Mapping):
            return cls(from_arrays(source))
        paths = [source] if isinstance(source, str | os.PathLike) else source
        if not isinstance(paths, Iterable) or not all(
            isinstance(path, str | os.PathLike) and os.fspath(path) for path in paths
        ):
            raise UsageError(f"activations are arrays by name, files, or {SYNTHETIC}")
        paths = list(paths)
        made_up = [path for path in paths if str(path).startswith("synthetic:")]
        if made_up and paths != [SYNTHETIC]:
            raise UsageError(
                f"activations '{made_up[0]}' are not known; there is {SYNTHETIC}, alone"
            )
        if made_up:
            return cls(None)
        refs, unreadable = from_paths(paths)
        if unreadable:
            raise ReadError(unreadable[0].error)
        return cls(refs)

    def find(self, weight: TensorRef) -> TensorRef | None:
        """The input of the layer that has this weight, (…, K) for (N, K); None if there is none.

        It is the tensor `fc1.input` for the weight `fc1.weight`, or the one with the weight's own
        name in another file. Where there is but one tensor in all, it is the input of every weight
        with as many columns.
        """
        if len(weight.shape) != 2:
            return None
        depth = weight.shape[1]
        if self.refs is None:
            return TensorRef(
                "normal", SYNTHETIC, (_ROWS, depth), "float32", partial(_normal, depth)
            )
        others = [ref for ref in self.refs if not _same(ref, weight)]
        for name in (f"{weight.name.removesuffix('.weight')}.input", weight.name):
            for ref in others:
                if ref.name == name and _fits(ref, depth):
                    return ref
        only = others[0] if len(self.refs) == len(others) == 1 else None
        named = only is not None and only.name.endswith(".input")  # for another layer
        return only if only is not None and not named and _fits(only, depth) else None


def load(ref: TensorRef, nonfinite: NonFinite) -> NDArray[np.float32]:
    """Activations (…, K) as (M, K) float32, finite.

    Raises:
        QcoreError: they cannot be read, or are not finite; the error names them.
    """
    where = f"{ref.source}: '{ref.name}'" if ref.source else f"activations '{ref.name}'"
    try:
        tensor = float_tensor(ref.load(), ref.name)
        rows = int(np.prod(tensor.shape[:-1], dtype=np.int64))
        return finite(tensor.reshape(rows, tensor.shape[-1]), nonfinite)
    except QcoreError as error:
        raise located(error, where) from None
    except Exception as error:  # of the reader
        raise ReadError(f"{where}: {type(error).__name__}: {error}") from error


def finite(tensor: NDArray[Any], nonfinite: NonFinite) -> NDArray[np.float32]:
    """A tensor in float32, as the engine takes it.

    Raises:
        NonFiniteError: it is not finite, and that is an error.
    """
    with np.errstate(over="ignore"):
        values = tensor.astype(np.float32, copy=False)
    count = values.size - int(np.count_nonzero(np.isfinite(values)))
    if count and nonfinite == "error":
        raise NonFiniteError(count, values.size)
    return np.nan_to_num(values) if count else values


def _fits(ref: TensorRef, depth: int) -> bool:
    return ref.shape[-1:] == (depth,) and ref.is_float


def _same(ref: TensorRef, other: TensorRef) -> bool:
    """Whether two references are to one tensor."""
    if ref.source and other.source:
        same_file = os.path.realpath(ref.source) == os.path.realpath(other.source)
        return same_file and ref.name == other.name
    return not ref.source and not other.source and ref.load() is other.load()


def _normal(depth: int) -> NDArray[np.float32]:
    generator = np.random.Generator(np.random.PCG64(0))
    return generator.standard_normal((_ROWS, depth), np.float32)

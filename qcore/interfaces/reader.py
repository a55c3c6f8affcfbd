"""Tensor readers: what a file holds, and its data when asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from qcore.spec import Configurable


@dataclass(frozen=True)
class TensorInfo:
    """A stored tensor, before its data is read.

    Attributes:
        name: the tensor's name in its file.
        shape: its shape.
        dtype: its element type, by NumPy's name or ml_dtypes', such as `float32`, `bfloat16`;
            for one that neither knows, the name that the file gives it.
        path: the file that holds it.
        where: what its reader needs to find it again.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    path: Path
    where: tuple[int, ...] = ()


class TensorReader(Configurable, ABC):
    """Reads one file format. Never executes what it reads, never trusts a length."""

    @abstractmethod
    def sniff(self, path: Path) -> bool:
        """Whether this reader can read `path`, told from its first bytes; cheap, and never raises
        for a file that is not its own.
        """

    @abstractmethod
    def tensors(self, path: Path) -> Iterator[TensorInfo]:
        """What the file holds; no data is read.

        Raises:
            ReadError: the file is damaged; the message names the file and, if known, the tensor.
        """

    @abstractmethod
    def read(self, info: TensorInfo) -> NDArray[Any]:
        """The tensor, memory-mapped and read-only where the format allows it.

        Raises:
            ReadError: the data is not what the header promised.
        """

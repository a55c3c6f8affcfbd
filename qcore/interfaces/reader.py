"""Tensor readers: what a file holds, and its data when asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

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
        encoding: how it is stored, where that is another thing than its dtype, such as `Q4_K`.
        nbytes: what it takes in the file, where that is not shape × dtype.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    path: Path
    where: tuple[int, ...] = ()
    encoding: str = ""
    nbytes: int | None = None


class TensorReader(Configurable, ABC):
    """Reads one file format. Never executes what it reads, never trusts a length.

    A path is a `pathlib.Path`, or of a remote file one of universal_pathlib, with the same methods;
    `qcore.StoredFile` reads both.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()
    """Of names, such as `.npz`: whose error a user sees for a file that no reader knows."""

    @abstractmethod
    def sniff(self, path: Path) -> bool:
        """Whether this reader can read `path`, told from its bytes; cheap, and never raises for a
        file that is not its own.
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

    def metadata(self, path: Path) -> dict[str, str]:
        """The texts that a file keeps beside its tensors, by name.

        Raises:
            ReadError: the file is damaged.
        """
        return {}

"""Files that qcore has quantized: each tensor as the values that its codes stand for."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from qcore.blame import told
from qcore.builtin.readers.safetensors import is_quantized
from qcore.errors import ReadError
from qcore.interfaces.reader import TensorInfo, TensorReader
from qcore.stored_file import StoredFile, shown


@dataclass(frozen=True)
class QuantizedReader(TensorReader):
    """What `qcore.save` and `qcore quantize` write.

    Codes mean something only to the recipes they came from, so this reader asks qcore itself, which
    loads plugins such as this one; hence the import where it is needed.
    """

    id: ClassVar[str] = "quantized"

    def sniff(self, path: Path) -> bool:
        return is_quantized(path)

    def tensors(self, path: Path) -> Iterator[TensorInfo]:
        import qcore

        return qcore.QuantizedFile(path).infos()

    def read(self, info: TensorInfo) -> NDArray[Any]:
        import qcore

        file, where = _opened(info.path), shown(info.path, info.name)
        tensor: Any = file.get(info.name)
        if tensor is None or tensor.shape != info.shape:
            raise ReadError(f"{where}: the file has changed since it was listed; list it again")
        values: NDArray[Any] = tensor
        if isinstance(tensor, qcore.QuantizedTensor):
            try:
                values = tensor.dequantize()
            except Exception as error:  # of the scheme's own code
                message = f"'{tensor.recipe}' cannot decode it: {told(error)}"
                raise ReadError(f"{where}: {message}") from error
        return values

    def metadata(self, path: Path) -> dict[str, str]:
        import qcore

        return qcore.QuantizedFile(path).metadata


def _opened(path: Path) -> Any:
    """The file, its header read once for all of its tensors as long as it stays the same."""
    with StoredFile(path) as file:
        size = file.size
    status = path.stat() if isinstance(path, Path) else None
    return _kept(path, size, status and (status.st_ino, status.st_mtime_ns))


@functools.lru_cache(maxsize=4)
def _kept(path: Path, size: int, version: tuple[int, int] | None) -> Any:
    import qcore

    return qcore.QuantizedFile(path)

"""What a fuzzed file goes through: listed, and every tensor read."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qcore import TensorReader

CORPUS = Path(__file__).parent / "corpus"
_MOST_ELEMENTS = 1 << 20


def read_all(reader: TensorReader, path: Path) -> None:
    """List and read a file; a ReadError, in one line, is as good as a tensor."""
    from qcore import ReadError

    reader.sniff(path)
    try:
        infos = list(reader.tensors(path))
        reader.metadata(path)
        for info in infos:
            with contextlib.suppress(ReadError):
                tensor = reader.read(info)
                assert tensor.shape == info.shape
                assert tensor.dtype.name == info.dtype
    except ReadError as error:
        if "\n" in str(error):
            raise AssertionError("an error of several lines") from error

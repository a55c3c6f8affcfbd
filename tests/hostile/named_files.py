"""Sound files of every format, whose tensors have names that nobody should show as they are."""

from __future__ import annotations

import gguf_files
import npy_files
import onnx_files
import quantized_files
import safetensors_files
import torch_files
from cases import NAMES, Content, tree
from folder_files import INDEX, index
from zip_archives import archive

ALL = [*NAMES.values(), "one\r\ntwo", "\u202eflat", "a|b\\c`d", "[x](javascript:1)"]
IN_ARCHIVES = [name for name in ALL if "\0" not in name]  # zipfile ends a name there
IN_FOLDERS = [name.replace("/", "") for name in IN_ARCHIVES]


def _safetensors() -> bytes:
    entries = {name: safetensors_files.entry(16 * i, 16 * i + 16) for i, name in enumerate(ALL)}
    return safetensors_files.content(entries, bytes(16 * len(ALL)))


def _quantized() -> bytes:
    header: dict[str, object] = {}
    for number, name in enumerate(ALL):
        header |= quantized_files.header(name, 8 * number)
    tensors = {name: quantized_files.described() for name in ALL}
    return quantized_files.quantized(tensors, header, quantized_files.DATA * len(ALL))


def _gguf() -> bytes:
    tensors = (gguf_files.tensor(name.encode(), offset=32 * i) for i, name in enumerate(ALL))
    return gguf_files.content(*tensors, data=32 * len(ALL))


def _torch() -> bytes:
    pairs = ((torch_files.text(name), torch_files.tensor()) for name in ALL)
    return torch_files.checkpoint(torch_files.state(*pairs))


FILES: dict[str, tuple[Content, list[str]]] = {
    "m.safetensors": (_safetensors(), ALL),
    "shards": (
        tree({INDEX: index(dict.fromkeys(ALL, "a.safetensors")), "a.safetensors": _safetensors()}),
        ALL,
    ),
    "npy": (tree({f"{name}.npy": npy_files.GOOD for name in IN_FOLDERS}), IN_FOLDERS),
    "m.npz": (archive({f"{name}.npy": npy_files.GOOD for name in IN_ARCHIVES}), IN_ARCHIVES),
    "quantized.safetensors": (_quantized(), ALL),
    "m.gguf": (_gguf(), ALL),
    "m.onnx": (onnx_files.model(*(onnx_files.tensor(name.encode()) for name in ALL)), ALL),
    "m.pt": (_torch(), ALL),
}
"""By path: the file, and the names of its tensors."""

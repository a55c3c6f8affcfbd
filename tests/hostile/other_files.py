"""Paths that no reader knows, whose names would do something to whoever shows them."""

from __future__ import annotations

from cases import FILE_NAMES, Case, Content, Threat, folder, link, tree
from npy_files import GOOD as ARRAY
from safetensors_files import GOOD as TENSORS


def _mixed(bad: str, content: bytes) -> Content:
    """A folder of a good file and a bad one."""
    return tree({"a.npy": ARRAY, bad: content})


CASES = [
    Case("unknown.bin", Threat.MAGIC, b"text", "in no format that a reader knows"),
    Case("empty-folder", Threat.MAGIC, folder, "holds no file that a reader knows"),
    Case("nowhere", Threat.ESCAPE, link("nothing"), "no such file"),
    Case("one-of-two", Threat.TRUNCATED, _mixed("b.npy", ARRAY[:-1]), "b.npy: truncated", status=3),
    Case("one-of-three", Threat.TRUNCATED, _mixed("b.npz", b"PK\3\4"), "b.npz: its zip", status=3),
    Case("two-formats", Threat.MAGIC, TENSORS + ARRAY, "belong to no tensor"),
    *(
        Case(name, Threat.NAME, b"text", "in no format that a reader knows")
        for name in FILE_NAMES.values()
    ),
    *(
        Case(f"missing {name}", Threat.NAME, link("nothing"), "no such file")
        for name in FILE_NAMES.values()
    ),
    *(
        Case(f"folder {name}", Threat.NAME, folder, "holds no file that a reader knows")
        for name in FILE_NAMES.values()
    ),
    *(
        Case(f"mixed-{what}", Threat.NAME, _mixed(f"{name}.npy", ARRAY[:-1]), "truncated", status=3)
        for what, name in FILE_NAMES.items()
    ),
]  # fmt: skip

"""Files that another file names: in its folder, and nowhere else."""

from __future__ import annotations

from pathlib import Path

from qcore.errors import ReadError
from qcore.stored_file import is_file, quoted, shown


def sibling(folder: Path, name: str, named_by: Path, tensor: str | None = None) -> Path:
    """The file `name` in `folder`.

    A link may lead to another file of the folder, or to the blobs of the Hugging Face cache where
    the folder is a snapshot or in one, and nowhere else.

    Args:
        folder: where it must be.
        name: as the other file gives it; not trusted.
        named_by: the other file, for the error.
        tensor: the one in it that needs this file, for the error.

    Raises:
        ReadError: the name is a path that leaves the folder, or a link does, or no file is there.
    """
    where = shown(named_by, tensor)
    parts = name.split("/")
    # both separators on every system, so that a name means the same everywhere
    if any(part.strip(".") == "" or any(c in part for c in "\\:\0") for part in parts):
        raise ReadError(f"{where}: it names {quoted(name)}, which may leave its folder; refused")
    path = folder.joinpath(*parts)
    if not is_file(path):
        raise ReadError(f"{where}: it names {quoted(name)}, which is not there; download it")
    if not stays(path, folder):
        message = "which is a link out of its folder; copy the file there"
        raise ReadError(f"{where}: it names {quoted(name)}, {message}")
    return path


def stays(path: Path, folder: Path) -> bool:
    """Whether a file of a folder is no link, or one that may be followed."""
    if not isinstance(path, Path):  # a remote one
        return True
    target, home = path.resolve(), folder.resolve()
    snapshots = (above for above in home.parents if above.name == "snapshots")
    blobs = (above.parent / "blobs" for above in snapshots)
    return home in target.parents or target.parent in blobs

"""Checks of readers: nothing that is on disk makes them fall over, and they read what they list."""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import struct
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from qcore.errors import ReadError
from qcore.interfaces.reader import TensorInfo, TensorReader
from qcore.testing.laws import CheckSkipped, given, law, require, require_same

_MOST_DAMAGED = 1 << 20


def _foreign() -> dict[str, bytes]:
    """Files that are no tensors, or claim to be larger than they are."""
    noise = np.random.default_rng(1).bytes(300)
    huge = struct.pack("<Q", 2**63 - 1)
    return {
        "empty": b"",
        "one-byte": b"\0",
        "zeros": bytes(4096),
        "ones": b"\xff" * 64,
        "noise": noise,
        "text.txt": "wörds, and more words\n".encode(),
        "image.png": b"\x89PNG\r\n\x1a\n" + noise,
        "program": b"\x7fELF" + noise,
        "pickle.pkl": b"\x80\x04K\x01.",
        "huge-header": huge + b'{"w":' + noise,
        "huge-npy": b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + noise,
        "huge-zip": b"PK\x03\x04" + b"\xff" * 60,
        "end-of-zip": b"PK\x05\x06" + b"\xff" * 18,
        "huge-gguf": b"GGUF\x03\0\0\0" + huge * 2,
        "json.json": b'{"a": [1, 2, 3]}',
    }


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="qcore-check-") as name:
        yield Path(name)


def _needed(reader: TensorReader, examples: Sequence[Path]) -> Sequence[Path]:
    if not examples:
        raise CheckSkipped(f"no file that '{reader}' reads was given; pass examples=, or --example")
    return [path for path in map(Path, examples) if reader.sniff(path)] or examples


@law
def check_reader_sniffs_anything(reader: TensorReader, examples: Sequence[Path] = ()) -> None:
    """Whatever is there, or is not, sniff says True or False of it and never raises."""
    with _folder() as folder:
        (folder / "folder").mkdir()
        paths = [folder / "folder", folder / "absent", folder / "absent" / "too", folder]
        for name, content in _foreign().items():
            paths.append(folder / name)
            paths[-1].write_bytes(content)
        for path in paths:
            with given(f"'{path.name}'"):
                says = reader.sniff(path)
                require(says is True or says is False, f"sniff gave {says!r}")


@law
def check_reader_claims_no_other_format(
    reader: TensorReader, examples: Sequence[Path] = ()
) -> None:
    """Text, pictures, programs, pickles, and files without content are not this reader's."""
    with _folder() as folder:
        for name in ("empty", "one-byte", "text.txt", "image.png", "program", "pickle.pkl"):
            path = folder / name
            path.write_bytes(_foreign()[name])
            require(not reader.sniff(path), f"sniff claims '{name}'")


@law
def check_reader_refuses_damage(reader: TensorReader, examples: Sequence[Path] = ()) -> None:
    """Of a file that is none, listing and reading raise nothing but a ReadError in one line."""
    with _folder() as folder:
        for name, content in _foreign().items():
            path = folder / name
            path.write_bytes(content)
            with given(f"'{name}': {content[:16]!r}"):
                _read_all(reader, path)
        for example in examples:
            if example.is_dir() or example.stat().st_size > _MOST_DAMAGED:
                continue
            content = example.read_bytes()
            random = np.random.default_rng(2)
            for length in sorted({0, 4, 9, 40, len(content) // 2, len(content) - 1}):
                path = folder / f"cut{example.suffix}"
                path.write_bytes(content[:length])
                with given(f"the first {length} bytes of {example.name}"):
                    _read_all(reader, path)
            for _ in range(40):
                damaged = bytearray(content)
                at = int(random.integers(0, min(len(damaged), 400))) if damaged else 0
                damaged[at : at + 1] = bytes([int(random.integers(0, 256))])
                path = folder / f"damaged{example.suffix}"
                path.write_bytes(bytes(damaged))
                with given(f"{example.name} with another byte at {at}"):
                    _read_all(reader, path)


def _read_all(reader: TensorReader, path: Path) -> None:
    infos: list[TensorInfo] = []
    with _refused():
        infos = list(reader.tensors(path))
    for info in infos:
        with _refused():
            reader.read(info)


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except ReadError as error:
        require(str(error).isprintable(), f"the error is not one line of text: {error!s}")


@law
def check_reader_lists_tensors(reader: TensorReader, examples: Sequence[Path] = ()) -> None:
    """An example is sniffed, and lists tensors: names once each, shapes, dtypes and the path."""
    for path in _needed(reader, examples):
        with given(path.name):
            require(reader.sniff(path) is True, "sniff does not know its own file")
            infos = list(reader.tensors(path))
            names = [info.name for info in infos]
            require(len(set(names)) == len(names), "two tensors have one name")
            for info in infos:
                require(isinstance(info, TensorInfo), f"listed {info!r}, no TensorInfo")
                extents = all(isinstance(n, int) and n >= 0 for n in info.shape)
                require(extents and isinstance(info.shape, tuple), f"{info.name}: {info.shape!r}")
                require(isinstance(info.dtype, str) and info.dtype, f"{info.name}: {info.dtype!r}")
                require(
                    path in (info.path, *info.path.parents) or info.path.parent == path.parent,
                    f"{info.name} is said to be in {info.path}",
                )
                require(
                    {pickle.loads(pickle.dumps(info)): info} == {info: info},
                    f"{info.name}: what is listed is no longer the same when it was pickled",
                )
            require(list(reader.tensors(path)) == infos, "listed something else when asked again")


@law
def check_reader_reads_what_it_lists(reader: TensorReader, examples: Sequence[Path] = ()) -> None:
    """A tensor has the shape and dtype that were listed, alike every time; the file stays."""
    for path in _needed(reader, examples):
        with given(path.name):
            before = _digest(path)
            for info in reader.tensors(path):
                with given(f"tensor '{info.name}'"):
                    array, again = reader.read(info), reader.read(info)
                    require(array.shape == info.shape, f"listed {info.shape}, read {array.shape}")
                    listed, found = info.dtype, array.dtype.name
                    require(found == listed, f"listed as {listed}, read as {found}")
                    if array.dtype.kind in "biufc":
                        require_same("read again", again, array)
            require(_digest(path) == before, "the file was written to")


@law
def check_reader_reads_from_anywhere(reader: TensorReader, examples: Sequence[Path] = ()) -> None:
    """A file that fsspec reads gives the same tensors as the file here; `qcore.StoredFile` does."""
    for path in _needed(reader, examples):
        here = list(reader.tensors(path))
        needed = [*_files(path), *(info.path for info in here)]
        with given(path.name), _copied(path, needed) as far:
            require(reader.sniff(far) is True, "sniff does not know the file there")
            there = list(reader.tensors(far))
            names = [[info.name for info in infos] for infos in (there, here)]
            require(names[0] == names[1], f"there it lists {names[0]}, and here {names[1]}")
            for local, remote in zip(here, there, strict=True):
                with given(f"tensor '{local.name}'"):
                    try:
                        array = reader.read(local)
                    except ReadError:  # of a kind that it lists and refuses
                        continue
                    require_same("read there", reader.read(remote), array)


@contextlib.contextmanager
def _copied(path: Path, files: Sequence[Path]) -> Iterator[Path]:
    """Where a file is in fsspec's memory, with all that it needs beside it."""
    try:
        from upath import UPath
    except ImportError:
        raise CheckSkipped("this needs pip install 'qcore-quant[remote]'") from None
    home = path.parent
    memory = UPath(f"memory://qcore-check-{uuid.uuid4().hex}")
    try:
        for file in files:
            copy = memory / file.relative_to(home).as_posix()
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
        yield cast(Path, memory / path.name)
    finally:
        memory.fs.rm(memory.path, recursive=True)


def _digest(path: Path) -> str:
    together = hashlib.sha256()
    for file in _files(path):
        together.update(file.read_bytes())
    return together.hexdigest()


def _files(path: Path) -> list[Path]:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [file for file in files if file.is_file()]


CHECKS = (
    check_reader_sniffs_anything,
    check_reader_claims_no_other_format,
    check_reader_refuses_damage,
    check_reader_lists_tensors,
    check_reader_reads_what_it_lists,
    check_reader_reads_from_anywhere,
)

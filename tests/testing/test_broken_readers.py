"""Readers that are broken on purpose: each is caught by the check that should catch it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

import qcore.testing
from qcore import ReadError, TensorReader
from qcore.builtin.readers.npy import NpyReader
from qcore.testing import CheckFailure, CheckSkipped, configuration

BROKEN: list[tuple[type[Any], str]] = []


def caught_by(check: str) -> Any:
    def add(cls: type[Any]) -> type[Any]:
        BROKEN.append((dataclass(frozen=True)(cls), check))
        return cls

    return add


@pytest.fixture
def example(tmp_path: Path) -> Path:
    path = tmp_path / "w.npy"
    np.save(path, np.arange(12, dtype=np.float32).reshape(3, 4))
    return path


@caught_by("check_reader_sniffs_anything")
class OpensFolders(NpyReader):
    def sniff(self, path: Path) -> bool:
        return path.read_bytes().startswith(b"\x93NUMPY")


@caught_by("check_reader_sniffs_anything")
class GivesBytes(NpyReader):
    def sniff(self, path: Path) -> Any:
        return path.is_file() and path.read_bytes()[:6]


@caught_by("check_reader_claims_no_other_format")
class ClaimsAll(NpyReader):
    def sniff(self, path: Path) -> bool:
        return path.is_file()


@caught_by("check_reader_refuses_damage")
class RaisesAnything(NpyReader):
    def tensors(self, path: Path) -> Any:
        np.load(path)
        return super().tensors(path)


@caught_by("check_reader_refuses_damage")
class FailsWhenCut(NpyReader):
    """Only what an example shows when it is cut."""

    def tensors(self, path: Path) -> Any:
        content = path.read_bytes()
        if content.startswith(b"\x93NUMPY\x01"):
            np.frombuffer(content[128:], np.float32).reshape(3, 4)
        return super().tensors(path)


@caught_by("check_reader_lists_tensors")
class Twice(NpyReader):
    def tensors(self, path: Path) -> Any:
        return iter([*super().tensors(path)] * 2)


@caught_by("check_reader_lists_tensors")
class NoNumbers(NpyReader):
    def tensors(self, path: Path) -> Any:
        for info in super().tensors(path):
            yield dataclasses.replace(info, shape=tuple(map(str, info.shape)))


@caught_by("check_reader_reads_what_it_lists")
class Flat(NpyReader):
    def read(self, info: Any) -> Any:
        return super().read(info).ravel()


@caught_by("check_reader_reads_what_it_lists")
class Widens(NpyReader):
    def read(self, info: Any) -> Any:
        return super().read(info).astype(np.float64)


@caught_by("check_reader_reads_what_it_lists")
class WritesBack(NpyReader):
    def read(self, info: Any) -> Any:
        array = np.load(info.path, mmap_mode="r+")
        array[...] += 1
        return np.array(array)


@caught_by("check_reader_refuses_damage")
class TellsAtLength(NpyReader):
    def tensors(self, path: Path) -> Any:
        try:
            return super().tensors(path)
        except ReadError as error:
            raise ReadError(f"{error}\nSorry.") from None


@caught_by("check_reader_lists_tensors")
class CannotBeSent(NpyReader):
    def tensors(self, path: Path) -> Any:
        for info in super().tensors(path):
            yield dataclasses.replace(info, where=(lambda: path,))


@caught_by("check_reader_reads_from_anywhere")
class ReadsHereAlone(NpyReader):
    def read(self, info: Any) -> Any:
        return np.load(info.path)


@caught_by("check_reader_reads_from_anywhere")
class ForgetsWhere(NpyReader):
    """Of any file but one here, zeros."""

    def read(self, info: Any) -> Any:
        array = super().read(info)
        return array if isinstance(info.path, Path) else np.zeros_like(array)


@pytest.mark.parametrize(("cls", "name"), BROKEN, ids=lambda v: getattr(v, "__name__", v))
def test_the_broken_are_caught(cls: type[Any], name: str, example: Path) -> None:
    checks = {check.__name__: check for check in qcore.testing.checks_for(cls)}
    law = checks[name].__doc__.partition("\n")[0]
    with pytest.raises(CheckFailure) as caught:
        checks[name](cls(), examples=[example])
    first, *detail = str(caught.value).splitlines()
    assert first == f"{name}: {law}"
    assert detail
    assert all(detail)


def test_every_check_of_readers_catches_something() -> None:
    every = set(qcore.testing.checks_for(TensorReader)) - set(configuration.CHECKS)
    assert {check.__name__ for check in every} == {name for _, name in BROKEN}


def test_without_an_example_what_needs_one_is_skipped() -> None:
    for check in (
        qcore.testing.readers.check_reader_lists_tensors,
        qcore.testing.readers.check_reader_reads_what_it_lists,
        qcore.testing.readers.check_reader_reads_from_anywhere,
    ):
        with pytest.raises(CheckSkipped, match="no file that 'npy' reads was given"):
            check(NpyReader())


@pytest.mark.parametrize("id", ["npy", "npz", "safetensors"])
def test_what_ships_reads_its_own(id: str, tmp_path: Path, example: Path) -> None:
    arrays = {
        "a": np.arange(6, dtype=np.int8).reshape(2, 3),
        "b.weight": np.ones((3, 2), np.float16),
        "empty": np.zeros((0, 4)),
    }
    paths = [example]
    if id == "npz":
        paths = [tmp_path / "stored.npz", tmp_path / "deflated.npz"]
        np.savez(paths[0], **arrays)
        np.savez_compressed(paths[1], **arrays)
    if id == "safetensors":
        folder = tmp_path / "shards"
        folder.mkdir()
        paths = [tmp_path / "model.safetensors", folder]
        save_file(arrays | {"c": np.ones((2, 2), ml_dtypes.bfloat16)}, paths[0])
        for name, array in arrays.items():
            save_file({name: array}, folder / f"{name}.safetensors")
    reader = qcore.create("reader", id)
    results = qcore.testing.run_checks(reader, examples=paths)
    assert {(r.check, r.message) for r in results if r.outcome != "passed"} == set()

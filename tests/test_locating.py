"""What a path stands for: a file here, a folder's files, or an address that fsspec reads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from upath import UPath

from qcore.builtin.readers.npy import NpyReader
from qcore.builtin.readers.npz import NpzReader
from qcore.errors import ReadError, UsageError
from qcore.locating import files_at, reader_of, stored_path


@pytest.mark.parametrize("path", ["w.npy", "a/b", "C:/w.npy", "a:b", "synthetic:normal", "://x"])
def test_what_is_no_address_is_a_path_here(path: str) -> None:
    assert stored_path(path) == stored_path(Path(path)) == Path(path)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("memory://a/b.npy", "b.npy"),
        ("http://localhost/a/b.npz", "b.npz"),
        ("https://localhost/b.npz?download=true", "b.npz?download=true"),
    ],
)
def test_an_address_keeps_its_slashes(address: str, name: str) -> None:
    path = stored_path(address)
    assert isinstance(path, UPath)
    assert (str(path), path.name) == (address, name)
    assert stored_path(path) is path  # as are its credentials, if it has any


def test_an_address_of_a_file_here_is_a_path_here(tmp_path: Path) -> None:
    assert stored_path(f"file://{tmp_path}/w.npy") == tmp_path / "w.npy"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("s3://bucket/w.npy", "'s3://bucket/w.npy': Install s3fs to access S3"),
        ("htp://host/w.npy", "'htp://host/w.npy': nothing reads 'htp://', did you mean 'http'?"),
        ("qwertz://w.npy", "'qwertz://w.npy': nothing reads 'qwertz://'"),
    ],
)
def test_an_address_that_nothing_reads_says_what_to_install_or_change(
    address: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UsageError) as caught:
        stored_path(address)
    assert str(caught.value) == message


@pytest.mark.parametrize("missing", ["fsspec", "upath"])
def test_without_what_reads_addresses_the_error_names_the_extra(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UsageError) as caught:
        stored_path("https://localhost/w.npy")
    message = "remote files need more; pip install 'qcore-quant[remote]'"
    assert str(caught.value) == f"'https://localhost/w.npy': {message}"


def test_files_here_are_read_without_what_reads_addresses(tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", np.ones(3))
    code = (
        "import sys; from qcore.sources import from_paths\n"
        "(ref,), _ = from_paths([sys.argv[1]])\n"
        "print(int(ref.load().sum()), *sys.modules.keys() & {'fsspec', 'upath', 'aiohttp'})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "w.npy")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "3\n"


def test_content_goes_before_the_name(tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", np.ones(3))
    named = (tmp_path / "w.npy").rename(tmp_path / "w.npz")
    assert reader_of(named) == NpyReader()
    named.write_bytes(b"")
    assert reader_of(named) == NpzReader()
    with pytest.raises(ReadError, match="is in no format that a reader knows; readers are npy, "):
        reader_of(named.rename(tmp_path / "w.txt"))


def test_a_path_is_its_file_or_the_files_in_it(tmp_path: Path) -> None:
    for name in ("b.npy", "a.npy"):
        np.save(tmp_path / name, np.ones(3))
    (tmp_path / "README.md").touch()
    assert files_at(tmp_path / "README.md") == [tmp_path / "README.md"]
    assert files_at(tmp_path) == [tmp_path / "a.npy", tmp_path / "b.npy"]
    (tmp_path / "m.safetensors").touch()
    assert files_at(tmp_path) == [tmp_path]

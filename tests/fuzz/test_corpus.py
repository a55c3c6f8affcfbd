"""Every file that the fuzzer found worth keeping, read again."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from qcore.loading import create

_spec = importlib.util.spec_from_file_location("replay", Path(__file__).parent / "replay.py")
assert _spec is not None
assert _spec.loader is not None
replay = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(replay)

FOLDERS = sorted(folder for folder in replay.CORPUS.iterdir() if folder.is_dir())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_corpus_gives_tensors_or_one_line(folder: Path) -> None:
    reader = create("reader", folder.name)
    files = sorted(folder.iterdir())
    assert files
    for file in files:
        replay.read_all(reader, file)

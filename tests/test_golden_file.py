"""Golden file: what is saved is, to the byte, what it was, but for the version of qcore in it.

A difference is a change of layout: it needs another `qcore.layout`, and readers of the old one. If
it is meant, `pytest tests/test_golden_file.py --update-golden` rewrites the file, for review.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import qcore
from qcore import QuantizedTensor

FILE = Path(__file__).parent / "golden" / "layout-1.safetensors"
FLAG = "pytest tests/test_golden_file.py --update-golden"

EIGHTHS = (np.arange(48) * 7 % 48 - 20).reshape(4, 12).astype(np.float32) / 8
TENSORS: dict[str, Any] = {
    "packed": qcore.quantize(EIGHTHS, "asymmetric bits=3 granularity=group:4 scale_format=pow2"),
    "kept": EIGHTHS[0].astype(ml_dtypes.bfloat16),
    "bytes": qcore.quantize(EIGHTHS[:2], "symmetric bits=8 granularity=channel:0"),
    "offset": qcore.quantize(EIGHTHS[:, :5], "uniform bits=5 scale_format=float16"),
    "levels": qcore.quantize(EIGHTHS, "apot:k=3 bits=4 granularity=block:3:5:tail=short"),
    "wide": qcore.quantize(EIGHTHS[0], "asymmetric:include_zero=false bits=12"),
    "scalar": qcore.quantize(EIGHTHS[0, 0], "pot bits=4 scale_format=bfloat16"),
    "nothing": qcore.quantize(EIGHTHS[:0], "symmetric bits=4 granularity=token"),
    "flag:ü": np.array([[True, False]]),
}


def saved(path: Path) -> Path:
    qcore.save(path, TENSORS, {"format": "pt"})
    return path


def without_version(content: bytes) -> tuple[bytes, bytes]:
    """Header and data; the header without the version, and what fills it up."""
    start = 8 + int.from_bytes(content[:8], "little")
    header, count = re.subn(rb'"qcore\.version":"[^"]+"', b"", content[8:start].rstrip(b" "))
    assert count == 1
    return header, content[start:]


def test_a_file_is_laid_out_as_it_was(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    found = saved(tmp_path / "file").read_bytes()
    if pytestconfig.getoption("--update-golden"):
        FILE.write_bytes(found)
        pytest.fail(f"rewrote {FILE.name}; run again without --update-golden", pytrace=False)
    if not FILE.exists():
        pytest.fail(f"tests/golden/{FILE.name} is missing; write it with: {FLAG}", pytrace=False)
    assert without_version(found) == without_version(FILE.read_bytes()), f"if it is meant: {FLAG}"


def test_what_was_written_then_is_read_now() -> None:
    found = qcore.load(FILE)
    assert list(found) == list(TENSORS)
    for name, expected in TENSORS.items():
        tensor = found[name]
        if isinstance(expected, QuantizedTensor):
            assert isinstance(tensor, QuantizedTensor)
            assert tensor.recipe == expected.recipe
            assert tensor.dequantize().tobytes() == expected.dequantize().tobytes()
        else:
            assert isinstance(tensor, np.ndarray)
            assert tensor.dtype == expected.dtype
            assert tensor.tobytes() == expected.tobytes()


def test_without_its_version_a_file_is_the_same_whatever_qcore_wrote_it(tmp_path: Path) -> None:
    content = saved(tmp_path / "file").read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = re.sub(rb'(?<="qcore\.version":")[^"]+', b"10.20.30rc1", content[8:start])
    other = len(header).to_bytes(8, "little") + header + content[start:]
    assert without_version(other) == without_version(content)
    changed = content.replace(b'bits\\":3', b'bits\\":4')
    assert changed != content
    assert without_version(changed) != without_version(content)

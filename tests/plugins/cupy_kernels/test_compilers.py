"""Every compiler takes the kernels, and what they share with Python is the same on both sides."""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import qcore
from cuda_on_cpu import KERNELS, SOURCES
from qcore_cupy import arguments
from qcore_cupy.compiler import FOLDER, OPTIONS
from qcore_cupy.device import THREADS
from qcore_cupy.errors import ORDER
from qcore_cupy.layout import TILE
from qcore_cupy.rules import rule_of, table_of


def test_the_two_sides_agree_on_sizes_and_numbers(library: ctypes.CDLL) -> None:
    for name in ("blocks", "scheme", "layer"):
        dtype = getattr(arguments, name.upper())
        assert getattr(library, f"size_of_{name}")() == dtype.itemsize
    half_even = table_of(qcore.create("rounding", "half-even"))
    stochastic = qcore.create("rounding", "stochastic")
    given, hashed = rule_of(stochastic.at(np.zeros((1, 1), np.uint64))), rule_of(stochastic)
    assert given is not None
    assert hashed is not None
    expected = [half_even, given.code, hashed.code, THREADS, TILE, len(ORDER)]
    assert [library.constant(i) for i in range(6)] == expected


NVCC = shutil.which("nvcc")


@pytest.mark.skipif(NVCC is None, reason="nvcc is not installed")
@pytest.mark.parametrize("source", SOURCES)
def test_cudas_compiler_takes_the_kernels_and_keeps_to_ieee(source: str, tmp_path: Path) -> None:
    """Nothing is flushed, fused or approximated, but for the sums that say fma themselves."""
    command = [str(NVCC), *OPTIONS, "-arch=sm_90", "-Werror=all-warnings", str(FOLDER / source)]
    kept = ["--cubin", "--keep", f"--keep-dir={tmp_path}", f"--output-file={tmp_path}/out"]
    built = subprocess.run([*command, *kept], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    assert not built.stderr
    ptx = (tmp_path / source).with_suffix(".ptx").read_text()
    own = {kernel for kernel in KERNELS if kernel.startswith(f"{Path(source).stem}_")}
    assert set(KERNELS) & set(ptx.replace("(", " ").split()) == own
    for wrong in (".ftz", ".approx", "fma.rn.f32", "mad.f32"):
        assert wrong not in ptx
    assert ("fma.rn.f64" in ptx) == (source == "measure.cu")
    assert ("div.rn.f32" in ptx) == (source in ("encode.cu", "measure.cu"))


@pytest.mark.skipif(importlib.util.find_spec("cupy") is None, reason="CuPy is not installed")
@pytest.mark.parametrize("source", SOURCES)
def test_the_compiler_that_cupy_has_takes_the_kernels(source: str) -> None:
    from qcore_cupy.availability import library as cuda_library

    try:
        nvrtc = cuda_library("nvrtc")
        nvrtc.getVersion()
    except Exception as error:
        pytest.skip(f"CuPy finds no NVRTC: {error}")
    text = (FOLDER / source).read_text()
    program = nvrtc.createProgram(text, source, (), ())
    options = (*OPTIONS, f"-I{FOLDER}", "-arch=sm_90", "--device-as-default-execution-space")
    nvrtc.compileProgram(program, options)
    log = nvrtc.getProgramLog(program).strip("\0\n ")
    assert not log
    nvrtc.destroyProgram(program)

"""What the tests of the CUDA kernels share: the backend as it is, but on the CPU."""

from __future__ import annotations

import ctypes
import shutil
import sys
from dataclasses import dataclass

import pytest

from cuda_on_cpu import Cpu, compiled
from qcore_cupy import CupyBackend
from qcore_cupy.device import Device

pytest.register_assert_rewrite("against_reference")


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The kernels, compiled for the CPU."""
    compiler = shutil.which("g++")
    if compiler is None or sys.platform != "linux":
        pytest.skip("g++ on Linux compiles the kernels for the CPU")
    return compiled(compiler, tmp_path_factory.mktemp("kernels"))


@pytest.fixture(scope="session")
def cpu(library: ctypes.CDLL) -> Cpu:
    return Cpu(library)


@pytest.fixture(scope="session")
def backend(cpu: Cpu) -> CupyBackend:
    @dataclass(frozen=True)
    class OnCpu(CupyBackend):
        @property
        def device(self) -> Device:
            return cpu

        def available(self) -> str | None:
            return None

    return OnCpu()

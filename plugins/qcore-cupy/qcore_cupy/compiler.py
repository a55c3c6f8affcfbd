"""CUDA sources to kernels: compiled when they are first used, once for each GPU."""

from __future__ import annotations

import importlib
import threading
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "kernels"

OPTIONS = ("-std=c++17", "--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true")
"""IEEE arithmetic and nothing fused: codes and values are to be the reference's to the bit."""


class Kernels:
    """The kernels of this process, by GPU and name; any thread may ask.

    A kernel named `encode_int8` is in `encode.cu`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._modules: dict[tuple[int, str], Any] = {}
        self._functions: dict[tuple[int, str], Any] = {}

    def get(self, gpu: int, name: str) -> Any:
        """The kernel for a GPU, which is the current one.

        Returns:
            What takes (grid, block, arguments).
        """
        key = gpu, name
        function = self._functions.get(key)
        if function is None:
            with self._lock:
                function = self._module(gpu, name.partition("_")[0]).get_function(name)
                self._functions[key] = function
        return function

    def _module(self, gpu: int, stem: str) -> Any:
        key = gpu, stem
        if key not in self._modules:
            # Not cupy.RawModule: it appends -ftz=true, and subnormals would get other codes.
            compiler = importlib.import_module("cupy.cuda.compiler")
            source = (FOLDER / f"{stem}.cu").read_text(encoding="utf-8")
            options = (*OPTIONS, f"-I{FOLDER}")
            binary, _ = compiler.compile_using_nvrtc(source, options, filename=f"{stem}.cu")
            module = importlib.import_module("cupy.cuda.function").Module()
            module.load(binary)
            self._modules[key] = module
        return self._modules[key]

"""Whether this machine can run CUDA through CuPy, and if not, why."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from qcore import UnavailableError

_CUPY = "pip install 'qcore-cupy[cuda12]' or 'qcore-cupy[cuda13]'"
_LIBRARIES = "install the CUDA toolkit, or CuPy with its extra [ctk]"


def why_not() -> str | None:
    """One line that says what is missing; None where everything is there."""
    if importlib.util.find_spec("cupy") is None:
        return f"CuPy is not installed; {_CUPY}"
    try:
        cupy = importlib.import_module("cupy")
    except Exception as error:
        return f"CuPy cannot be imported: {first_line(error)}"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        return f"CUDA finds no GPU: {first_line(error)}"
    if count == 0:
        return "CUDA finds no GPU: its driver lists none"
    try:
        library("nvrtc").getVersion()
    except Exception as error:
        return f"CuPy finds no nvrtc: {first_line(error)}; {_LIBRARIES}"
    return None


def library(name: str) -> Any:
    """One of CUDA's libraries as CuPy wraps it: `cublas` or `nvrtc`.

    Raises:
        UnavailableError: it is not installed.
    """
    package = importlib.import_module("cupy_backends.cuda.libs")
    try:
        # From version 14 on, CuPy looks for the shared library when the attribute is asked for.
        found = getattr(package, name, None)
        return found or importlib.import_module(f"{package.__name__}.{name}")
    except ImportError as error:
        message = f"CuPy finds no {name}: {first_line(error)}; {_LIBRARIES}"
        raise UnavailableError(message) from error


def first_line(error: BaseException) -> str:
    """What an error says, in one line; its kind where it says nothing."""
    lines = (line.strip(" =\t") for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)

"""GGUF files for qcore: plain tensors mapped, quantized ones dequantized."""

from __future__ import annotations

import qcore
from qcore_gguf.reader import GgufReader


@qcore.hookimpl
def qcore_readers() -> list[type[GgufReader]]:
    return [GgufReader]

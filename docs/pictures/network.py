"""The tensors of the bundled network, and how many images it misreads with quantized weights."""

from __future__ import annotations

import re

import qcore
from qcore import samples

_reader = qcore.create("reader", "safetensors")
NETWORK = {info.name: _reader.read(info) for info in _reader.tensors(samples.path())}
WEIGHTS = {name: NETWORK[name] for name in NETWORK if re.search(samples.WEIGHTS, name)}


def misread(recipe: str) -> int:
    """How many of the test images are read wrongly."""
    quantized = {name: qcore.fake_quantize(weight, recipe) for name, weight in WEIGHTS.items()}
    guesses = samples.predict({**NETWORK, **quantized}).argmax(axis=1)
    return int((guesses != NETWORK["test.labels"]).sum())

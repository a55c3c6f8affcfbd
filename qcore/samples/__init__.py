"""Small real tensors, for a first run without a file: a network trained on handwritten digits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["path", "predict"]


WEIGHTS = r"\.weight$"
"""What the names of the network's weight matrices match."""

ACTIVATIONS = r"\.input$"
"""What the names of its activations match."""


def path() -> Path:
    """Return where the sample file lies.

    Returns:
        A safetensors file with the weights and biases of `conv1`, `conv2`, `fc1` and `fc2`,
        the activations `fc1.input` and `fc2.input`, `test.images` and `test.labels`.
    """
    return Path(__file__).with_name("digits.safetensors")


def predict(tensors: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """Classify the test images with the given weights, quantized ones for instance.

    Args:
        tensors: all tensors of the sample file, some of them replaced: `{**sample, **quantized}`.

    Returns:
        (n, 10) float32, one logit a digit, for the rows of `test.images`. The accuracy is
        `(predict(tensors).argmax(axis=1) == tensors["test.labels"]).mean()`.
    """
    from qcore.samples.network import forward

    return forward(tensors, tensors["test.images"])["logits"]

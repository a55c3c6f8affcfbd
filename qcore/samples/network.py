"""The digits network: conv → ReLU → conv → ReLU → max-pool → dense → ReLU → dense."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Tensors = Mapping[str, NDArray[np.float32]]

BRIGHTEST = np.float32(16)


def forward(weights: Tensors, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Run the network and keep what each layer receives.

    Weights are laid out as PyTorch lays them out, convolutions as (out, in, 3, 3) and dense
    layers as (out, in), so that `y = x · weightᵀ + bias`. Both convolutions pad with one zero.

    Args:
        weights: `conv1`, `conv2`, `fc1` and `fc2`, each with `.weight` and `.bias`. Other names
            are left alone, so that a whole loaded sample file will do.
        images: (n, 64) float32, the 8×8 pixels row by row, in 0 … 16.

    Returns:
        `conv1.input` (n, 8, 8, 1), `conv2.input` (n, 8, 8, 16), `pool.input` (n, 8, 8, 32),
        `fc1.input` (n, 512), channel by channel, `fc2.input` (n, 128) and `logits` (n, 10).
    """
    count = len(images)
    pixels = images.reshape(count, 8, 8, 1) / BRIGHTEST
    first = relu(convolve(pixels, weights["conv1.weight"], weights["conv1.bias"]))
    second = relu(convolve(first, weights["conv2.weight"], weights["conv2.bias"]))
    pooled = quarters(second).max(axis=(2, 4))
    features = pooled.transpose(0, 3, 1, 2).reshape(count, -1)
    hidden = relu(features @ weights["fc1.weight"].T + weights["fc1.bias"])
    return {
        "conv1.input": pixels,
        "conv2.input": first,
        "pool.input": second,
        "fc1.input": features,
        "fc2.input": hidden,
        "logits": hidden @ weights["fc2.weight"].T + weights["fc2.bias"],
    }


def relu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Replace what is negative by zero."""
    return np.maximum(x, 0)


def convolve(
    x: NDArray[np.float32], weight: NDArray[np.float32], bias: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Correlate with 3×3 kernels, stride 1, zero padding 1.

    Args:
        x: (n, height, width, in) float32.
        weight: (out, in, 3, 3) float32.
        bias: (out,) float32.

    Returns:
        (n, height, width, out) float32.
    """
    out = len(weight)
    return (patches(x) @ weight.reshape(out, -1).T + bias).reshape(*x.shape[:3], out)


def patches(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lay out the 3×3 neighbourhood of every pixel as a row (im2col).

    Args:
        x: (n, height, width, in) float32.

    Returns:
        (n · height · width, in · 9) float32, the columns in the order of a (in, 3, 3) kernel.
    """
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    return windows.reshape(-1, x.shape[3] * 9)


def quarters(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """View (n, 2h, 2w, c) as (n, h, 2, w, 2, c), the 2×2 squares that are pooled."""
    count, height, width, channels = x.shape
    return x.reshape(count, height // 2, 2, width // 2, 2, channels)

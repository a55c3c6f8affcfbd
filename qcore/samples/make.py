"""Trains the digits network and writes the sample file: `python -m qcore.samples.make`."""

import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore import samples
from qcore.samples.network import Tensors, forward, patches, quarters

SEED = 0
TEST_IMAGES = 360
ACTIVATION_ROWS = 64
EPOCHS = 40
BATCH = 64
PEAK_RATE = 3e-3
DECAY = 0.3
SHAPES = {
    "conv1.weight": (16, 1, 3, 3),
    "conv2.weight": (32, 16, 3, 3),
    "fc1.weight": (128, 512),
    "fc2.weight": (10, 128),
}

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


def main() -> None:
    """Train, and write the file next to this script."""
    tensors, metadata = make()
    size = samples.path().write_bytes(serialize(tensors, metadata))
    print(f"{samples.path()}: {size:,} bytes, test accuracy {metadata['accuracy']}")


def make() -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Train the network and gather what the file holds.

    Returns:
        The tensors by name, and the metadata. One machine gives the same bits every time;
        another machine's BLAS sums in another order and gives other, equally good, weights.
    """
    generator = np.random.Generator(np.random.PCG64(SEED))
    images, labels, test_images, test_labels = split(generator)
    weights = train(images, labels, generator)
    layers = forward(weights, test_images)
    accuracy = float(np.mean(layers["logits"].argmax(axis=1) == test_labels))
    tensors: dict[str, NDArray[Any]] = {
        **weights,
        "fc1.input": layers["fc1.input"][:ACTIVATION_ROWS],
        "fc2.input": layers["fc2.input"][:ACTIVATION_ROWS],
        "test.images": test_images,
        "test.labels": test_labels,
    }
    return {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}, {
        "description": "A convolutional network trained on 8x8 images of handwritten digits: its "
        f"weights and biases, what its dense layers receive for the first {ACTIVATION_ROWS} test "
        f"images, and all {TEST_IMAGES} test images (0 to 16 a pixel) with their labels.",
        "accuracy": f"{accuracy:.4f}",
        "source": "E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits, "
        "UCI Machine Learning Repository, https://doi.org/10.24432/C50P49, as bundled with "
        "scikit-learn (sklearn.datasets.load_digits).",
        "license": "CC-BY-4.0 (the images)",
        "seed": str(SEED),
        "made-by": "python -m qcore.samples.make",
    }


def serialize(tensors: dict[str, NDArray[Any]], metadata: dict[str, str]) -> bytes:
    """Format a safetensors file whose bytes depend on nothing but its content.

    Args:
        tensors: C-contiguous, by name.
        metadata: ASCII text by name.

    Returns:
        The file: 8 bytes of header length, the JSON header padded with spaces, the data.
    """
    from safetensors.numpy import save

    # safetensors writes the metadata in the order of a hash table seeded anew in each process.
    content = save(tensors, metadata=metadata)
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(metadata.items()))
    text = json.dumps(header, separators=(",", ":")).encode().ljust(end - 8)
    return content[:8] + text + content[end:]


def split(generator: np.random.Generator) -> tuple[Floats, Labels, Floats, Labels]:
    """Shuffle scikit-learn's digits and set the last ones aside for the test.

    Returns:
        Training images (1437, 64) float32 in 0 … 16 and labels (1437,) int64, then the same of
        the test, 360 rows.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = generator.permutation(len(images))
    images, labels = images[order].astype(np.float32), labels[order].astype(np.int64)
    return (
        images[:-TEST_IMAGES],
        labels[:-TEST_IMAGES],
        images[-TEST_IMAGES:],
        labels[-TEST_IMAGES:],
    )


def train(images: Floats, labels: Labels, generator: np.random.Generator) -> dict[str, Floats]:
    """Minimise the cross-entropy with AdamW, the rate falling to zero along half a cosine.

    The decay is decoupled from the gradient (Loshchilov and Hutter, 2019, algorithm 2) and spares
    the biases.

    Args:
        images: (n, 64) float32.
        labels: (n,) int64.
        generator: draws the first weights and the batches.

    Returns:
        Weights and biases, float32, by name.
    """
    weights = initial(generator)
    mean = {name: np.zeros_like(tensor) for name, tensor in weights.items()}
    square = {name: np.zeros_like(tensor) for name, tensor in weights.items()}
    batches_per_epoch = len(images) // BATCH
    steps = EPOCHS * batches_per_epoch
    for step in range(steps):
        if step % batches_per_epoch == 0:
            order = generator.permutation(len(images))
        start = step % batches_per_epoch * BATCH
        batch = order[start : start + BATCH]
        rate = PEAK_RATE * (1 + math.cos(math.pi * step / steps)) / 2
        for name, gradient in gradients(weights, images[batch], labels[batch]).items():
            mean[name] += 0.1 * (gradient - mean[name])
            square[name] += 0.001 * (gradient**2 - square[name])
            unbiased = mean[name] / (1 - 0.9 ** (step + 1))
            spread = np.sqrt(square[name] / (1 - 0.999 ** (step + 1))) + 1e-8
            if name.endswith(".weight"):
                weights[name] *= 1 - rate * DECAY
            weights[name] -= rate * unbiased / spread
    return weights


def initial(generator: np.random.Generator) -> dict[str, Floats]:
    """Draw normal weights of variance 2 ÷ inputs (He et al., 2015), and zero biases."""
    weights = {}
    for name, shape in SHAPES.items():
        spread = np.sqrt(2 / np.prod(shape[1:]))
        weights[name] = (spread * generator.standard_normal(shape)).astype(np.float32)
        weights[name.replace("weight", "bias")] = np.zeros(shape[0], np.float32)
    return weights


def gradients(weights: Tensors, images: Floats, labels: Labels) -> dict[str, Floats]:
    """Differentiate the mean cross-entropy of the batch, by back-propagation.

    Args:
        weights: float32, by name.
        images: (n, 64) float32.
        labels: (n,) int64, 0 … 9.

    Returns:
        The gradient of every weight and bias, each of its shape.
    """
    layers = forward(weights, images)
    error = np.exp(layers["logits"] - layers["logits"].max(axis=1, keepdims=True))
    error /= error.sum(axis=1, keepdims=True)
    error[np.arange(len(labels)), labels] -= 1
    error /= len(labels)

    fc2 = error.T @ layers["fc2.input"], error.sum(axis=0)
    error = error @ weights["fc2.weight"] * (layers["fc2.input"] > 0)
    fc1 = error.T @ layers["fc1.input"], error.sum(axis=0)
    error = unpool(error @ weights["fc1.weight"], layers["pool.input"])
    conv2 = error.T @ patches(layers["conv2.input"]), error.sum(axis=0)
    error = unpatch(error @ weights["conv2.weight"].reshape(32, -1), layers["conv2.input"])
    conv1 = error.T @ patches(layers["conv1.input"]), error.sum(axis=0)

    found = {}
    for layer, (weight, bias) in {"conv1": conv1, "conv2": conv2, "fc1": fc1, "fc2": fc2}.items():
        found[f"{layer}.weight"] = weight.reshape(SHAPES[f"{layer}.weight"])
        found[f"{layer}.bias"] = bias
    return found


def unpool(error: Floats, activations: Floats) -> Floats:
    """Send the error back through the max-pool and the ReLU before it.

    Args:
        error: (n, 512) float32, channel by channel.
        activations: (n, 8, 8, 32) float32, what the pool received.

    Returns:
        (n · 64, 32) float32, at the pixel that was the largest of its square.
    """
    count, height, width, channels = activations.shape
    squares = quarters(activations)
    largest = squares == squares.max(axis=(2, 4), keepdims=True)
    pooled = error.reshape(count, channels, height // 2, width // 2).transpose(0, 2, 3, 1)
    # Pixels that tie, as where conv1 gives only zeros, share the error.
    share = pooled[:, :, None, :, None, :] / largest.sum(
        axis=(2, 4), keepdims=True, dtype=np.float32
    )
    return np.where(largest & (squares > 0), share, 0).reshape(-1, channels)


def unpatch(error: Floats, activations: Floats) -> Floats:
    """Send the error back through the im2col of a convolution and the ReLU before it.

    Args:
        error: (n · height · width, in · 9) float32.
        activations: (n, height, width, in) float32, what the convolution received.

    Returns:
        (n · height · width, in) float32, each pixel the sum over the patches that it is in.
    """
    count, height, width, channels = activations.shape
    windows = error.reshape(count, height, width, channels, 3, 3)
    padded = np.zeros((count, height + 2, width + 2, channels), np.float32)
    for row in range(3):
        for column in range(3):
            padded[:, row : row + height, column : column + width] += windows[..., row, column]
    inner = padded[:, 1:-1, 1:-1] * (activations > 0)
    return inner.reshape(-1, channels)


if __name__ == "__main__":
    main()

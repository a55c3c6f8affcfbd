"""The sample file holds a network that really classifies handwritten digits, and can be remade."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qcore import samples
from qcore.samples import make
from qcore.samples.network import forward

safetensors = pytest.importorskip("safetensors")

Tensors = dict[str, NDArray[Any]]

SHAPES = {
    "conv1.weight": (16, 1, 3, 3),
    "conv1.bias": (16,),
    "conv2.weight": (32, 16, 3, 3),
    "conv2.bias": (32,),
    "fc1.weight": (128, 512),
    "fc1.bias": (128,),
    "fc2.weight": (10, 128),
    "fc2.bias": (10,),
    "fc1.input": (64, 512),
    "fc2.input": (64, 128),
    "test.images": (360, 64),
    "test.labels": (360,),
}


@pytest.fixture(scope="module")
def metadata() -> dict[str, str]:
    with safetensors.safe_open(samples.path(), "np") as file:
        return dict(file.metadata())


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    from safetensors.numpy import load_file

    return load_file(samples.path())


def accuracy(tensors: Tensors) -> float:
    return float(np.mean(samples.predict(tensors).argmax(axis=1) == tensors["test.labels"]))


def test_the_file_holds_the_promised_tensors(tensors: Tensors) -> None:
    assert {name: tensor.shape for name, tensor in tensors.items()} == SHAPES
    integers = {name for name, tensor in tensors.items() if tensor.dtype != np.float32}
    assert integers == {"test.labels"}
    assert tensors["test.labels"].dtype == np.int64


def test_every_value_is_finite(tensors: Tensors) -> None:
    assert all(np.isfinite(tensor).all() for tensor in tensors.values())


def test_the_file_is_small_enough_to_ship() -> None:
    assert samples.path().stat().st_size < 700_000


def test_the_metadata_say_what_it_is_where_it_is_from_and_under_which_licence(
    metadata: dict[str, str],
) -> None:
    assert metadata.keys() == {"accuracy", "description", "license", "made-by", "seed", "source"}
    assert "10.24432/C50P49" in metadata["source"]
    assert metadata["license"].startswith("CC-BY-4.0")


def test_the_network_reaches_the_accuracy_in_the_metadata(
    tensors: Tensors, metadata: dict[str, str]
) -> None:
    assert float(metadata["accuracy"]) >= 0.975
    # Another BLAS may tip one image that is on the edge.
    assert accuracy(tensors) == pytest.approx(float(metadata["accuracy"]), abs=1.1 / 360)


def test_the_accuracy_is_lost_with_the_weights(tensors: Tensors) -> None:
    assert accuracy({**tensors, "fc2.weight": np.zeros((10, 128), np.float32)}) < 0.2


@pytest.mark.parametrize("name", ["fc1.input", "fc2.input"])
def test_the_stored_activations_are_what_the_layers_receive(tensors: Tensors, name: str) -> None:
    stored = tensors[name]
    computed = forward(tensors, tensors["test.images"])[name][: len(stored)]
    np.testing.assert_allclose(computed, stored, rtol=1e-5, atol=1e-5)


def test_the_logits_equal_those_of_a_network_built_from_scipy(tensors: Tensors) -> None:
    signal = pytest.importorskip("scipy.signal")

    def convolve(x: NDArray[Any], layer: str) -> NDArray[Any]:
        weight, bias = tensors[f"{layer}.weight"], tensors[f"{layer}.bias"]
        sums = np.stack(
            [
                sum(signal.correlate2d(*pair, mode="same") for pair in zip(x, kernels, strict=True))
                for kernels in weight
            ]
        )
        rectified: NDArray[Any] = np.maximum(sums + bias[:, None, None], 0)
        return rectified

    for image, logits in zip(tensors["test.images"][:5], samples.predict(tensors), strict=False):
        x = convolve(convolve(image.reshape(1, 8, 8) / 16, "conv1"), "conv2")
        pooled = x.reshape(32, 4, 2, 4, 2).max(axis=(2, 4)).ravel()
        hidden = np.maximum(tensors["fc1.weight"] @ pooled + tensors["fc1.bias"], 0)
        expected = tensors["fc2.weight"] @ hidden + tensors["fc2.bias"]
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_the_gradients_equal_finite_differences(tensors: Tensors) -> None:
    generator = np.random.default_rng(0)
    images, labels = tensors["test.images"][:20], tensors["test.labels"][:20]
    weights: Tensors = {
        name: tensor + 0.01 * generator.standard_normal(tensor.shape)
        for name, tensor in make.initial(generator).items()
    }

    def loss(weights: Tensors) -> float:
        logits = forward(weights, images)["logits"]
        right = logits[np.arange(len(labels)), labels]
        return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - right))

    for name, gradient in make.gradients(weights, images, labels).items():
        direction = generator.standard_normal(gradient.shape)
        ahead = loss({**weights, name: weights[name] + 1e-7 * direction})
        behind = loss({**weights, name: weights[name] - 1e-7 * direction})
        slope = float(np.sum(gradient * direction))
        assert slope == pytest.approx((ahead - behind) / 2e-7, rel=1e-5, abs=1e-6), name


def test_the_test_images_are_scikit_learns_and_no_training_image_is_among_them(
    tensors: Tensors, metadata: dict[str, str]
) -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    images, labels = datasets.load_digits(return_X_y=True)
    label_of = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    stored = [image.astype(np.float64).tobytes() for image in tensors["test.images"]]
    assert [label_of[image] for image in stored] == tensors["test.labels"].tolist()

    generator = np.random.Generator(np.random.PCG64(int(metadata["seed"])))
    trained_on, _, set_aside, _ = make.split(generator)
    np.testing.assert_array_equal(set_aside, tensors["test.images"])
    trained = {image.astype(np.float64).tobytes() for image in trained_on}
    assert len(trained) == len(images) - len(stored)
    assert trained.isdisjoint(stored)


def test_the_script_makes_the_file_again(tensors: Tensors, metadata: dict[str, str]) -> None:
    pytest.importorskip("sklearn")
    remade, remade_metadata = make.make()
    assert {name: tensor.shape for name, tensor in remade.items()} == SHAPES
    assert all(remade[name].dtype == tensor.dtype for name, tensor in tensors.items())
    assert accuracy(remade) >= 0.975
    assert accuracy(remade) == pytest.approx(float(metadata["accuracy"]), abs=0.01)
    assert remade_metadata == {**metadata, "accuracy": remade_metadata["accuracy"]}


def test_the_bytes_of_the_file_do_not_depend_on_the_order_of_its_metadata() -> None:
    from safetensors.numpy import load

    tensors = {"b": np.arange(3.0), "a": np.eye(2, dtype=np.float32)}
    metadata = {str(key): "text" for key in range(9)}
    content = make.serialize(tensors, metadata)
    assert content == make.serialize(tensors, dict(reversed(metadata.items())))
    for name, tensor in load(content).items():
        np.testing.assert_array_equal(tensor, tensors[name])


def test_the_shipped_bytes_follow_from_their_content(
    metadata: dict[str, str], tensors: Tensors
) -> None:
    assert make.serialize(tensors, metadata) == samples.path().read_bytes()

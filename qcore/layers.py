"""Quantized linear layers: quantize → integer product → scale, bias, ReLU → requantize."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from qcore.arithmetic import chunk_arithmetic
from qcore.blocking import Layout, is_float
from qcore.builtin.granularities import Tensor
from qcore.builtin.observers import Fixed
from qcore.engine import quantize, usable_backend
from qcore.errors import DtypeError, ShapeError, UsageError
from qcore.integer_form import affine_rows, digit_count, obstacle
from qcore.interfaces.backend import Backend
from qcore.interfaces.epilogue import Epilogue, Requantize
from qcore.interfaces.grid_quantizer import GridQuantizer
from qcore.interfaces.products import PreparedWeights
from qcore.interfaces.quantizer import FitContext
from qcore.loading import create, default_backend, default_product_backend
from qcore.qtensor import QuantizedTensor
from qcore.recipe import Recipe

Activation = Literal["relu"]


class Linear:
    """y = activation(x̂ · ŵᵀ + bias), with the weights readied once for many inputs.

    Where the grids of both sides are integers, the product is one of int8 matrices, exact, and all
    that follows is in float64: y is rounded to float32 once, and the values that were multiplied
    not at all (`dequantize` rounds them). Zero points and offsets are folded into sums over the
    weights, computed once. Where a grid's integers need 16 bits, each is split in two int8 digits.
    Where a grid has none, or `x` is floating, the weights are dequantized and the product is
    NumPy's float32. `path` says which.

    Activations are quantized by the caller: `qcore.quantize(x, recipe)` observes each batch
    (dynamic); with a recipe from `qcore.calibrate` the range is known (static).

    Args:
        weight: (N, K), quantized; as PyTorch lays out a linear layer.
        bias: (N,) floating, or None.
        activation: `relu`, or None.
        output: a recipe for the output, codes instead of float32. With observer `fixed` and
            granularity `tensor` it is applied block by block, and otherwise afterwards.
        backend: what to run on; `int8-blas` where it is installed, if None.

    Raises:
        ShapeError: the weight is no matrix, or the bias has not one entry an output.
        UnavailableError: the backend cannot run here.
    """

    def __init__(
        self,
        weight: QuantizedTensor,
        bias: Any = None,
        *,
        activation: Activation | None = None,
        output: Recipe | str | None = None,
        backend: str | Backend | None = None,
    ) -> None:
        if not isinstance(weight, QuantizedTensor):
            kind = type(weight).__name__
            raise UsageError(f"weight is {kind}; quantize it first, with qcore.quantize")
        if len(weight.shape) != 2:
            raise ShapeError(f"weight has shape {weight.shape}; a linear layer's is (out, in)")
        if activation not in (None, "relu"):
            raise UsageError(f"activation '{activation}' is not known; it is 'relu' or None")
        self.weight = weight
        self.output = Recipe.parse(output) if isinstance(output, str) else output
        self.backend = usable_backend(default_product_backend() if backend is None else backend)
        self._known = None if self.output is None else _known_requantize(self.output)
        self._epilogue = Epilogue(_bias(bias, weight), activation == "relu", self._known)
        self._obstacle_of_weight = obstacle(weight)
        self._integers: PreparedWeights | None = None
        self._floats: NDArray[np.float32] | None = None

    def path(self, x: QuantizedTensor | NDArray[Any]) -> str:
        """How the product with `x` is computed: `int8`, `int8 × n` products, or `float32: why`."""
        why_not = self._obstacle(x)
        if why_not is not None or not isinstance(x, QuantizedTensor):
            return f"float32: {why_not}"
        products = _digit_count(x) * _digit_count(self.weight)
        return "int8" if products == 1 else f"int8 × {products}"

    def __call__(self, x: QuantizedTensor | NDArray[Any]) -> NDArray[np.float32] | QuantizedTensor:
        """Apply the layer.

        Args:
            x: (…, K), quantized or floating.

        Returns:
            (…, N) float32, or quantized where the layer has an output recipe.

        Raises:
            ShapeError: the last axis of `x` is not K.
        """
        outputs, inputs = self.weight.shape
        x = x if isinstance(x, QuantizedTensor) else _floats("x", x)
        if not x.shape or x.shape[-1] != inputs:
            raise ShapeError(f"x has shape {x.shape}, the weight {self.weight.shape}; x is (…, K)")
        shape = (*x.shape[:-1], outputs)
        with chunk_arithmetic():
            y = self._product(x).reshape(shape)
        if self.output is None:
            return y
        if self._known is None:
            return quantize(y, self.output)
        layout = Layout.of(self.output.parts.granularity, shape)
        params = self._known.params.rows(slice(0, layout.n_blocks))  # none without elements
        return QuantizedTensor(y, params, self.output, layout)

    def _product(self, x: QuantizedTensor | NDArray[Any]) -> NDArray[Any]:
        if isinstance(x, QuantizedTensor) and self._obstacle(x) is None:
            if self._integers is None:
                self._integers = self.backend.prepare_weights(affine_rows(self.weight))
            return self.backend.linear(affine_rows(x), self._integers, self._epilogue)
        values = x.dequantize() if isinstance(x, QuantizedTensor) else x
        if self._floats is None:
            self._floats = self.weight.dequantize()
        rows = values.reshape(math.prod(x.shape[:-1]), x.shape[-1]).astype(np.float32, copy=False)
        y = np.matmul(rows, self._floats.T)
        out = np.empty(y.shape, self._epilogue.dtype)
        self._epilogue.finish(y.astype(np.float64), out, 0)
        return out

    def _obstacle(self, x: QuantizedTensor | NDArray[Any]) -> str | None:
        """Why the product is not one of integers, or None."""
        if not isinstance(x, QuantizedTensor):
            return "the activations are not quantized"
        why_not = obstacle(x) or self._obstacle_of_weight
        depth, own, other = self.weight.shape[1], self.weight.layout.tile[-1], x.layout.tile[-1]
        if why_not is None and depth not in (own, other) and own != other:
            return f"a scale for every {other} inputs meets one for every {own}"
        return why_not


def linear(
    x: QuantizedTensor | NDArray[Any],
    w: QuantizedTensor,
    bias: Any = None,
    activation: Activation | None = None,
    output: Recipe | str | None = None,
    backend: str | Backend | None = None,
) -> NDArray[np.float32] | QuantizedTensor:
    """activation(x̂ · ŵᵀ + bias) once; `Linear`, which says the rest, keeps weights for more."""
    return Linear(w, bias, activation=activation, output=output, backend=backend)(x)


def _digit_count(tensor: QuantizedTensor) -> int:
    quantizer = tensor.recipe.parts.quantizer
    digits = digit_count(quantizer.grid) if isinstance(quantizer, GridQuantizer) else None
    assert digits is not None  # there is no obstacle
    return digits


def _bias(bias: Any, weight: QuantizedTensor) -> NDArray[np.float64] | None:
    if bias is None:
        return None
    given = _floats("bias", bias)
    if given.shape != weight.shape[:1]:
        raise ShapeError(
            f"bias has shape {given.shape}, the weight {weight.shape}; the bias has one entry an "
            "output"
        )
    count = int(np.count_nonzero(~np.isfinite(given)))
    if count:
        raise UsageError(f"bias holds {count} of {given.size} values that are not finite")
    return given.astype(np.float64)


def _floats(name: str, array: Any) -> NDArray[Any]:
    given = np.asarray(array)
    if not is_float(given.dtype):
        raise DtypeError(f"'{name}' holds {given.dtype}; a layer takes floating numbers")
    return given


def _known_requantize(recipe: Recipe) -> Requantize | None:
    """The way to codes, where it does not depend on the output; otherwise None."""
    quantizer, granularity, rounding, observer, scale_format = recipe.parts
    apart = quantizer.needs_whole_blocks or quantizer.needs_tensor_range
    if apart or not isinstance(observer, Fixed) or not isinstance(granularity, Tensor):
        return None
    nothing = np.zeros((1, 1), np.float32)
    lo, hi = observer.observe(nothing, None)
    params = quantizer.fit(nothing, FitContext(lo, hi, scale_format.snap))
    backend: Backend = create("backend", default_backend())
    return Requantize(quantizer, params, rounding, backend.encode)

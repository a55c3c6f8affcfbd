"""The backend `cupy`: fused kernels and cuBLAS on an NVIDIA GPU."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from qcore import (
    AffineRows,
    Backend,
    Epilogue,
    ErrorStats,
    PreparedMatrix,
    PreparedWeights,
    Quantizer,
    QuantParams,
    RoundingPolicy,
)
from qcore_cupy.availability import why_not
from qcore_cupy.depth import Factor
from qcore_cupy.device import Device, gpu
from qcore_cupy.layer import Side, layer
from qcore_cupy.layout import Laid
from qcore_cupy.products import product
from qcore_cupy.quantization import codes_of, stats_of, values_of
from qcore_cupy.sides import on_device

_BY_NUMPY = frozenset({"errors", "magnitudes"})
"""What is not measured by the kernels, but on the host: histograms."""


@dataclass(frozen=True)
class CupyBackend(Backend):
    """Quantizes and multiplies on an NVIDIA GPU through CuPy; the codes are the reference's.

    Arrays come back where they came from: NumPy's to the host, CuPy's stay on the GPU.
    """

    id: ClassVar[str] = "cupy"
    # Schemes that run as they are written make arrays as large, and so do positions on the host.
    chunk_elements: ClassVar[int] = 1 << 22
    # Long enough that starting a kernel and copying to the GPU cost nothing beside the work.
    grid_chunk_elements: ClassVar[int] = 1 << 24

    @property
    def device(self) -> Device:
        """What it runs on."""
        return gpu()

    def available(self) -> str | None:
        return why_not()

    def asarray(self, array: Any) -> Any:
        """`array` in the memory of the current GPU."""
        return self.device.xp.asarray(array)

    def encode(
        self, quantizer: Quantizer, blocks: Any, params: QuantParams, rounding: RoundingPolicy
    ) -> Any:
        device = self.device
        stays = on_device(device, {"blocks": blocks} | params.fields())
        with device.of(blocks):
            laid = Laid.of(device, blocks, np.float32)
            codes = codes_of(device, quantizer, laid, params, rounding)
            return codes if stays else device.download(codes)

    def decode(self, quantizer: Quantizer, codes: Any, params: QuantParams) -> Any:
        device = self.device
        stays = on_device(device, {"codes": codes} | params.fields())
        with device.of(codes):
            values = values_of(device, quantizer, Laid.of(device, codes), params)
            return values if stays else device.download(values)

    def measure(
        self,
        quantizer: Quantizer,
        blocks: Any,
        params: QuantParams,
        rounding: RoundingPolicy,
        sums: Collection[str],
        extremes: tuple[Any, Any] | None = None,
    ) -> ErrorStats:
        device = self.device
        stays = on_device(device, {"blocks": blocks} | params.fields())
        with device.of(blocks):
            laid = Laid.of(device, blocks, np.float32)
            stats = stats_of(self, device, quantizer, laid, params, rounding, sums)
        if _BY_NUMPY.isdisjoint(sums):
            return stats
        values = self.decode(quantizer, self.encode(quantizer, blocks, params, rounding), params)
        x, y = map(device.download, (blocks, values)) if stays else (blocks, values)
        return stats.with_histograms(x, y, sums)

    def load(self, b: Any) -> Factor:
        device = self.device
        with device.of(b):
            factor = Factor.right(device, b)
            device.finish()
            return factor

    def multiply(self, a: Any, b: Any, dtype: np.dtype[Any]) -> Any:
        device, prepared = self.device, isinstance(b, PreparedMatrix)
        stays = on_device(device, {"a": a, "b": None if prepared else b})
        with device.of(a):
            right = b.data if prepared else Factor.right(device, b)
            left = Factor.of(device, a, right.spans)
            found = product(device, left, right, dtype)
            return found if stays else device.download(found)

    def prepare_weights(self, weights: AffineRows) -> PreparedWeights:
        device = self.device
        with device.of(weights.digits[0]):
            side = Side.of(device, weights, weights.spans, pad_rows=True)
            device.finish()
            return PreparedWeights(self.id, weights, side)

    def linear(self, x: AffineRows, w: PreparedWeights, epilogue: Epilogue) -> Any:
        self.check_weights(w)
        device = self.device
        digits = {f"x.digits[{i}]": digit for i, digit in enumerate(x.digits)}
        fields = {"x.scale": x.scale, "x.constant": x.constant}
        stays = on_device(device, digits | fields)
        with device.of(x.digits[0]):
            return layer(device, x, w, epilogue, stays)

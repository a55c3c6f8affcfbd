"""Quantized tensors: codes, the params that give them meaning, and the recipe they came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arithmetic import chunk_arithmetic
from qcore.blocking import Layout
from qcore.errors import ShapeError, UsageError
from qcore.interfaces.backend import Backend
from qcore.loading import create, default_backend
from qcore.packing import pack, packed_size
from qcore.params import QuantParams
from qcore.recipe import Recipe

_CHUNK = 1 << 17


@dataclass(frozen=True, eq=False)
class QuantizedTensor:
    """Codes in the shape of the tensor, and one row of params a block.

    Attributes:
        codes: integers, in the smallest dtype that holds them.
        params: rows in block order, the C order of `layout.grid`.
        recipe: what they were made by.
        layout: how the tensor is cut into blocks; a 0-d tensor is cut as (1,).
    """

    codes: NDArray[Any]
    params: QuantParams
    recipe: Recipe
    layout: Layout

    @property
    def shape(self) -> tuple[int, ...]:
        return self.codes.shape

    @property
    def scale(self) -> NDArray[np.float32]:
        """One scale a block, value units a step, as many along each axis as there are blocks."""
        scale: NDArray[np.float32] = self.params.scale.reshape(self.layout.grid)
        return scale

    @property
    def zero_point(self) -> NDArray[np.int32] | None:
        """One zero point a block, laid out as the scale; None where there is none."""
        z = self.params.zero_point
        return None if z is None else z.reshape(self.layout.grid)

    def dequantize(self) -> NDArray[np.float32]:
        """x̂, float32, in the shape of the tensor."""
        quantizer = self.recipe.parts.quantizer
        backend: Backend = create("backend", default_backend())
        codes = self.codes.reshape(self.layout.shape)
        values = np.empty(self.layout.shape, np.float32)
        for chunk in self.layout.chunks(_CHUNK, whole=quantizer.needs_whole_blocks):
            params = self.params.rows(self.layout.rows(chunk))
            with chunk_arithmetic():
                blocks = chunk.blocks(codes, codes.dtype)
                chunk.scatter(backend.decode(quantizer, blocks, params), values)
        return values.reshape(self.shape)

    def pack(self) -> NDArray[np.uint8]:
        """The codes as a dense bit stream, laid out as `qcore.pack` documents."""
        return pack(self.codes, self.recipe.parts.quantizer.code_bits)

    @property
    def stored_bits(self) -> int:
        """What codes and params take, to the bit."""
        return stored_bits(self.recipe, self.params, self.codes.size, self.layout.n_blocks)

    @property
    def bits_per_weight(self) -> float:
        """Stored bits over elements; NaN for an empty tensor."""
        return self.stored_bits / self.codes.size if self.codes.size else float("nan")

    @property
    def nbytes(self) -> int:
        """The packed form in bytes, codes and params each filled up to a whole byte."""
        codes = packed_size(self.codes.size, self.recipe.parts.quantizer.code_bits)
        fields = block_bits(self.recipe, self.params)
        return codes + sum(packed_size(self.layout.n_blocks, bits) for bits in fields.values())


def block_bits(recipe: Recipe, params: QuantParams) -> dict[str, int]:
    """The stored bits a block of each field of `params`."""
    parts = recipe.parts
    return {"scale": parts.scale_format.bits, **parts.quantizer.field_bits(params)}


def stored_bits(recipe: Recipe, params: QuantParams, elements: int, blocks: int) -> int:
    """What so many elements in so many blocks take."""
    codes = elements * recipe.parts.quantizer.code_bits
    return codes + blocks * sum(block_bits(recipe, params).values())


def fitted_params(params: QuantParams, layout: Layout) -> QuantParams:
    """Params given by a user, as one row a block; a single row serves all.

    Raises:
        ShapeError: a field has neither one entry nor one a block.
        UsageError: a scale is not a positive finite number.
    """
    n = layout.n_blocks

    def rows(name: str, array: Any, dtype: type[np.generic]) -> NDArray[Any]:
        given = np.asarray(array)
        if given.size != 1 and given.shape not in ((n,), (n, 1), layout.grid):
            raise ShapeError(
                f"{name} has shape {given.shape}, but shape {layout.shape} has {n} blocks, laid "
                f"out as {layout.grid}; give one entry, or one a block"
            )
        if (given != given.astype(dtype)).any() and dtype is np.int32:
            raise UsageError(f"every {name} is a whole number of 32 bits")
        return np.broadcast_to(given.reshape(-1, 1).astype(dtype), (n, 1))

    scale = rows("scale", params.scale, np.float32)
    if not (np.isfinite(scale) & (scale > 0)).all():
        raise UsageError("every scale is a positive finite float32 number")
    zero_point, offset = params.zero_point, params.offset
    if offset is not None and not np.isfinite(offset).all():
        raise UsageError("every offset is a finite number")
    return QuantParams(
        scale,
        None if zero_point is None else rows("zero_point", zero_point, np.int32),
        None if offset is None else rows("offset", offset, np.float32),
        params.extra,
    )

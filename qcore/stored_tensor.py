"""How a quantized tensor lies in a file: codes and params, an array each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from qcore.blocking import Layout
from qcore.builtin.readers.dtypes import BITS
from qcore.errors import ReadError, SchemeError, SpecError, UsageError
from qcore.fitting import as_own
from qcore.interfaces.boundary import check_codes, check_params
from qcore.json_file import checked, member
from qcore.params import QuantParams
from qcore.qtensor import QuantizedTensor, block_bits, fitted_params
from qcore.recipe import Recipe
from qcore.safetensors_file import Entry, Writer
from qcore.stored_array import StoredArray
from qcore.stored_file import quoted

_OWN = ("scale", "zero_point", "offset")  # every other array is a scheme's `extra`
_LONGEST_RECIPE = 1000


def stored_recipe(text: str) -> Recipe:
    """The recipe that a file holds.

    Raises:
        UsageError: it is none, or its scheme is not installed.
    """
    if len(text) > _LONGEST_RECIPE or not text.isprintable():
        raise SpecError(f"a recipe is a line of at most {_LONGEST_RECIPE} letters")
    return Recipe.parse(text)


@dataclass(frozen=True)
class StoredTensor:
    """What a file holds of a quantized tensor, known before it is quantized.

    Attributes:
        name: the tensor's.
        recipe: what it is quantized by.
        dtype: what it was before, by name.
        arrays: its `codes`, and each field of its params.
    """

    name: str
    recipe: Recipe
    dtype: str
    arrays: Mapping[str, StoredArray]

    @classmethod
    def of(
        cls, name: str, recipe: Recipe, shape: tuple[int, ...], dtype: str, params: QuantParams
    ) -> Self:
        """How a tensor is stored whose params have the fields of `params`, if in other rows.

        Raises:
            UsageError: the recipe could not be read back, or its scales have no number type.
            SchemeError: the bits that a scheme declares are not those of what it gave.
            ShapeError: the granularity does not fit the shape.
        """
        text = str(recipe)
        try:
            is_readable = stored_recipe(text) == recipe
        except UsageError:
            is_readable = False
        if not is_readable:
            message = "gives another scheme than this one, or none, when it is read back"
            raise UsageError(f"'{text}' {message}; provide its scheme in a plugin")
        codes = _codes(recipe, shape)
        layout = Layout.of(recipe.parts.granularity, shape)
        return cls(name, recipe, dtype, {"codes": codes, **_params(recipe, layout, params)})

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's."""
        return self.arrays["codes"].shape

    @cached_property
    def layout(self) -> Layout:
        """How the tensor is cut into blocks."""
        return Layout.of(self.recipe.parts.granularity, self.shape)

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """What is written of each array."""
        return {key: how.entry(f"{self.name}:{key}") for key, how in self.arrays.items()}

    @property
    def nbytes(self) -> int:
        """What it takes in the file."""
        return sum(how.nbytes for how in self.arrays.values())

    def put(self, quantized: QuantizedTensor, writer: Writer) -> None:
        """Write the tensor.

        Raises:
            SchemeError: its codes or the fields of its params are not what was planned.
            ShapeError: its params are not one row a block.
            UsageError: a number of its params is not among those that are stored.
        """
        params = fitted_params(quantized.params, self.layout)
        check_params(params, self.layout.n_blocks)
        check_codes(quantized.codes, self.shape, self.recipe.parts.quantizer)
        planned = {"codes": self.arrays["codes"], **_params(self.recipe, self.layout, params)}
        if planned != self.arrays:
            message = "gives params whose fields depend on the data"
            raise SchemeError(f"'{self.recipe}' {message}; quantize it in Python, then qcore.save")
        writer.put(self.entries["codes"].name, self.arrays["codes"].store(quantized.codes))
        for key, array in params.fields().items():
            writer.put(self.entries[key].name, self.arrays[key].store_exactly(array, key))

    def restore(self, read: Callable[[str], NDArray[Any]]) -> QuantizedTensor:
        """The tensor that was put, bit for bit.

        Args:
            read: gives what is stored under a name.

        Raises:
            QcoreError: it could not have been put.
        """
        layout = self.layout
        arrays = {key: self.arrays[key].restore(read(e.name)) for key, e in self.entries.items()}
        codes = arrays.pop("codes")
        check_codes(codes, self.shape, self.recipe.parts.quantizer)
        rows = {
            key: array.reshape(layout.n_blocks, math.prod(array.shape[len(layout.grid) :]))
            for key, array in arrays.items()
        }
        params = QuantParams(
            rows["scale"].astype(np.float32),
            rows.get("zero_point"),
            rows.get("offset"),
            {key: array for key, array in rows.items() if key not in _OWN},
        )
        return QuantizedTensor(codes, fitted_params(params, layout), self.recipe, layout)

    def to_dict(self) -> dict[str, Any]:
        """The description as JSON holds it."""
        return {
            "recipe": str(self.recipe),
            "dtype": self.dtype,
            "block": list(self.layout.tile),
            "arrays": {key: how.to_dict() for key, how in self.arrays.items()},
        }

    @classmethod
    def from_dict(
        cls, name: str, described: Any, recipe_of: Callable[[str], Recipe] = stored_recipe
    ) -> Self:
        """What `to_dict` gave, every word of it checked.

        Args:
            name: the tensor's.
            described: what a file says of it.
            recipe_of: `stored_recipe`, or what remembers what it gave.

        Raises:
            QcoreError: it is something else, or its scheme is not installed.
        """
        holder = checked(described, dict, "its description")
        recipe = recipe_of(member(holder, "recipe", str))
        given = member(holder, "arrays", dict)
        arrays = {key: StoredArray.from_dict(array) for key, array in given.items()}
        for key in ("codes", "scale"):
            if key not in arrays:
                raise ReadError(f"'{key}' is missing among its arrays")
        tensor = cls(name, recipe, member(holder, "dtype", str), arrays)
        if member(holder, "block", list) != list(tensor.layout.tile):
            raise ReadError(f"'block' must be {list(tensor.layout.tile)}, as its recipe has it")
        for key, array in arrays.items():
            _check_described(key, array, tensor)
        return tensor


def _codes(recipe: Recipe, shape: tuple[int, ...]) -> StoredArray:
    quantizer = recipe.parts.quantizer
    dtype = quantizer.code_dtype
    return StoredArray(dtype.name, quantizer.code_bits, shape, dtype.kind == "i")


def _scale(recipe: Recipe, layout: Layout) -> StoredArray:
    scale_format = recipe.parts.scale_format
    if BITS.get(scale_format.dtype) != scale_format.bits:
        message = f"names no dtype of {scale_format.bits} bits to be saved in"
        raise UsageError(f"scale format '{scale_format}' {message}; use another")
    return StoredArray(scale_format.dtype, scale_format.bits, layout.grid)


def _params(recipe: Recipe, layout: Layout, params: QuantParams) -> dict[str, StoredArray]:
    """How each field of params is stored, by name."""
    try:
        declared = block_bits(recipe, params)
    except Exception as error:
        raise as_own(error, recipe) from error
    arrays = {"scale": _scale(recipe, layout)}
    for key, array in params.fields().items():
        if key == "codes":
            raise SchemeError(f"'{recipe}' gives params a field 'codes'; give it another name")
        if key != "scale":
            arrays[key] = _field(recipe, layout, key, array, declared.get(key))
    return arrays


def _field(
    recipe: Recipe, layout: Layout, key: str, array: NDArray[Any], bits: int | None
) -> StoredArray:
    columns = array.shape[1] if array.ndim == 2 else 0
    dtype = array.dtype.name
    each, rest = divmod(bits, columns) if isinstance(bits, int) and columns else (0, 0)
    signed = array.dtype.kind == "i"
    if key == "zero_point" and each != BITS.get(dtype):  # packed, it is a number like the codes
        signed = recipe.parts.quantizer.code_dtype.kind == "i"
    shape = layout.grid if columns == 1 else (*layout.grid, columns)
    try:
        if each < 1 or rest:
            raise UsageError(f"field_bits says {bits} bits a block")
        return StoredArray(dtype, each, shape, signed)
    except UsageError as error:
        message = f"'{key}', {columns} × {dtype} a block, cannot be saved: {error}"
        raise SchemeError(f"'{recipe}': {message}") from None


def _check_described(key: str, array: StoredArray, tensor: StoredTensor) -> None:
    """Refuse an array that is not what the recipe would give.

    Raises:
        QcoreError: it is not.
    """
    grid = tensor.layout.grid
    if key == "codes":
        fits = array == _codes(tensor.recipe, tensor.shape)
    elif key == "scale":
        fits = array == _scale(tensor.recipe, tensor.layout)
    else:
        kind = {"zero_point": "int", "offset": "float"}.get(key, "")
        own = array.shape[len(grid) :]
        fits = array.shape[: len(grid)] == grid and len(own) <= 1 and array.dtype.startswith(kind)
        fits = fits and (not kind or not own)
    if not fits:
        raise ReadError(f"array {quoted(key)} is not described as its recipe has it")

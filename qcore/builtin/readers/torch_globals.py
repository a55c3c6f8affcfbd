"""What the pickle in a PyTorch checkpoint may name, each as an inert record of our own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from qcore.builtin.readers.dtypes import BITS

OPAQUE = object()
"""Stands for every value that holds no tensors and gives none a name: bytes, devices, long text."""

WIDTHS = {
    name: BITS[name] // 8
    for name in (
        "bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64",
        "float16", "bfloat16", "float32", "float64", "complex64", "complex128",
        "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu",
    )
} | {"float4_e2m1fn_x2": 1}  # fmt: skip
"""Bytes of an element of each of PyTorch's dtypes that are read."""

_QUANTIZED = {"qint8": 1, "quint8": 1, "qint32": 4, "quint4x2": 1, "quint2x4": 1}
_OTHERS = ("complex32", "bits8", "bits16", "bits1x8", "bits2x4", "bits4x2")
_DTYPES = {f"torch.{name}": name for name in (*WIDTHS, *_OTHERS)}
_STORAGES = {
    f"torch.{storage}Storage": (dtype, (WIDTHS | _QUANTIZED)[dtype])
    for storage, dtype in (
        ("Bool", "bool"), ("Byte", "uint8"), ("Char", "int8"), ("Short", "int16"),
        ("Int", "int32"), ("Long", "int64"), ("Half", "float16"), ("BFloat16", "bfloat16"),
        ("Float", "float32"), ("Double", "float64"), ("ComplexFloat", "complex64"),
        ("ComplexDouble", "complex128"), ("QInt8", "qint8"), ("QUInt8", "quint8"),
        ("QInt32", "qint32"), ("QUInt4x2", "quint4x2"), ("QUInt2x4", "quint2x4"),
    )
} | {"torch.storage.UntypedStorage": ("", 1)}  # fmt: skip
_MOST_AXES = 64
_MOST_ARGUMENTS = 9


class Pairs(list[Any]):
    """A dict, as its keys and values in turn: nothing from a file is ever hashed or compared."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Global:
    """A name that a pickle may give.

    Attributes:
        name: module and name, with a dot between.
        make: what stands for calling it; None for what is no function.
    """

    name: str
    make: Callable[..., object] | None = None

    def call(self, arguments: object) -> object:
        """What stands for the result.

        Raises:
            ValueError: it is no function, or the arguments are not what torch.save gives it.
            TypeError: likewise.
        """
        if self.make is None or type(arguments) is not tuple or len(arguments) > _MOST_ARGUMENTS:
            raise ValueError(f"no call of {self.name}")
        return self.make(*arguments)


class Storage(NamedTuple):
    """Bytes that tensors share.

    Attributes:
        key: its name in the archive.
        dtype: of its elements, by PyTorch's name; empty for bytes without a type.
        nbytes: its bytes, as the pickle says.
    """

    key: str
    dtype: str
    nbytes: int


class Tensor(NamedTuple):
    """A view of a storage; whether the storage holds as much is not yet known.

    Attributes:
        dtype: of its elements, by PyTorch's name.
        shape: each length is in [0, 2⁶³).
        strides: elements from one to the next along each axis, in [0, 2⁶³).
        offset: elements before the first.
        storage: None if `encoding` is not empty.
        encoding: what keeps it from being read, if anything does.
    """

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...] = ()
    offset: int = 0
    storage: Storage | None = None
    encoding: str = ""


def storage(persistent_id: Any) -> Storage:
    """The storage that torch.save gives this id.

    Raises:
        ValueError: it is the id of something else.
        TypeError: likewise.
    """
    kind, storage_type, key, _location, count = persistent_id
    if kind != "storage" or type(storage_type) is not Global or type(key) is not str:
        raise ValueError("no storage")
    if storage_type.name not in _STORAGES:
        raise ValueError("no storage type")
    dtype, width = _STORAGES[storage_type.name]
    (count,) = _lengths((count,))
    return Storage(key, dtype, count * width)


def _tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, _grad: Any = 0, _hooks: Any = 0,
    metadata: Any = None,
) -> Tensor:  # fmt: skip
    return _strided(storage, offset, shape, strides, storage.dtype, metadata)


def _tensor_v3(
    storage: Any, offset: Any, shape: Any, strides: Any, _grad: Any, _hooks: Any, dtype: Any,
    metadata: Any = None,
) -> Tensor:  # fmt: skip
    return _strided(storage, offset, shape, strides, _dtype(dtype), metadata)


def _strided(
    storage: Any, offset: Any, shape: Any, strides: Any, dtype: str, metadata: Any
) -> Tensor:
    (offset,), shape, strides = _lengths((offset,)), _lengths(shape), _lengths(strides)
    if type(storage) is not Storage or not dtype or len(shape) != len(strides):
        raise ValueError("no strided tensor")
    if metadata:  # the values are to be conjugated or negated
        return Tensor(dtype, shape, encoding="conjugated")
    return Tensor(dtype, shape, strides, offset, storage)


def _quantized(
    storage: Any, _offset: Any, shape: Any, _strides: Any, _quantizer: Any, _grad: Any, _hooks: Any
) -> Tensor:
    return Tensor(storage.dtype, _lengths(shape), encoding="quantized")


def _sparse(_layout: Any, data: Any) -> Tensor:
    values, shape = data[1:3] if type(data[1:3][-1]) is tuple else data[2:4]
    return Tensor(values.dtype, _lengths(shape), encoding="sparse")


def _meta(dtype: Any, shape: Any, _strides: Any, _grad: Any) -> Tensor:
    return Tensor(_dtype(dtype), _lengths(shape), encoding="meta")


def _parameter(data: Any, _grad: Any, _hooks: Any, _state: Any = None) -> Any:
    return data


def _of_type(function: Any, _type: Any, arguments: Any, _state: Any) -> object:
    if type(function) is not Global or not function.name.startswith("torch._utils."):
        raise ValueError("no function that makes tensors")  # least of all this one, without end
    return function.call(arguments)


def _first(value: Any) -> Any:
    return value


def _empty() -> Pairs:
    return Pairs()


def _dtype(value: Any) -> str:
    if type(value) is not Global or value.name not in _DTYPES:
        raise ValueError("no dtype")
    return _DTYPES[value.name]


def _lengths(value: Any) -> tuple[int, ...]:
    if type(value) is not tuple or len(value) > _MOST_AXES:
        raise ValueError("no shape")
    if not all(type(length) is int and 0 <= length < 2**63 for length in value):
        raise ValueError("no shape")
    return value


def _ignored(*_arguments: object) -> object:
    return OPAQUE


_FUNCTIONS: dict[str, Callable[..., object]] = {
    "builtins.bytearray": _ignored,
    "builtins.bytes": _ignored,
    "builtins.complex": _ignored,
    "builtins.frozenset": _first,
    "builtins.set": _first,
    "collections.Counter": _first,
    "collections.OrderedDict": _empty,
    "torch.Size": _first,
    "torch.device": _ignored,
    "torch.serialization._get_layout": _ignored,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._utils._rebuild_qtensor": _quantized,
    "torch._utils._rebuild_sparse_tensor": _sparse,
    "torch._utils._rebuild_meta_tensor_no_storage": _meta,
    "torch._tensor._rebuild_from_type_v2": _of_type,
    "_codecs.encode": _ignored,
}
_VALUES = (
    "torch.Tensor", "torch.nn.parameter.Parameter", "torch.per_tensor_affine",
    "torch.per_tensor_symmetric", "torch.per_channel_affine", "torch.per_channel_symmetric",
    "torch.per_channel_affine_float_qparams", *_DTYPES, *_STORAGES,
    *(f"torch.{sign}int{bits}" for sign in ("", "u") for bits in range(1, 8)),
)  # fmt: skip

GLOBALS = {name: Global(name) for name in _VALUES} | {
    name: Global(name, function) for name, function in _FUNCTIONS.items()
}
"""By name: plain data, and what torch.load(weights_only=True) allows of PyTorch's own."""

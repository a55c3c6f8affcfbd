"""PyTorch's checkpoints, without PyTorch: a pickle of what there is, and storages to be mapped."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from qcore.builtin.readers import torch_pickle, zip_archive
from qcore.builtin.readers.dtypes import BITS, dtype_named, from_stored
from qcore.builtin.readers.torch_globals import WIDTHS, Tensor
from qcore.builtin.readers.torch_names import named_tensors
from qcore.builtin.readers.torch_pickle import Budget, Refused
from qcore.builtin.readers.zip_archive import Member
from qcore.errors import ReadError
from qcore.interfaces.reader import TensorInfo, TensorReader
from qcore.stored_file import StoredFile, quoted, shown

LARGEST_PICKLE = 1 << 23  # bytes
LARGEST_OBJECTS = 30 << 20  # bytes in memory, of all that it makes: some 10,000 tensors
LARGEST_REPEAT = 1 << 30  # bytes of a tensor with more elements than are stored

# what torch.save wrote before 1.6: the pickle of a magic number, or a tar archive
_MAGIC_NUMBER = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
_TAR_MEMBERS = (b"sys_info\0", b"pickle\0", b"storages\0", b"tensors\0")
_ANOTHER_WAY = {
    "quantized": "it is quantized by PyTorch; save its int_repr(), or what dequantize() gives",
    "sparse": "it is sparse; save what to_dense() gives",
    "meta": "it is on the meta device and has no values; save it from another",
    "conjugated": "it is to be conjugated or negated; save what resolve_conj().resolve_neg() gives",
}
_LISTED = 512  # bytes of memory that a TensorInfo takes
_PAIRED = {"float4_e2m1fn_x2": "float4_e2m1fn"}  # two values a byte, the first in the low bits


@dataclass(frozen=True)
class TorchReader(TensorReader):
    """The tensors in what torch.save writes, in dicts and lists however nested.

    Of the pickle's globals, only those that torch.load(weights_only=True) allows are known, and
    none is run. A tensor is named by the keys that lead to it, such as `model.fc1.weight`; one that
    was saved by itself, after the file.

    Source: torch/serialization.py (_save), torch/_utils.py (_rebuild_tensor_v2 and its like).
    """

    id: ClassVar[str] = "torch"
    suffixes: ClassVar[tuple[str, ...]] = (".pt", ".pth")

    def sniff(self, path: Path) -> bool:
        start = StoredFile.peek(path, 512)
        if _is_old(start) or not zip_archive.is_zip(start):
            return _is_old(start)
        try:
            with StoredFile(path) as file:
                return _folder(zip_archive.members(file)) is not None
        except ReadError:
            return False

    def tensors(self, path: Path) -> Iterator[TensorInfo]:
        with StoredFile(path) as file:
            folder, members = _open(file)
            budget = Budget(LARGEST_OBJECTS)
            infos = []
            try:
                root = torch_pickle.load(_whole(file, members, f"{folder}data.pkl"), budget)
                for name, tensor in named_tensors(root, path.stem, budget):
                    budget.spend(_LISTED)
                    infos.append(_info(file, folder, members, name, tensor))
            except Refused as refused:
                raise file.error(str(refused)) from refused
        return iter(infos)

    def read(self, info: TensorInfo) -> NDArray[Any]:
        where = shown(info.path, info.name)
        if info.encoding in _ANOTHER_WAY:
            raise ReadError(f"{where}: {_ANOTHER_WAY[info.encoding]}")
        if info.dtype not in BITS:
            message = f"dtype {info.dtype} is not read"
            raise ReadError(f"{where}: {message}; save it in one that NumPy or ml_dtypes knows")
        total, *place = info.where
        member, (begin, *strides) = Member(*place[:5]), place[5:]
        paired = info.dtype in _PAIRED.values()
        shape = (*info.shape[:-1], info.shape[-1] // 2) if paired else info.shape
        dtype = np.dtype(np.uint8) if paired else dtype_named(info.dtype, where)
        with StoredFile(info.path) as file:
            if file.size != total:
                raise file.error("the file has changed since it was listed; list it again")
            count = _span(shape, strides) * dtype.itemsize
            data = _content(file, member, info.name, begin, count)
        array = _view(data, dtype, shape, strides, where)
        if paired:
            flat = np.ascontiguousarray(array).reshape(-1)
            return from_stored(flat, info.dtype, info.shape, where)
        return array


def _is_old(start: bytes) -> bool:
    """Whether a file begins as those of PyTorch before 1.6 do."""
    tar = start[257:262] == b"ustar" and start.startswith(_TAR_MEMBERS)
    return tar or start.startswith(_MAGIC_NUMBER)


def _folder(members: Mapping[str, Member]) -> str | None:
    """The folder of the archive that everything is in, with its slash, if it has a data.pkl."""
    found = [name.partition("/") for name in members]
    folders = [folder for folder, _, rest in found if rest == "data.pkl"]
    return f"{folders[0]}/" if len(folders) == 1 else None


def _open(file: StoredFile) -> tuple[str, dict[str, Member]]:
    """The archive's folder and its members by name.

    Raises:
        ReadError: it is none of torch.save's, or of a kind that is not read.
    """
    start = file.read(0, min(file.size, 512))
    if _is_old(start):
        message = "it is in the format of PyTorch before 1.6, which qcore does not read"
        raise file.error(f"{message}; load it with torch.load and save it again with torch.save")
    if not zip_archive.is_zip(start):
        message = f"not a PyTorch checkpoint: it begins with {start[:4]!r}, not as a zip archive"
        raise file.error(f"{message}; save or download it again")
    members = zip_archive.members(file)
    folder = _folder(members)
    if folder is None:
        message = "not a PyTorch checkpoint: it is a zip archive without one data.pkl in a folder"
        raise file.error(f"{message}; save it with torch.save")
    if f"{folder}constants.pkl" in members or any(m.startswith(f"{folder}code/") for m in members):
        message = "it is a TorchScript program, which qcore does not read"
        raise file.error(f"{message}; save torch.jit.load(path).state_dict() with torch.save")
    order = f"{folder}byteorder"
    if order in members and _whole(file, members, order) != b"little":
        message = "it is not in little-endian byte order"
        raise file.error(f"{message}; save it again on a little-endian machine")
    return folder, members


def _whole(file: StoredFile, members: Mapping[str, Member], name: str) -> bytes:
    member = members[name]
    if member.size > LARGEST_PICKLE:
        message = f"{quoted(name)} in it has {member.size} bytes, and {LARGEST_PICKLE} is the limit"
        raise file.error(f"{message}; save the state_dict alone, or as .safetensors")
    return _content(file, member, name, 0, member.size).tobytes()


def _content(
    file: StoredFile, member: Member, name: str, begin: int, count: int
) -> NDArray[np.uint8]:
    """`count` bytes of a member from its byte `begin` on: mapped, unless it is deflated."""
    start = zip_archive.stored_at(file, member, name)
    if start is None:
        inflated = zip_archive.inflater(file, member, name).rest(member.size)
        return inflated[begin : begin + count]
    return file.bytes_at(start + begin, count, name)


def _info(
    file: StoredFile, folder: str, members: Mapping[str, Member], name: str, tensor: Tensor
) -> TensorInfo:
    """A tensor that lies within its storage, or is not read.

    Raises:
        ReadError: it does not.
    """
    dtype, shape, storage = tensor.dtype, tensor.shape, tensor.storage
    unread = TensorInfo(name, shape, dtype, file.path, (), tensor.encoding)
    if storage is None or dtype not in WIDTHS:
        return unread
    span, elements = _span(shape, tensor.strides), math.prod(shape)
    repeats = elements > span
    if dtype in _PAIRED and (repeats or not shape):  # to be unpacked, so to be copied that often
        return unread
    member = members.get(f"{folder}data/{storage.key}")
    if member is None:
        raise file.error(f"its storage {quoted(storage.key)} is missing; save it again", name)
    if member.size != storage.nbytes:
        sizes = f"its storage should have {storage.nbytes} bytes and has {member.size}"
        raise file.error(f"{sizes}; save or copy it again", name)
    begin = tensor.offset * WIDTHS[dtype] if span else 0  # an empty view may begin anywhere
    if begin + span * WIDTHS[dtype] > member.size:
        end = f"it ends at byte {begin + span * WIDTHS[dtype]} of its storage of {member.size}"
        raise file.error(f"{end}; save or copy it again", name)
    if repeats and elements * WIDTHS[dtype] > LARGEST_REPEAT:
        message = f"shape {shape} repeats {span} stored elements beyond {LARGEST_REPEAT} bytes"
        raise file.error(f"{message}; save what contiguous() gives", name)
    if dtype in _PAIRED:
        dtype, shape = _PAIRED[dtype], (*shape[:-1], shape[-1] * 2)
    where = (file.size, *member, begin, *tensor.strides)
    nbytes = span * WIDTHS[tensor.dtype] if repeats else None
    return TensorInfo(name, shape, dtype, file.path, where, nbytes=nbytes)


def _span(shape: Sequence[int], strides: Sequence[int]) -> int:
    """Elements from the first to the last of a strided tensor, both counted."""
    if 0 in shape:
        return 0
    return 1 + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))


def _view(
    data: NDArray[np.uint8],
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    strides: Sequence[int],
    where: str,
) -> NDArray[Any]:
    """A read-only tensor on `data`; NumPy makes sure that it stays inside."""
    # along an axis of one element any stride will do, and no stride is too large
    steps = [stride * dtype.itemsize * (n > 1) for n, stride in zip(shape, strides, strict=True)]
    try:
        array = np.ndarray(shape, dtype, data.data, 0, steps if data.size else None)
    except (ValueError, OverflowError) as error:
        raise ReadError(f"{where}: NumPy cannot hold shape {shape}") from error
    array.flags.writeable = False
    return array

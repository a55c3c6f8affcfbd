"""Hostile PyTorch checkpoints: archives of a pickle and of storages."""

from __future__ import annotations

import io
import struct
import tarfile
from collections.abc import Sequence
from typing import Any

from cases import NAMES, PAYLOAD, Case, Content, Threat, late, link, pipe
from zip_archives import archive, crowd, directory, joined, member, zeros

LEGACY_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")


def text(value: str) -> bytes:
    """A text, as the opcodes have it."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    """An integer of any size."""
    return b"\x8a\x10" + value.to_bytes(16, "little", signed=True)


def numbers(values: Sequence[int]) -> bytes:
    """A tuple of integers."""
    return b"(" + b"".join(map(number, values)) + b"t"


def named(name: str) -> bytes:
    """A function or class."""
    module, _, function = name.rpartition(".")
    return f"c{module}\n{function}\n".encode()


def call(name: str, *arguments: bytes) -> bytes:
    """A function with its arguments."""
    return named(name) + b"(" + b"".join(arguments) + b"tR"


def tensor(
    shape: Sequence[int] = (2, 2), strides: Sequence[int] = (2, 1), offset: int = 0,
    storage: str = "0", count: int = 4, kind: str = "torch.FloatStorage",
) -> bytes:  # fmt: skip
    """A view of a storage."""
    persistent = text("storage") + named(kind) + text(storage) + text("cpu") + number(count)
    return call(
        "torch._utils._rebuild_tensor_v2", b"(" + persistent + b"tQ",
        number(offset), numbers(shape), numbers(strides), b"\x89", call("collections.OrderedDict"),
    )  # fmt: skip


def state(*pairs: tuple[bytes, bytes]) -> bytes:
    """A dict."""
    return b"}(" + b"".join(key + value for key, value in pairs) + b"u"


def pickled(root: bytes) -> bytes:
    """A whole pickle."""
    return b"\x80\x02" + root + b"."


def checkpoint(root: bytes, storage: bytes = bytes(16), **members: bytes) -> bytes:
    """What torch.save writes of anything, and other members beside it."""
    content = {"data.pkl": pickled(root), "byteorder": b"little", "data/0": storage, **members}
    return archive({f"archive/{name}": data for name, data in content.items()})


def single(view: bytes, name: str = "w", storage: bytes = bytes(16)) -> bytes:
    """A checkpoint of one tensor."""
    return checkpoint(state((text(name), view)), storage)


GOOD = single(tensor())
META = call(
    "torch._utils._rebuild_meta_tensor_no_storage",
    named("torch.float32"), numbers((2, 2)), numbers((2, 1)), b"\x89",
)  # fmt: skip
"""A tensor of no values."""
CANARY = text("canary")
DAMAGED = "its pickle is damaged near byte"
TOO_LARGE = "8388608 is the limit"
TOO_MANY = "it holds more objects than qcore reads"


def _pickle_bomb() -> bytes:
    """A gigabyte of pickle, in one megabyte."""
    return joined(member(b"archive/data.pkl", zeros(1 << 10), 1 << 30, method=8, checksum=0))


def _storage_bomb() -> bytes:
    """A tensor of a gigabyte, in one megabyte."""
    view = tensor((1 << 14, 1 << 14), (1 << 14, 1), count=1 << 28)
    first = member(b"archive/data.pkl", pickled(state((text("w"), view))))
    at, size = len(first[0]), 1 << 30
    return joined(
        first, member(b"archive/data/0", zeros(1 << 10), size, method=8, checksum=0, at=at)
    )


def _tar() -> bytes:
    """What PyTorch wrote before 0.1.10."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as written:
        written.addfile(tarfile.TarInfo("sys_info"), io.BytesIO())
    return file.getvalue()


def _doubling() -> bytes:
    """Lists, each of which holds the one before twice."""
    return b"]q\0" + b"".join(b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(30))


def _same_bytes() -> bytes:
    """Two members of the same bytes."""
    local, entry = member(b"archive/data.pkl", pickled(b"}"))
    return local + directory(entry + member(b"archive/data/000", b"")[1], 2, len(local))


def _case(name: str, threat: Threat, content: Content, error: str, *more: Any, **rest: Any) -> Case:
    return Case(f"{name}.pt", threat, content, error, *more, **rest)


CASES = [
    _case("empty", Threat.TRUNCATED, b"", "not a PyTorch checkpoint"),
    _case("cut-off", Threat.TRUNCATED, GOOD[:-60], "zip directory is damaged or cut off"),
    _case("pickle-cut-off", Threat.TRUNCATED, checkpoint(b"}X\xff\0\0\0w"), DAMAGED),
    _case(
        "storage-cut-off", Threat.TRUNCATED,
        single(tensor(), storage=bytes(15)), "should have 16 bytes and has 15", "w",
    ),
    _case("text-of-2-to-64", Threat.LENGTH, checkpoint(b"\x8d" + b"\xff" * 8), DAMAGED),
    _case("bytes-of-2-to-64", Threat.LENGTH, checkpoint(b"\x8e" + b"\xff" * 8), DAMAGED),
    _case("frame-of-2-to-64", Threat.LENGTH, checkpoint(b"\x95" + b"\xff" * 8), DAMAGED),
    _case("memo-of-2-to-32", Threat.LENGTH, checkpoint(b"j" + b"\xff" * 4), DAMAGED),
    _case("storage-of-2-to-62", Threat.LENGTH, single(tensor(count=2**62)), "and has 16", "w"),
    _case(
        "product-wraps-to-4", Threat.OVERFLOW,
        single(tensor((2**62 + 1, 4), (4, 1))), "it ends at byte", "w",
    ),
    _case(
        "strides-wrap", Threat.OVERFLOW,
        single(tensor((2, 2), (2**62, 2**62))), "it ends at byte", "w",
    ),
    _case("offset-wraps", Threat.OVERFLOW, single(tensor(offset=2**62 + 1)), "ends at byte", "w"),
    _case(
        "no-numpy-shape", Threat.OVERFLOW,
        single(tensor((2**62, 0, 2**62), (0, 1, 1))), "NumPy cannot hold", "w", listed=True,
    ),
    _case("65-axes", Threat.OVERFLOW, single(tensor((1,) * 65, (1,) * 65)), DAMAGED),
    _case("storage-missing", Threat.RANGES, single(tensor(storage="1")), "'1' is missing", "w"),
    _case("beyond-its-storage", Threat.RANGES, single(tensor(offset=1)), "ends at byte 20 of", "w"),
    _case("same-bytes", Threat.RANGES, _same_bytes(), "overlap; refused as a zip bomb"),
    _case(
        "name-twice", Threat.DUPLICATE,
        checkpoint(state((text("w"), tensor()), (text("w"), tensor()))), "would be named 'w'",
    ),
    _case(
        "same-path", Threat.DUPLICATE,
        checkpoint(state(
            (text("a.b"), tensor()), (text("a"), state((text("b"), tensor()))),
        )), "would be named 'a.b'",
    ),
    _case("deep", Threat.NESTING, checkpoint(b"]" * 90_000 + b"a" * 89_999), "deeper than 100"),
    _case("holds-itself", Threat.NESTING, checkpoint(b"]q\0h\0a"), "deeper than 100"),
    _case("page", Threat.MAGIC, b"<!DOCTYPE html>", "not a PyTorch checkpoint"),
    _case("old", Threat.MAGIC, LEGACY_MAGIC + pickled(b"M\xe9\x03"), "PyTorch before 1.6"),
    _case("tar", Threat.MAGIC, _tar(), "PyTorch before 1.6"),
    _case("program", Threat.MAGIC, checkpoint(b"}", **{"constants.pkl": b""}), "TorchScript"),
    _case("document", Threat.MAGIC, archive({"word/document.xml": b""}), "without one data.pkl"),
    _case("big-endian", Threat.MAGIC, checkpoint(b"}", byteorder=b"big"), "not in little-endian"),
    _case("pipe", Threat.MAGIC, pipe, "it is no regular file"),
    _case("endless-device", Threat.ESCAPE, link("/dev/zero"), "it is no regular file"),
    _case(
        "storage-outside", Threat.ESCAPE,
        single(tensor(storage="../../secret/data.bin")), "is missing", "w",
    ),
    _case("pickle-bomb", Threat.BOMB, late(_pickle_bomb), TOO_LARGE),
    _case(
        "storage-bomb", Threat.BOMB, late(_storage_bomb), "refused as a zip bomb", "w", listed=True
    ),
    _case("crowd", Threat.BOMB, late(lambda: crowd("m/data/%x", b"", 21_000)), "directory is over"),
    _case("doubling", Threat.BOMB, checkpoint(_doubling()), "more than 786432 values"),
    _case("many-lists", Threat.BOMB, late(lambda: checkpoint(b"]" * 8_000_000)), TOO_MANY),
    _case(
        "many-tensors", Threat.BOMB,
        late(lambda: checkpoint(b"](" + tensor() * 30_000 + b"e")), TOO_MANY,
    ),
    _case("large-pickle", Threat.BOMB, late(lambda: checkpoint(b"N" * (9 << 20))), TOO_LARGE),
    _case(
        "repeated", Threat.BOMB,
        single(tensor((1 << 30, 1 << 30), (0, 0))), "repeats 1 stored elements", "w",
    ),
    *(
        _case(f"calls-{name}", Threat.PICKLE, checkpoint(call(name, CANARY)), f"it needs '{name}'")
        for name in ("os.mkdir", "posix.mkdir", "os.system", "torch.load", "builtins.eval")
    ),
    _case(
        "calls-in-protocol-4", Threat.PICKLE,
        checkpoint(b"\x8c\2os\x8c\5mkdir\x93(" + CANARY + b"tR"), "it needs 'os.mkdir'",
    ),
    _case("object", Threat.PICKLE, checkpoint(b"(ios\nmkdir\n"), "opcode b'i' is not one"),
    _case("class", Threat.PICKLE, checkpoint(named("torch.Size") + b")\x81"), "opcode b'\\x81'"),
    _case("extension", Threat.PICKLE, checkpoint(b"\x82\1"), "opcode b'\\x82' is not one"),
    _case("bare", Threat.PICKLE, PAYLOAD, "not a PyTorch checkpoint"),
    _case("old-with-payload", Threat.PICKLE, LEGACY_MAGIC + PAYLOAD, "PyTorch before 1.6"),
    _case("negative", Threat.NONSENSE, single(tensor((-2, -2))), DAMAGED),
    _case("minus-strides", Threat.NONSENSE, single(tensor((2, 2), (-2, -1))), DAMAGED),
    _case("fewer-strides", Threat.NONSENSE, single(tensor((2, 2), (1,))), DAMAGED),
    _case(
        "number-for-a-name", Threat.NONSENSE,
        checkpoint(state((numbers([1]), tensor()))), "neither text nor a number",
    ),
    _case(
        "half-a-letter", Threat.NONSENSE,
        checkpoint(state((b"X\3\0\0\0\xed\xa0\x80", tensor()))), "holds half a character",
    ),
    _case("nothing-on-the-stack", Threat.NONSENSE, checkpoint(b"ttt"), DAMAGED),
    _case("without-values", Threat.NONSENSE, single(META), "meta device", "w", listed=True),
    *(
        _case(f"name-{what}", Threat.NAME, single(tensor(offset=1), name), "ends at byte 20", name)
        for what, name in NAMES.items()
    ),
    *(
        _case(
            f"unread-name-{what}", Threat.NAME,
            checkpoint(state((text("a"), tensor()), (text(name), META))), "meta device", name,
            listed=True, status=3,
        )
        for what, name in NAMES.items()
    ),
    *(
        _case(
            f"storage-{what}", Threat.NAME,
            single(tensor(storage=name)), f"{name!r} is missing", "w",
        )
        for what, name in NAMES.items()
    ),
    *(
        _case(
            f"calls-{what}", Threat.NAME,
            checkpoint(b"cos\n%b\n" % name.encode()), f"it needs {f'os.{name}'!r}",
        )
        for what, name in NAMES.items()
    ),
]  # fmt: skip

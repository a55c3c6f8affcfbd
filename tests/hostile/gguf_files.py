"""Hostile GGUF files."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from cases import NAMES, PAYLOAD, Case, Content, Threat, late, link, pipe, sparse

UINT8, UINT32, STRING, ARRAY = 0, 4, 8, 9
F32, Q8_0 = 0, 8
MOST = 2**64 - 1


def string(text: bytes, length: int | None = None) -> bytes:
    """A string of its length or another."""
    return struct.pack("<Q", len(text) if length is None else length) + text


def key(name: bytes, kind: int, value: bytes) -> bytes:
    """A key of the metadata."""
    return string(name) + struct.pack("<I", kind) + value


def array(kind: int, count: int, values: bytes = b"") -> bytes:
    """An array in the metadata, as long as it says or not."""
    return struct.pack("<IQ", kind, count) + values


def tensor(
    name: bytes = b"w", dims: Sequence[int] = (2, 2), kind: int = F32, offset: int = 0
) -> bytes:
    """What a header says of a tensor."""
    return string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def content(
    *tensors: bytes, keys: Sequence[bytes] = (), data: int = 32, version: int = 3,
    counts: tuple[int, int] | None = None,
) -> bytes:  # fmt: skip
    """A file of any header, with `data` bytes behind it."""
    counted = struct.pack("<IQQ", version, *(counts or (len(tensors), len(keys))))
    header = b"GGUF" + counted + b"".join([*keys, *tensors])
    return header + bytes(-len(header) % 32) + bytes(data)


def alignment(value: int) -> bytes:
    """A file that says what offsets are multiples of."""
    return content(tensor(), keys=[key(b"general.alignment", UINT32, struct.pack("<I", value))])


GOOD = content(tensor())
DEEP = key(b"k", ARRAY, array(ARRAY, 1) * 20_000 + array(UINT8, 0))
STRINGS = content(keys=[key(b"k", ARRAY, array(STRING, 2**21))], counts=(1, 1), data=0)


def _crowd() -> bytes:
    """As many tensors without a byte as there may be, the last of them twice."""
    names = [b"%x" % i for i in range(2**16 - 1)]
    return content(*(tensor(name, (0,)) for name in [*names, names[-1]]), data=0)


def _case(name: str, threat: Threat, content: Content, error: str, *more: Any, **rest: Any) -> Case:
    return Case(f"{name}.gguf", threat, content, error, *more, **rest)


CASES = [
    _case("empty", Threat.TRUNCATED, b"", "does not begin with 'GGUF'"),
    _case("magic-alone", Threat.TRUNCATED, GOOD[:4], "ends before its version"),
    _case("header-cut-off", Threat.TRUNCATED, GOOD[:40], "truncated: its header needs"),
    _case("data-cut-off", Threat.TRUNCATED, GOOD[:-20], "truncated: its data ends", "w"),
    _case("tensors-without-end", Threat.LENGTH, content(counts=(MOST, 0)), "is the limit"),
    _case("keys-without-end", Threat.LENGTH, content(counts=(0, MOST)), "is the limit"),
    _case(
        "key-without-end", Threat.LENGTH,
        content(keys=[string(b"k", MOST)], data=99), "65535 is the limit",
    ),
    _case(
        "text-without-end", Threat.LENGTH,
        content(keys=[key(b"k", STRING, string(b"", MOST))], data=99), "truncated",
    ),
    _case(
        "array-without-end", Threat.LENGTH,
        content(keys=[key(b"k", ARRAY, array(UINT32, MOST))], data=99), "truncated",
    ),
    _case("name-without-end", Threat.LENGTH, content(string(b"w", MOST), data=99), "is the limit"),
    _case("axes-without-end", Threat.LENGTH, content(tensor(dims=(1,) * 5)), "5 dimensions", "w"),
    _case(
        "product-wraps-to-4", Threat.OVERFLOW,
        content(tensor(dims=(4, 2**62 + 1))), "more than a system can count", "w",
    ),
    _case(
        "product-wraps-to-0", Threat.OVERFLOW,
        content(tensor(dims=(2**32, 2**32)), data=0), "more than a system can count", "w",
    ),
    _case(
        "bytes-wrap", Threat.OVERFLOW,
        content(tensor(dims=(2**31, 2**31))), "truncated: its data ends", "w",
    ),
    _case("offset-wraps", Threat.OVERFLOW, content(tensor(offset=2**64 - 32)), "truncated", "w"),
    _case(
        "overlap", Threat.RANGES,
        content(tensor(b"v", (16,)), tensor(b"w", (8,), offset=32), data=64), "overlap", "v",
    ),
    _case(
        "gap", Threat.RANGES,
        content(tensor(b"v", (8,)), tensor(b"w", (8,), offset=96), data=128), "belong to no", "v",
    ),
    _case("bytes-left", Threat.RANGES, GOOD + bytes(64), "belong to no tensor", "w"),
    _case("not-aligned", Threat.RANGES, content(tensor(offset=3)), "no multiple of", "w"),
    _case("name-twice", Threat.DUPLICATE, content(tensor(), tensor()), "it is there twice", "w"),
    _case(
        "key-twice", Threat.DUPLICATE,
        content(tensor(), keys=[key(b"k", UINT8, b"\0")] * 2), "holds the key 'k' twice",
    ),
    _case("deep", Threat.NESTING, content(tensor(), keys=[DEEP]), "more than 4 deep"),
    _case("page", Threat.MAGIC, b"<!DOCTYPE html>", "does not begin with 'GGUF'"),
    _case("lfs-pointer", Threat.MAGIC, b"version https://git-lfs.github.com", "git lfs pull"),
    _case("version-1", Threat.MAGIC, content(tensor(), version=1), "version 1 is not read"),
    _case("big-endian", Threat.MAGIC, content(version=3 << 24), "it is big-endian"),
    _case("pipe", Threat.MAGIC, pipe, "it is no regular file"),
    _case("endless-device", Threat.ESCAPE, link("/dev/zero"), "it is no regular file"),
    _case("crowd", Threat.BOMB, late(_crowd), "it is there twice", "fffe"),
    _case("strings", Threat.BOMB, sparse(STRINGS, 1 << 24), "truncated: its header needs"),
    _case(
        "blocks", Threat.BOMB,
        content(tensor(dims=(32, 2**50), kind=Q8_0)), "truncated: its data ends", "w",
    ),
    _case("pickle", Threat.PICKLE, PAYLOAD, "does not begin with 'GGUF'"),
    _case("half-a-block", Threat.NONSENSE, content(tensor(kind=Q8_0)), "no whole blocks", "w"),
    _case("alignment-of-0", Threat.NONSENSE, alignment(0), "must be a power of two"),
    _case("alignment-of-2-to-31", Threat.NONSENSE, alignment(2**31), "must be a power of two"),
    _case("unknown-key", Threat.NONSENSE, content(keys=[key(b"k", 77, b"")]), "none of GGUF's"),
    _case(
        "unknown-type", Threat.NONSENSE, content(tensor(kind=999)), "type 999 of ggml is none", "w",
        listed=True,
    ),
    _case("no-utf8", Threat.NONSENSE, content(tensor(b"\xff")), "is not valid UTF-8"),
    *(
        _case(
            f"name-{what}", Threat.NAME,
            content(tensor(name.encode(), offset=3)), "no multiple of", name,
        )
        for what, name in NAMES.items()
    ),
    *(
        _case(
            f"unread-name-{what}", Threat.NAME,
            content(tensor(b"a", (8,)), tensor(name.encode(), kind=999, offset=32)),
            "is none that qcore-gguf knows", name, listed=True,
        )
        for what, name in NAMES.items()
    ),
    *(
        _case(
            f"key-{what}", Threat.NAME,
            content(keys=[key(name.encode(), 77, b"")]), f"key {name!r}: type 77",
        )
        for what, name in NAMES.items()
    ),
]  # fmt: skip

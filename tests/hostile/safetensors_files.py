"""Hostile safetensors files."""

from __future__ import annotations

import json
from typing import Any

from cases import NAMES, PAYLOAD, Case, Content, Threat, folder, late, link, pipe, sparse

DATA = bytes(16)
LARGEST_HEADER = 100_000_000


def entry(begin: int = 0, end: int = 16, shape: Any = (2, 2), dtype: str = "F32") -> dict[str, Any]:
    """What a header says of a tensor."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def stored(text: bytes, data: bytes = DATA, length: int | None = None) -> bytes:
    """A file of any header, and its length or another."""
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def content(header: Any, data: bytes = DATA) -> bytes:
    """A file of a header in JSON."""
    return stored(json.dumps(header).encode(), data)


GOOD = content({"w": entry()})
TWICE = b'{"w":%b,"w":%b}' % ((json.dumps(entry()).encode(),) * 2)


def _many_tensors() -> bytes:
    """As many tensors without a byte as the format has room for."""
    names = (f'"{i:x}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for i in range(400_000))
    return stored(f"{{{','.join(names)}}}".encode(), b"")


def _case(name: str, threat: Threat, content: Content, error: str, *more: Any, **rest: Any) -> Case:
    return Case(f"{name}.safetensors", threat, content, error, *more, **rest)


CASES = [
    _case("empty", Threat.TRUNCATED, b"", "begins with 8 bytes of length, and 0 are there"),
    _case("five-bytes", Threat.TRUNCATED, GOOD[:5], "and 5 are there"),
    _case("header-cut-off", Threat.TRUNCATED, GOOD[:20], "header needs 65 bytes and 12 are there"),
    _case("data-cut-off", Threat.TRUNCATED, GOOD[:-1], "ends at byte 89 and the file has 88", "w"),
    _case("header-of-2-to-64", Threat.LENGTH, stored(b"{}", length=2**64 - 1), "is the limit"),
    _case(
        "header-of-nothing", Threat.LENGTH,
        sparse((LARGEST_HEADER - 8).to_bytes(8, "little") + b"{", LARGEST_HEADER),
        "more than tensors need",
    ),
    _case(
        "offset-of-2-to-63", Threat.LENGTH,
        content({"w": entry(0, 2**63 - 1, [2**63 - 1], "U8")}), "the file has", "w",
    ),
    _case("offset-of-2-to-64", Threat.LENGTH, content({"w": entry(0, 2**64)}), "data_offsets", "w"),
    _case(
        "product-wraps-to-16", Threat.OVERFLOW,
        content({"w": entry(0, 16, [2**62 + 1, 4])}), "and data_offsets give 16 bytes", "w",
    ),
    _case(
        "product-wraps-to-0", Threat.OVERFLOW,
        content({"w": entry(0, 0, [2**32, 2**32])}, b""), "and data_offsets give 0 bytes", "w",
    ),
    _case(
        "65-axes", Threat.OVERFLOW,
        content({"w": entry(0, 4, [1] * 65)}, bytes(4)), "shape must be at most 64", "w",
    ),
    _case(
        "no-numpy-shape", Threat.OVERFLOW,
        content({"w": entry(0, 0, [2**62, 0, 2**62])}, b""), "NumPy cannot hold shape", "w",
        listed=True,
    ),
    _case(
        "overlap", Threat.RANGES,
        content({"a": entry(), "b": entry(8, 24)}, bytes(24)), "overlap those of 'a'", "b",
    ),
    _case(
        "same-bytes", Threat.RANGES,
        content({"a": entry(), "b": entry()}), "overlap those of 'a'", "b",
    ),
    _case(
        "gap", Threat.RANGES,
        content({"a": entry(), "b": entry(20, 36)}, bytes(36)), "4 bytes before it", "b",
    ),
    _case("bytes-left", Threat.RANGES, GOOD + b"hidden", "last 6 bytes belong to no tensor"),
    _case("end-before-begin", Threat.RANGES, content({"w": entry(16, 0)}), "in order", "w"),
    _case("name-twice", Threat.DUPLICATE, stored(TWICE), "'w' is given twice"),
    _case("deep", Threat.NESTING, stored(b'{"w":' + b"[" * 200_000), "nested too deeply"),
    _case("deep-objects", Threat.NESTING, stored(b'{"w":' * 200_000), "nested too deeply"),
    _case("program", Threat.MAGIC, b"\x7fELF\2\1\1" + bytes(57), "not a safetensors file"),
    _case("page", Threat.MAGIC, b"<!DOCTYPE html>" * 4, "not a safetensors file"),
    _case("lfs-pointer", Threat.MAGIC, b"version https://git-lfs.github.com", "run git lfs pull"),
    _case("folder", Threat.MAGIC, folder, "holds no file that a reader knows"),
    _case("pipe", Threat.MAGIC, pipe, "it is no regular file"),
    _case("endless-device", Threat.ESCAPE, link("/dev/zero"), "it is no regular file"),
    _case("itself", Threat.ESCAPE, link("itself.safetensors"), "no such file"),
    _case("many-tensors", Threat.BOMB, late(_many_tensors), "more than tensors need"),
    _case(
        "many-values", Threat.BOMB,
        late(lambda: stored(b'{"w":[' + b"[]," * 7_000_000 + b"0]}")), "more than tensors need",
    ),
    _case(
        "as-many-values-as-may-be", Threat.BOMB,
        late(lambda: stored(b'{"w":[' + b'{"":0},' * 149_000 + b"0]}")), "needs dtype", "w",
    ),
    _case(
        "long-number", Threat.BOMB,
        late(lambda: stored(b'{"w":' + b"9" * 1_000_000 + b"}")), "no JSON",
    ),
    _case("pickle", Threat.PICKLE, PAYLOAD, "not a safetensors file"),
    _case("negative", Threat.NONSENSE, content({"w": entry(0, 16, [-2, -2])}), "from 0 to", "w"),
    _case("fraction", Threat.NONSENSE, content({"w": entry(0, 16, [4.0])}), "whole numbers", "w"),
    _case("nan", Threat.NONSENSE, stored(b'{"w": NaN}'), "NaN is no number in JSON"),
    _case("no-utf8", Threat.NONSENSE, stored(b'{"\xff": 1}'), "no UTF-8"),
    _case("half-a-letter", Threat.NONSENSE, stored(b'{"\\ud800": 1}'), "no UTF-8"),
    _case("list", Threat.NONSENSE, stored(b"[1, 2]"), "does not begin with '{'"),
    _case(
        "metadata-of-numbers", Threat.NONSENSE,
        content({"__metadata__": {"a": 1}, "w": entry()}), "must map strings to strings",
    ),
    _case(
        "unknown-dtype", Threat.NONSENSE,
        content({"a": entry(), "w": entry(16, 24, [2, 2], "F17")}, bytes(24)),
        "dtype 'F17' is not read", "w", listed=True, status=3,
    ),
    *(
        _case(f"name-{what}", Threat.NAME, content({name: entry(0, 9)}), "is 128 bits", name)
        for what, name in NAMES.items()
    ),
    *(
        _case(
            f"unread-name-{what}", Threat.NAME,
            content({"a": entry(), name: entry(16, 24, [2, 2], "F17")}, bytes(24)),
            "is not read", name, listed=True, status=3,
        )
        for what, name in NAMES.items()
    ),
]  # fmt: skip

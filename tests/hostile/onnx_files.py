"""Hostile ONNX models, alone or beside a file with their data."""

from __future__ import annotations

from typing import Any

from cases import (
    NAMES,
    PAYLOAD,
    SECRET,
    Case,
    Content,
    Threat,
    folder,
    late,
    link,
    pipe,
    put,
    tree,
)

VARINT, BYTES = 0, 2
FLOAT, STRING = 1, 8
OUTSIDE = f"../../{SECRET}/data.bin"


def varint(value: int) -> bytes:
    """A number in groups of seven bits."""
    groups = [value >> shift & 127 for shift in range(0, max(1, value.bit_length()), 7)]
    return bytes([*(group | 128 for group in groups[:-1]), groups[-1]])


def field(number: int, value: int | bytes, length: int | None = None) -> bytes:
    """A field of a message; bytes with their length or another."""
    if isinstance(value, int):
        return varint(number << 3 | VARINT) + varint(value % 2**64)
    return varint(number << 3 | BYTES) + varint(len(value) if length is None else length) + value


def tensor(
    name: bytes = b"w", dims: tuple[int, ...] = (2, 2), raw: bytes | None = bytes(16),
    kind: int = FLOAT, more: bytes = b"",
) -> bytes:  # fmt: skip
    """A tensor and what it holds."""
    values = b"" if raw is None else field(9, raw)
    axes = b"".join(field(1, n) for n in dims)
    return axes + field(2, kind) + field(8, name) + values + more


def model(*tensors: bytes, graph: bytes = b"") -> bytes:
    """A model whose graph holds tensors, and more."""
    return field(1, 10) + field(7, b"".join(field(5, each) for each in tensors) + graph)


def external(**entries: object) -> bytes:
    """A tensor whose data is said to be in another file."""
    said = (
        field(13, field(1, name.encode()) + field(2, str(value).encode()))
        for name, value in entries.items()
    )
    return tensor(raw=None, more=b"".join(said) + field(14, 1))


def beside(location: str, content: Content | None = None, **entries: object) -> Content:
    """A model, and the file that it names if that has content."""
    files: dict[str, Content] = {"m.onnx": model(external(location=location, **entries))}
    return tree(files if content is None else {**files, location: content})


def nested(depth: int) -> bytes:
    """A graph in a node of a graph in a node of a graph."""
    graph = b""
    for _ in range(depth):
        graph = field(1, field(2, b"y") + field(5, field(1, b"body") + field(6, graph)))
    return graph


GOOD = model(tensor())


def _long_names() -> bytes:
    """Tensors in graphs in graphs, whose names grow longer and longer than the file."""
    graph = b"".join(field(5, tensor(b"%d" % i, (0,), b"")) for i in range(1_000))
    for _ in range(15):
        graph = field(1, field(2, b"y" * 60_000) + field(5, field(1, b"body") + field(6, graph)))
    return model(graph=graph)


def _case(name: str, threat: Threat, content: Content, error: str, *more: Any, **rest: Any) -> Case:
    return Case(f"{name}.onnx", threat, content, error, *more, **rest)


def _beside(name: str, threat: Threat, content: Content, error: str) -> Case:
    """A case of a model in a folder, whose external data is not what the tensor `w` needs."""
    return Case(f"external-{name}/m.onnx", threat, lambda m: put(m.parent, content), error, "w")


ABSENT = "which is not there"
MAY_LEAVE = "which may leave its folder; refused"
NO_NUMBER = "no number of bytes"
CASES = [
    _case("empty", Threat.TRUNCATED, b"", "it holds no graph"),
    _case("cut-off", Threat.TRUNCATED, GOOD[:-1], "truncated, or no message"),
    _case("half", Threat.TRUNCATED, GOOD[: len(GOOD) // 2], "truncated, or no message"),
    _case("data-cut-off", Threat.TRUNCATED, model(tensor(raw=bytes(15))), "15 stored bytes", "w"),
    _case("no-data", Threat.TRUNCATED, model(tensor(raw=None)), "0 stored bytes", "w"),
    _case(
        "graph-of-2-to-63", Threat.LENGTH,
        field(1, 10) + field(7, b"", 2**63), "truncated, or no message: a field ends at byte",
    ),
    _case(
        "data-of-2-to-64", Threat.LENGTH,
        model(tensor(raw=None, more=field(9, b"", 2**64 - 1))), "truncated, or no message",
    ),
    _case("long-name", Threat.LENGTH, model(tensor(b"w" * (1 << 17))), "more than 65536 bytes"),
    _case("endless-number", Threat.LENGTH, field(1, 10) + b"\x3a" + b"\xff" * 99, "than 10 bytes"),
    _case(
        "product-wraps-to-16", Threat.OVERFLOW,
        model(tensor(dims=(2**62 + 1, 4))), "16 stored bytes cannot be", "w",
    ),
    _case(
        "product-wraps-to-0", Threat.OVERFLOW,
        model(tensor(dims=(2**32, 2**32), raw=b"")), "0 stored bytes cannot be", "w",
    ),
    _case(
        "65-axes", Threat.OVERFLOW,
        model(tensor(dims=(1,) * 65, raw=bytes(4))), "shape must be at most 64", "w",
    ),
    _case(
        "no-numpy-shape", Threat.OVERFLOW,
        model(tensor(dims=(2**62, 0, 2**62), raw=b"")), "NumPy cannot hold", "w", listed=True,
    ),
    _case("too-much-data", Threat.RANGES, model(tensor(raw=bytes(20))), "20 stored bytes", "w"),
    _case("name-twice", Threat.DUPLICATE, model(tensor(), tensor()), "two tensors have", "w"),
    _case("deep", Threat.NESTING, model(graph=nested(2_000)), "nested more than 16 deep"),
    _case("deep-groups", Threat.NESTING, b"\x0b" * 100_000, "wire type 3 is not in use"),
    _case("page", Threat.MAGIC, b"<!DOCTYPE html>", "damaged at byte 0"),
    _case("lfs-pointer", Threat.MAGIC, b"version https://git-lfs.github.com", "run git lfs pull"),
    _case("noise", Threat.MAGIC, bytes(range(255, 0, -1)), "damaged at byte 0"),
    _case("endless-device", Threat.ESCAPE, link("/dev/zero"), "it is no regular file"),
    _case(
        "many-tensors", Threat.BOMB,
        late(lambda: model(*[tensor(b"", (0,), b"")] * 60_000)), "more than 50000 tensors",
    ),
    _case(
        "many-fields", Threat.BOMB,
        late(lambda: field(7, field(1, b"") * 1_200_000)), "more than 1048576 fields",
    ),
    _case("long-names", Threat.BOMB, late(_long_names), "more than 16777216 letters"),
    _case(
        "many-axes", Threat.BOMB,
        late(lambda: model(tensor(more=field(1, b"\1" * 5_000_000)))), "at most 64", "w",
    ),
    _case("pickle", Threat.PICKLE, PAYLOAD, "damaged at byte 0"),
    _case("negative", Threat.NONSENSE, model(tensor(dims=(-2, -2))), "from 0 to", "w"),
    _case("wire-type-6", Threat.NONSENSE, field(1, 10) + b"\x3e", "wire type 6 is not in use"),
    _case(
        "text", Threat.NONSENSE,
        model(tensor(kind=STRING)), "dtype 'str' is not read", "w", listed=True,
    ),
    _case(
        "unknown-type", Threat.NONSENSE,
        model(tensor(b"a"), tensor(kind=99)), "dtype 'type-99' is not read", "w",
        listed=True, status=3,
    ),
    _case(
        "one-part", Threat.NONSENSE,
        model(tensor(more=field(3, b""))), "it is one part of a tensor", "w", listed=True,
    ),
    _case(
        "sparse", Threat.NONSENSE,
        model(graph=field(15, field(1, tensor()) + field(3, 2**20) * 2)), "it is sparse", "w",
        listed=True,
    ),
    _case("no-utf8", Threat.NONSENSE, model(tensor(b"\xff")), "is not valid UTF-8"),
    *(
        _case(
            f"name-{what}", Threat.NAME, model(tensor(name.encode(), raw=b"")), "0 stored", name
        )
        for what, name in NAMES.items()
    ),
    *(
        _case(
            f"unread-name-{what}", Threat.NAME,
            model(tensor(b"a"), tensor(name.encode(), kind=99)), "is not read", name,
            listed=True, status=3,
        )
        for what, name in NAMES.items()
    ),
    _beside("cut-off", Threat.TRUNCATED, beside("d", bytes(15)), "'d', which has 15"),
    _beside("length", Threat.LENGTH, beside("d", bytes(16), length=2**62), "which has 16"),
    _beside("offset", Threat.OVERFLOW, beside("d", bytes(16), offset=2**63 - 8), "which has 16"),
    _beside("wraps", Threat.OVERFLOW, beside("d", bytes(16), offset=2**64 - 8), NO_NUMBER),
    _beside("minus", Threat.OVERFLOW, beside("d", bytes(16), offset=-8), NO_NUMBER),
    _beside("digits", Threat.BOMB, beside("d", bytes(16), offset="9" * 60_000), NO_NUMBER),
    _beside("missing", Threat.RANGES, beside("d"), ABSENT),
    _beside("nowhere", Threat.RANGES, tree({"m.onnx": model(external())}), "it is not said where"),
    _beside("pipe", Threat.MAGIC, beside("d", pipe), ABSENT),
    _beside("folder", Threat.MAGIC, beside("d", folder), ABSENT),
    _beside("parent", Threat.ESCAPE, beside(OUTSIDE), MAY_LEAVE),
    _beside("root", Threat.ESCAPE, beside("/etc/passwd"), MAY_LEAVE),
    _beside("drive", Threat.ESCAPE, beside("C:\\data.bin"), MAY_LEAVE),
    _beside("link", Threat.ESCAPE, beside("d", link(OUTSIDE)), "a link out of its folder"),
    _beside(
        "linked-folder", Threat.ESCAPE,
        tree({"m.onnx": model(external(location="d/data.bin")), "d": link(f"../../{SECRET}")}),
        "a link out of its folder",
    ),
    _beside("device", Threat.ESCAPE, beside("d", link("/dev/zero")), ABSENT),
    *(_beside(what, Threat.NAME, beside(name), "it names") for what, name in NAMES.items()),
]  # fmt: skip

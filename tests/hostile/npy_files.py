"""Hostile .npy files."""

from __future__ import annotations

import struct

from cases import FILE_NAMES, NAMES, PAYLOAD, Case, Threat, link, pipe, sparse

DATA = bytes(16)


def described(shape: object = (2, 2), descr: object = "<f4") -> str:
    """The dict of a header."""
    return repr({"descr": descr, "fortran_order": False, "shape": shape})


def array(
    header: str | bytes, data: bytes = DATA, version: int = 1, length: int | None = None
) -> bytes:
    """An array of any header, and its length or another."""
    text = header if isinstance(header, bytes) else header.encode()
    size = struct.pack("<H" if version == 1 else "<I", len(text) if length is None else length)
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + data


GOOD = array(described())
OBJECTS = array(described((1,), "|O"), PAYLOAD)
NO_DICT = "is not a Python dict of constants"
CASES = [
    Case("empty.npy", Threat.TRUNCATED, b"", "header is cut off: 8 bytes expected, 0 there"),
    Case("header-cut-off.npy", Threat.TRUNCATED, GOOD[:40], "needs 67 bytes and 40 are there"),
    Case("data-cut-off.npy", Threat.TRUNCATED, GOOD[:-1], "16 bytes of data and 15 are there"),
    Case(
        "header-of-4-gb.npy", Threat.LENGTH,
        array(described(), version=2, length=2**32 - 1), "truncated: its .npy header needs",
    ),
    Case(
        "header-of-nothing.npy", Threat.LENGTH,
        sparse(array(b"", b"", 2, 2**31), 1 << 32), "at most 10000 are read",
    ),
    Case("terabyte.npy", Threat.LENGTH, array(described((1 << 38,))), "truncated"),
    Case("product-wraps-to-16.npy", Threat.OVERFLOW, array(described((2**62 + 1, 4))), "truncated"),
    Case(
        "product-wraps-to-0.npy", Threat.OVERFLOW,
        array(described((2**32, 2**32)), b""), "truncated",
    ),
    Case("65-axes.npy", Threat.OVERFLOW, array(described((1,) * 65), bytes(4)), "at most 64"),
    Case(
        "no-numpy-shape.npy", Threat.OVERFLOW,
        array(described((2**62, 0, 2**62)), b""), "NumPy cannot hold shape", listed=True,
    ),
    Case("bytes-left.npy", Threat.RANGES, GOOD + b"hidden", "trailing data"),
    Case("deep.npy", Threat.NESTING, array("(" * 9_000), NO_DICT),
    Case("deep-minus.npy", Threat.NESTING, array("-" * 9_000 + "1"), NO_DICT),
    Case("archive.npy", Threat.MAGIC, b"PK\7\x08" + bytes(90), "not an .npy array"),
    Case("page.npy", Threat.MAGIC, b"<!DOCTYPE html>", "not an .npy array"),
    Case("pipe.npy", Threat.MAGIC, pipe, "it is no regular file"),
    Case("version-9.npy", Threat.MAGIC, array(described(), version=9), "version 9.0 is unknown"),
    Case("endless-device.npy", Threat.ESCAPE, link("/dev/zero"), "it is no regular file"),
    Case("wide-text.npy", Threat.BOMB, array(described((4,), "<U999999999")), "is no dtype"),
    Case("long-number.npy", Threat.BOMB, array("9" * 9_999), NO_DICT),
    Case("objects.npy", Threat.PICKLE, OBJECTS, "never unpickles", listed=True),
    Case("pickle.npy", Threat.PICKLE, PAYLOAD, "not an .npy array"),
    Case("call.npy", Threat.PICKLE, array("__import__('os').mkdir('canary')"), NO_DICT),
    Case("negative.npy", Threat.NONSENSE, array(described((-2, -2))), "from 0 to"),
    Case("truth.npy", Threat.NONSENSE, array(described((True, 4))), "from 0 to"),
    Case("list-for-a-shape.npy", Threat.NONSENSE, array(described([4])), "from 0 to"),
    Case(
        "records.npy", Threat.NONSENSE,
        array(described((2, 1), [("x", "<f8")])), "holds records", listed=True,
    ),
    Case("no-utf8.npy", Threat.NONSENSE, array(b"{'\xff'}", version=3), NO_DICT),
    *(
        Case(f"dtype-{what}.npy", Threat.NAME, array(described((4,), name)), "is no dtype")
        for what, name in NAMES.items()
    ),
    *(
        Case(f"{name}.npy", Threat.NAME, GOOD[:-1], "truncated") for name in FILE_NAMES.values()
    ),
]  # fmt: skip

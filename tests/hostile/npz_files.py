"""Hostile .npz archives."""

from __future__ import annotations

from typing import Any

from cases import NAMES, PAYLOAD, Case, Threat, late, sparse
from npy_files import GOOD as ARRAY
from npy_files import OBJECTS, array, described
from zip_archives import DEFLATED, archive, crowd, deflated, directory, joined, member, zeros


def single(data: bytes, size: int | None = None, **said: Any) -> bytes:
    """An archive of one member, about which anything may be said."""
    return joined(member(b"w.npy", data, size, **said))


def packed(data: bytes, size: int | None = None, **said: Any) -> bytes:
    """An archive of one deflated member, about whose size anything may be said."""
    return single(data, len(ARRAY) if size is None else size, method=DEFLATED, **said)


def _bomb() -> bytes:
    """A gigabyte that is really there, in one megabyte."""
    head = array(described((1 << 14, 1 << 14)), b"")
    return packed(zeros(1 << 10, head), len(head) + (1 << 30), checksum=0)


GOOD = archive({"w.npy": ARRAY})
FIRST = member(b"w.npy", ARRAY)
SECOND = member(b"w.npy", ARRAY, at=len(FIRST[0]))
RECORDS = array(described((0,), [("x", "<f4")] * 700), b"")
"""An array with a header as long as any, which takes milliseconds."""
CUT_OFF = "zip directory is damaged or cut off"
TOO_MUCH = "headers of its arrays take more than"
CASES = [
    Case("empty.npz", Threat.TRUNCATED, b"", CUT_OFF),
    Case("cut-off.npz", Threat.TRUNCATED, GOOD[:-30], CUT_OFF),
    Case("array-cut-off.npz", Threat.TRUNCATED, archive({"w.npy": ARRAY[:-1]}), "truncated", "w"),
    Case(
        "deflated-and-cut-off.npz", Threat.TRUNCATED,
        packed(deflated(ARRAY)[:-3]), "truncated", "w", listed=True,
    ),
    Case(
        "member-of-4-gb.npz", Threat.LENGTH,
        single(ARRAY, 2**32 - 2, packed=2**32 - 2), "truncated: it should end at", "w",
    ),
    Case(
        "directory-of-4-gb.npz", Threat.LENGTH,
        GOOD[:40] + directory(b"", 1, 0, 2**32 - 2), CUT_OFF,
    ),
    Case(
        "directory-of-nothing.npz", Threat.LENGTH,
        sparse(GOOD[:40], 1 << 32, directory(b"", 1, 1 << 30, 3 << 30)), "zip directory is over",
    ),
    Case(
        "product-wraps-to-0.npz", Threat.OVERFLOW,
        archive({"w.npy": array(described((2**32, 2**32)), b"")}), "truncated", "w",
    ),
    Case(
        "same-bytes.npz", Threat.RANGES,
        FIRST[0] + directory(FIRST[1] + member(b"v.npy", ARRAY)[1], 2, len(FIRST[0])),
        "overlap; refused as a zip bomb",
    ),
    Case("outside.npz", Threat.RANGES, single(ARRAY, at=2**31), "should begin at byte", "w"),
    Case(
        "bytes-left.npz", Threat.RANGES,
        archive({"w.npy": ARRAY + b"hidden"}), "trailing data", "w",
    ),
    Case("name-twice.npz", Threat.DUPLICATE, joined(FIRST, SECOND), "members are named 'w.npy'"),
    Case(
        "deep.npz", Threat.NESTING,
        archive({"w.npy": array("(" * 9_000)}), "is not a Python dict of constants", "w",
    ),
    Case("document.npz", Threat.MAGIC, archive({"word/document.xml": b""}), "without .npy members"),
    Case("page.npz", Threat.MAGIC, b"<!DOCTYPE html>", CUT_OFF),
    Case("picture.npz", Threat.MAGIC, archive({"w.npy": b"GIF89a" * 9}), "not an .npy array", "w"),
    Case("encrypted.npz", Threat.MAGIC, single(ARRAY, flags=1), "is encrypted"),
    Case("lzma.npz", Threat.MAGIC, single(ARRAY, method=14), "zip method 14 is not read", "w"),
    Case("outside-name.npz", Threat.ESCAPE, archive({"../w.npy": ARRAY[:-1]}), "truncated", "../w"),
    Case(
        "promised-bomb.npz", Threat.BOMB,
        packed(deflated(ARRAY), 2**32 - 2), "refused as a zip bomb", "w",
    ),
    Case("real-bomb.npz", Threat.BOMB, late(_bomb), "refused as a zip bomb", "w"),
    Case(
        "more-than-promised.npz", Threat.BOMB,
        late(lambda: packed(zeros(1 << 10, ARRAY))), "inflates to more", "w", listed=True,
    ),
    Case("crowd.npz", Threat.BOMB, late(lambda: crowd("%x.npy", ARRAY, 9_000)), TOO_MUCH),
    Case(
        "larger-crowd.npz", Threat.BOMB,
        late(lambda: crowd("%x.npy", b"", 21_000)), "zip directory is over",
    ),
    Case(
        "long-headers.npz", Threat.BOMB,
        late(lambda: crowd("%x.npy", deflated(RECORDS), 9_000, len(RECORDS), DEFLATED)), TOO_MUCH,
    ),
    Case(
        "objects.npz", Threat.PICKLE,
        archive({"a.npy": ARRAY, "w.npy": OBJECTS}), "never unpickles", "w", listed=True, status=3,
    ),
    Case(
        "deflated-objects.npz", Threat.PICKLE,
        archive({"w.npy": OBJECTS}, DEFLATED), "never unpickles", "w", listed=True,
    ),
    Case("pickle.npz", Threat.PICKLE, PAYLOAD, CUT_OFF),
    Case(
        "wrong-checksum.npz", Threat.NONSENSE,
        packed(deflated(ARRAY), checksum=7), "checksum is wrong", "w", listed=True,
    ),
    Case("no-deflate.npz", Threat.NONSENSE, packed(b"\xff" * 76), "data is damaged", "w"),
    *(
        Case(
            f"name-{what}.npz", Threat.NAME,
            archive({f"{name}.npy": ARRAY[:-1]}), "truncated", name,
        )
        for what, name in NAMES.items() if "\0" not in name  # zipfile ends a name there
    ),
    *(
        Case(
            f"unread-name-{what}.npz", Threat.NAME,
            archive({"a.npy": ARRAY, f"{name}.npy": OBJECTS}), "never unpickles", name,
            listed=True, status=3,
        )
        for what, name in NAMES.items() if "\0" not in name
    ),
]  # fmt: skip

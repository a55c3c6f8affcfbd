"""Hostile folders of safetensors: shards with their index, snapshots of the Hugging Face cache."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

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
    sparse,
    tree,
)
from safetensors_files import GOOD, content, entry

INDEX = "model.safetensors.index.json"
OUTSIDE = f"../../{SECRET}/weights.safetensors"
OTHER = content({"v": entry()})


def index(weights: object) -> bytes:
    """An index that says which file holds which tensor."""
    return json.dumps({"weight_map": weights}).encode()


def alone(text: Content) -> Content:
    """A folder of nothing but an index."""
    return tree({INDEX: text})


def sharded(weights: object, files: Mapping[str, Content] | None = None) -> Content:
    """A folder of an index, a shard with the tensor `w`, and other files."""
    return tree({INDEX: index(weights), "a.safetensors": GOOD, **(files or {})})


def two(files: Mapping[str, Content] | None = None) -> Content:
    """A folder whose index has the tensor `v` in a second shard."""
    return sharded({"w": "a.safetensors", "v": "b.safetensors"}, files)


def named(name: str) -> Content:
    """A folder whose index names a file of any name, beside one that it may."""
    return sharded({"w": "a.safetensors", "v": name})


def _absolute(path: Path) -> None:
    """An index that names a file by its whole path."""
    put(path, named(str(path.parents[1] / SECRET / "weights.safetensors")))


MAY_LEAVE = "which may leave its folder; refused"
LEAVES = "which is a link out of its folder"
ABSENT = "which is not there"
SHARDS = [
    Case(
        "shard-cut-off", Threat.TRUNCATED,
        two({"b.safetensors": OTHER[:-1]}), "b.safetensors: tensor 'v': truncated", "v",
    ),
    Case("index-cut-off", Threat.TRUNCATED, alone(index({"w": "a"})[:-2]), "no JSON"),
    Case("index-of-a-terabyte", Threat.LENGTH, alone(sparse(b"{", 1 << 40)), "an index of more"),
    Case("index-of-nothing", Threat.LENGTH, alone(sparse(b"{", 9_999_999)), "no JSON"),
    Case("missing-shard", Threat.RANGES, two(), f"'b.safetensors', {ABSENT}"),
    Case(
        "missing-tensor", Threat.RANGES,
        two({"b.safetensors": content({"x": entry()})}), "and it is not", "v",
    ),
    Case(
        "name-in-two-shards", Threat.DUPLICATE,
        two({"b.safetensors": GOOD}), "it is in 'a.safetensors' and in 'b.safetensors'", "w",
    ),
    Case(
        "name-twice-in-index", Threat.DUPLICATE,
        alone(b'{"weight_map":{"w":"a","w":"b"}}'), "'w' is given twice",
    ),
    Case("deep-index", Threat.NESTING, alone(b"[" * 90_000), "nested too deeply"),
    Case("index-is-a-page", Threat.MAGIC, alone(b"<!DOCTYPE html>"), "no JSON"),
    Case("shard-is-a-pipe", Threat.MAGIC, sharded({"w": "b"}, {"b": pipe}), ABSENT),
    Case("shard-is-a-folder", Threat.MAGIC, sharded({"w": "b"}, {"b": folder}), ABSENT),
    Case(
        "many-names", Threat.BOMB,
        alone(late(lambda: index({f"{i:060}": f"{i:020}" for i in range(99_000)}))), ABSENT,
    ),
    Case(
        "many-values", Threat.BOMB,
        alone(late(lambda: b"[" + b"[]," * 3_000_000 + b"0]")), "an index of more than",
    ),
    Case("parent", Threat.ESCAPE, named(OUTSIDE), MAY_LEAVE),
    Case("absolute", Threat.ESCAPE, _absolute, MAY_LEAVE),
    Case("backslashes", Threat.ESCAPE, named(OUTSIDE.replace("/", "\\")), MAY_LEAVE),
    Case("drive", Threat.ESCAPE, named("c:a.safetensors"), MAY_LEAVE),
    Case("folder-itself", Threat.ESCAPE, named("."), MAY_LEAVE),
    Case(
        "linked-shard", Threat.ESCAPE,
        sharded({"w": "b.safetensors"}, {"b.safetensors": link(OUTSIDE)}), LEAVES,
    ),
    Case(
        "linked-folder", Threat.ESCAPE,
        sharded({"w": "b/weights.safetensors"}, {"b": link(f"../../{SECRET}")}), LEAVES,
    ),
    Case("shard-without-index", Threat.ESCAPE, tree({"b.safetensors": link(OUTSIDE)}), LEAVES),
    Case("linked-index", Threat.ESCAPE, alone(link(OUTSIDE)), LEAVES),
    Case("linked-device", Threat.ESCAPE, sharded({"w": "b"}, {"b": link("/dev/zero")}), ABSENT),
    Case("linked-to-itself", Threat.ESCAPE, sharded({"w": "b"}, {"b": link("b")}), ABSENT),
    Case("pickle", Threat.PICKLE, sharded({"w": "b"}, {"b": PAYLOAD}), "not a safetensors file"),
    Case("number-for-a-name", Threat.NONSENSE, sharded({"w": 1}), "must map tensors to file names"),
    Case("list-for-a-map", Threat.NONSENSE, sharded(["w"]), "must map tensors to file names"),
    Case("endless-name", Threat.NAME, named("b" * 100_000), "..."),
    *(
        Case(f"file-{what}", Threat.NAME, named(f"{name}.safetensors"), "it names")
        for what, name in NAMES.items()
    ),
    *(
        Case(f"tensor-{what}", Threat.NAME, sharded({name: "a.safetensors"}), "it is not", name)
        for what, name in NAMES.items()
    ),
]  # fmt: skip


def _snapshot(name: str, threat: Threat, error: str, files: Mapping[str, Content]) -> Case:
    """A case of what is in a snapshot, and of what its links lead to."""
    return Case(f"{name}/models--qcore--m/snapshots/main", threat, tree(files), error)


BLOB = "../../blobs/0"
BELOW = "../../blobs/deep/0"
STRANGER = "../../../models--qcore--other/blobs/0"
NEIGHBOUR = "../other/m.safetensors"
CACHE = [
    _snapshot(
        "blob-cut-off", Threat.TRUNCATED, "truncated",
        {BLOB: GOOD[:-1], "m.safetensors": link(BLOB)},
    ),
    _snapshot(
        "blob-missing", Threat.RANGES, ABSENT,
        {INDEX: index({"w": "m.safetensors"}), "m.safetensors": link(BLOB)},
    ),
    _snapshot(
        "blob-is-an-lfs-pointer", Threat.MAGIC, "run git lfs pull",
        {BLOB: b"version https://git-lfs.github.com", "m.safetensors": link(BLOB)},
    ),
    _snapshot(
        "blob-is-a-link", Threat.ESCAPE, LEAVES,
        {BLOB: link(f"../../../../{SECRET}/weights.safetensors"), "m.safetensors": link(BLOB)},
    ),
    _snapshot(
        "blobs-are-a-link", Threat.ESCAPE, LEAVES,
        {
            "../../blobs": link(f"../../../{SECRET}"),
            "m.safetensors": link("../../blobs/weights.safetensors"),
        },
    ),
    _snapshot(
        "blob-of-another-model", Threat.ESCAPE, LEAVES,
        {STRANGER: GOOD, "m.safetensors": link(STRANGER)},
    ),
    _snapshot(
        "file-below-blobs", Threat.ESCAPE, LEAVES, {BELOW: GOOD, "m.safetensors": link(BELOW)}
    ),
    _snapshot(
        "another-snapshot", Threat.ESCAPE, LEAVES,
        {NEIGHBOUR: GOOD, "m.safetensors": link(NEIGHBOUR)},
    ),
    _snapshot(
        "linked-index", Threat.ESCAPE, LEAVES,
        {INDEX: link(f"../../../../../{SECRET}/weights.safetensors")},
    ),
]  # fmt: skip
